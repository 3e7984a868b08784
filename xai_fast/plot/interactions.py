"""Pictures of interactions, each drawn on a matplotlib axis that the caller made."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.interaction.geometry import AxisGeometry
from xai_fast.interaction.interaction_map import BOXES, Cell, InteractionMap
from xai_fast.plot.colormap import colormap
from xai_fast.plot.heatmap import checked_picture, overlay

__all__ = ["PAIR_COLORS", "show_interaction_matrix", "show_interactions", "show_marginal", "show_partners"]

PAIR_COLORS = ("#e8590c", "#56b4e9", "#f0e442", "#8f5bd6", "#ffffff", "#009e73", "#e36bb0")
"""One colour a rank, then from the start. Colour-blind readers tell them apart, the first four easily; they are bright
enough for dark photos, and a dark edge makes them show on bright ones."""

_EDGE = "#16161d"
_LETTER = 0.53
"""Width of a letter in a line of text, relative to its height."""


def show_interactions(
    ax: Any,
    image: NDArray[np.uint8],
    interactions: InteractionMap,
    *,
    item: int = 0,
    k: int = 4,
    question: str | None = None,
    of: str = "cell",
    strengths: bool = True,
) -> None:
    """Draw the strongest interactions of an item over its picture: a box a cell, a line from box to box.

    Width and opacity of a line are the salience relative to the strongest; a number at the line is the rank. Where a
    cell takes part in several interactions, its boxes lie inside each other.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        image: (H, W, 3) uint8 RGB, the model's input, or the same part of the world at any other resolution.
        interactions: of order 2 or more, with a geometry.
        item: which item.
        k: how many interactions, at least 1.
        question: text above the picture, wrapped; taken literally, a "$" starts no formula.
        of: "cell" for boxes as large as the cells, "field" for their receptive fields.
        strengths: whether to say below how strong the interactions are, relative to the strongest.

    Raises:
        InputError: there is no geometry, no such item, or an argument is out of range.
    """
    picture = checked_picture(image)
    check_choice("of", of, BOXES)
    chosen = _item(interactions, item)
    if chosen.order < 2:
        raise bad_argument("interactions", "order 2 or more", f"order {chosen.order}")
    scale = _scale(chosen, picture)
    found = chosen.top_k(k)[0]
    boxes = chosen.boxes(k, of)[0]
    _empty(ax, picture, question)
    unit = _points_a_pixel(ax, picture)
    uses: Counter[Cell] = Counter()
    # The strongest is drawn last, so that it lies above the others; boxes are inset in the order of the ranks.
    drawn = []
    for one, corners in zip(found, boxes, strict=True):
        inset = [(1.5 + 4.0 * uses[cell]) / unit for cell in one.cells]  # the first one keeps its frame in the picture
        uses.update(one.cells)
        scaled = [_inset(box, scale, by) for box, by in zip(corners, inset, strict=True)]
        drawn.append((one.saliency / found[0].saliency, scaled))
    badges: list[tuple[float, float]] = []
    for rank in range(len(drawn)):
        badges.append(_badge_place(drawn[rank][1], badges, 13.0 / unit))
    for rank in reversed(range(len(drawn))):
        strength, scaled = drawn[rank]
        _draw_interaction(ax, scaled, PAIR_COLORS[rank % len(PAIR_COLORS)], strength)
    for rank, place in enumerate(badges):
        _draw_badge(ax, place, rank + 1, PAIR_COLORS[rank % len(PAIR_COLORS)])
    if strengths:
        # Bound together by spaces at which no line is broken.
        shares = "  ".join(f"{rank + 1}:\u00a0{strength:.0%}" for rank, (strength, _) in enumerate(drawn))
        ax.set_xlabel(_wrapped(ax, shares or "no interaction", ax.xaxis.label), parse_math=False)


def show_marginal(
    ax: Any,
    image: NDArray[np.uint8],
    interactions: InteractionMap,
    *,
    item: int = 0,
    clip: tuple[float, float] = (50.0, 99.5),
    title: str | None = None,
) -> None:
    """Lay the total salience of each cell over the picture, interpolated between the cells' centres.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        image: (H, W, 3) uint8 RGB, at any resolution.
        interactions: with a geometry.
        item: which item.
        clip: percentiles between which the colours run, see `heat`.
        title: text above the picture; taken literally.

    Raises:
        InputError: as for `show_interactions`.
    """
    picture = checked_picture(image)
    chosen = _item(interactions, item)
    values = _spread(chosen, chosen.marginal(), picture, smooth=True)
    _empty(ax, overlay(picture, values[None], ranking="signed_sum", clip=clip), title)


def show_partners(
    ax: Any,
    image: NDArray[np.uint8],
    interactions: InteractionMap,
    cell: Cell,
    *,
    item: int = 0,
    title: str | None = None,
) -> None:
    """Lay the salience between one cell and each other one over the picture, cell by cell.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        image: (H, W, 3) uint8 RGB, at any resolution.
        interactions: of order 2 or more, with a geometry.
        cell: (row, column), the cell that is asked about; it is framed.
        item: which item.
        title: text above the picture; taken literally.

    Raises:
        InputError: as for `show_interactions`.
    """
    picture = checked_picture(image)
    chosen = _item(interactions, item)
    values = _spread(chosen, chosen.partners(cell), picture, smooth=False)
    _empty(ax, overlay(picture, values[None], ranking="signed_sum", clip=(0.0, 100.0)), title)
    geometry = chosen.geometry
    if geometry is not None:
        box = _inset(
            geometry.cell_box(chosen.image_cell(cell)), _scale(chosen, picture), 1.5 / _points_a_pixel(ax, picture)
        )
        _draw_box(ax, box, PAIR_COLORS[1], 2.2)


def show_interaction_matrix(
    ax: Any, interactions: InteractionMap, *, item: int = 0, labels: Sequence[str] | None = None
) -> Any:
    """Draw the (n, n) salience of an item. The rows of the map are told apart by lines; no geometry is needed.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        interactions: of order 2. Symmetric ones are drawn in both halves; directed ones have the cell that carries x
            downwards.
        item: which item.
        labels: a name for each cell, such as the words of a text; by default the rows of the map are numbered.

    Returns:
        The ``matplotlib.image.AxesImage``.

    Raises:
        InputError: the order is another, or there is not one label a cell.
    """
    from matplotlib.colors import ListedColormap  # loaded already, by whoever made the axis

    chosen = _item(interactions, item)
    if chosen.order != 2:
        raise bad_argument("interactions", "order 2", f"order {chosen.order}")
    values = _numbers(chosen.saliency[0])
    values = values + values.T if chosen.symmetric else values
    drawn = ax.imshow(values, cmap=ListedColormap(colormap() / 255), vmin=0.0, interpolation="nearest")
    cells, width = chosen.cells, chosen.grid[-1]
    for side in ("left", "right", "top", "bottom"):
        ax.spines[side].set_visible(False)
    if labels is not None:
        if len(labels) != cells:
            raise bad_argument("labels", f"{cells} of them", str(len(labels)))
        ax.set_xticks(range(cells), labels, rotation=90, parse_math=False)
        ax.set_yticks(range(cells), labels, parse_math=False)
    elif len(chosen.grid) == 2:
        for edge in range(width, cells, width):
            ax.axhline(edge - 0.5, color="white", linewidth=0.6, alpha=0.5)
            ax.axvline(edge - 0.5, color="white", linewidth=0.6, alpha=0.5)
        middles = [start + (width - 1) / 2 for start in range(0, cells, width)]
        rows = [str(row) for row in range(len(middles))]
        ax.set_xticks(middles, rows)
        ax.set_yticks(middles, rows)
        ax.set_xlabel("row of the map")
        ax.set_ylabel("row of the map" if chosen.symmetric else "row of the map, of the cell that carries x")
    ax.tick_params(length=0)
    return drawn


def _item(interactions: InteractionMap, item: int) -> InteractionMap:
    check_integer("item", item, 0, len(interactions) - 1)
    return interactions[item].to("cpu")


def _numbers(values: Tensor) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = values.detach().cpu().double().numpy()
    return numbers


def _axes_of(interactions: InteractionMap) -> tuple[AxisGeometry, AxisGeometry]:
    geometry = interactions.geometry
    if geometry is None or len(geometry.axes) != 2:
        got = "None" if geometry is None else f"{len(geometry.axes)} axes"
        raise InputError(f"interactions: expected a geometry, which places the cells in the picture, got {got}")
    return geometry.axes[0], geometry.axes[1]


def _scale(interactions: InteractionMap, picture: NDArray[np.uint8]) -> tuple[float, float]:
    """Pixels of the picture a pixel of the model's input, (x, y)."""
    rows, columns = _axes_of(interactions)
    return picture.shape[1] / columns.pixels, picture.shape[0] / rows.pixels


def _spread(
    interactions: InteractionMap, values: Tensor, picture: NDArray[np.uint8], *, smooth: bool
) -> NDArray[np.float64]:
    """Give each pixel of the picture the value at its place: (H, W)."""
    rows, columns = _axes_of(interactions)
    grid = _numbers(values[0]).reshape(rows.cells, columns.cells)
    down, across = (_weights(axis, n, smooth) for axis, n in zip((rows, columns), picture.shape[:2], strict=True))
    values_at_pixels: NDArray[np.float64] = down @ grid @ across.T
    return values_at_pixels


def _weights(axis: AxisGeometry, pixels: int, smooth: bool) -> NDArray[np.float64]:
    """What each cell counts at each pixel of the picture: (pixels, cells)."""
    place = (np.arange(pixels) + 0.5) * axis.pixels / pixels
    if smooth:
        position = ((place - axis.start) / axis.stride).clip(0, axis.cells - 1)
        near: NDArray[np.float64] = (1 - np.abs(position[:, None] - np.arange(axis.cells))).clip(0, 1)
        return near
    intervals = np.array([axis.cell(cell) for cell in range(axis.cells)])
    inside = (place[:, None] >= intervals[:, 0]) & (place[:, None] < intervals[:, 1])
    return inside.astype(np.float64)


def _empty(ax: Any, picture: NDArray[np.uint8], title: str | None) -> None:
    ax.imshow(picture, interpolation="nearest" if max(picture.shape) < 200 else "antialiased")
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(False)
    if title is not None:
        ax.set_title(_wrapped(ax, title, ax.title), parse_math=False)


def _wrapped(ax: Any, text: str, place: Any) -> str:
    """Break a text into lines as wide as the axis, in the letters of the matplotlib text that it is for."""
    points = ax.get_window_extent().width / ax.figure.dpi * 72
    return textwrap.fill(text, max(int(points / (_LETTER * place.get_fontsize())), 8))


def _points_a_pixel(ax: Any, picture: NDArray[np.uint8]) -> float:
    """How large a pixel of the picture is on paper, in points."""
    box = ax.get_window_extent()
    inches = min(box.width / picture.shape[1], box.height / picture.shape[0]) / ax.figure.dpi
    return max(float(inches) * 72, 1e-6)  # an axis can be smaller than what is written around it


Box = tuple[float, float, float, float]


def _inset(box: Sequence[float], scale: tuple[float, float], by: float) -> Box:
    """Scale a box to the picture, shrink it by some pixels at each side, and put it where ``imshow`` has it."""
    x0, x1 = (value * scale[0] - 0.5 for value in (box[0], box[2]))  # imshow's first pixel begins at -1/2
    y0, y1 = (value * scale[1] - 0.5 for value in (box[1], box[3]))
    dx, dy = min(by, (x1 - x0) * 0.4), min(by, (y1 - y0) * 0.4)
    return x0 + dx, y0 + dy, x1 - dx, y1 - dy


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _to_edge(box: Box, towards: tuple[float, float]) -> tuple[float, float]:
    """Where the line from a box's middle to a point leaves the box."""
    x, y = _middle(box)
    dx, dy = towards[0] - x, towards[1] - y
    reach = [half / abs(d) for half, d in (((box[2] - box[0]) / 2, dx), ((box[3] - box[1]) / 2, dy)) if d]
    share = min([*reach, 1.0])
    return x + share * dx, y + share * dy


def _lines(boxes: Sequence[Box]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    pairs = itertools.combinations(boxes, 2)
    return [(_to_edge(a, _middle(b)), _to_edge(b, _middle(a))) for a, b in pairs]


def _edged(width: float) -> list[Any]:
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width + 1.8, foreground=_EDGE, alpha=0.75), Normal()]


def _draw_interaction(ax: Any, boxes: Sequence[Box], color: str, strength: float) -> None:
    opacity = 0.75 + 0.25 * strength  # less, and the dark edge would show through and spoil the colour
    width = 0.9 + 3.1 * strength
    for (x0, y0), (x1, y1) in _lines(boxes):
        ax.plot(
            [x0, x1],
            [y0, y1],
            color=color,
            linewidth=width,
            alpha=opacity,
            path_effects=_edged(width),
            solid_capstyle="butt",
        )
    for box in boxes:
        _draw_box(ax, box, color, 1.8)


def _draw_box(ax: Any, box: Box, color: str, width: float) -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=width, zorder=3)
    frame.set_path_effects(_edged(width))
    ax.add_patch(frame)


def _badge_place(boxes: Sequence[Box], taken: Sequence[tuple[float, float]], apart: float) -> tuple[float, float]:
    """Choose a place along the lines of an interaction that is free of other badges, as near to a middle as can be."""
    shares = (0.5, 0.38, 0.62, 0.26, 0.74, 0.14, 0.86)
    places = [
        (x0 + share * (x1 - x0), y0 + share * (y1 - y0)) for share in shares for (x0, y0), (x1, y1) in _lines(boxes)
    ]
    # Beside the middle, for cells that are neighbours: their line is too short for two badges.
    x, y = places[0]
    places += [(x + dx * apart, y + dy * apart) for dx, dy in ((0, -1), (0, 1), (1, 0), (-1, 0))]
    free = [p for p in places if all((p[0] - x) ** 2 + (p[1] - y) ** 2 >= apart**2 for x, y in taken)]
    return (free or places)[0]


def _draw_badge(ax: Any, place: tuple[float, float], rank: int, color: str) -> None:
    ax.text(
        *place,
        str(rank),
        ha="center",
        va="center",
        fontsize=7,
        fontweight="bold",
        color=_EDGE,
        zorder=5,
        bbox={"boxstyle": "circle,pad=0.22", "facecolor": color, "edgecolor": _EDGE, "linewidth": 0.9},
    )
