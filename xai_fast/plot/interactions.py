"""Pictures of interactions between cells, each drawn on a matplotlib axis that the caller made."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_fast.arguments import check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.interaction.geometry import AxisGeometry
from xai_fast.interaction.interaction_map import Cell, InteractionMap
from xai_fast.plot.heatmap import checked_picture, overlay

__all__ = ["PAIR_COLORS", "show_interactions", "show_marginal"]

PAIR_COLORS = ("#e8590c", "#56b4e9", "#f0e442", "#8f5bd6", "#ffffff", "#009e73", "#e36bb0")
"""One colour per rank, then from the start. Colour-blind readers tell them apart, the first four easily; they are
bright enough for dark photos, and a dark edge makes them show on bright ones."""

_EDGE = "#16161d"

_Point = tuple[float, float]
_Box = tuple[float, float, float, float]


def show_interactions(
    ax: Any, image: NDArray[np.uint8], interactions: InteractionMap, *, item: int = 0, k: int = 4, of: str = "cell"
) -> None:
    """Draw the strongest interactions of an item over its picture: a box per cell, a line from box to box.

    The width of a line is the salience relative to the strongest; a number at the line is the rank. Where a cell takes
    part in several interactions, its boxes lie inside each other.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        image: (H, W, 3) uint8 RGB, the model's input, or the same part of the world at any other resolution.
        interactions: of order 2 or more, with a geometry.
        item: which item.
        k: how many interactions, at least 1.
        of: "cell" for boxes as large as the cells, "field" for their receptive fields.

    Raises:
        InputError: there is no geometry, no such item, or an argument is out of range.
    """
    picture = checked_picture(image)
    chosen = _item(interactions, item)
    if chosen.order < 2:
        raise bad_argument("interactions", "order 2 or more", f"order {chosen.order}")
    rows, columns = _axes_of(chosen)
    scale = picture.shape[1] / columns.pixels, picture.shape[0] / rows.pixels
    found, boxes = chosen.top_k(k)[0], chosen.boxes(k, of)[0]
    _show(ax, picture)
    area = ax.get_window_extent()
    unit = max(min(area.width / picture.shape[1], area.height / picture.shape[0]) * 72 / ax.figure.dpi, 1e-6)
    uses: Counter[Cell] = Counter()
    drawn: list[list[_Box]] = []
    for one, corners in zip(found, boxes, strict=True):
        insets = [(1.5 + 4.0 * uses[cell]) / unit for cell in one.cells]  # the first one keeps its frame in the picture
        uses.update(one.cells)
        drawn.append([_inset(box, scale, by) for box, by in zip(corners, insets, strict=True)])
    for rank in reversed(range(len(drawn))):  # the strongest last, so that it lies above the others
        _draw(ax, drawn[rank], PAIR_COLORS[rank % len(PAIR_COLORS)], found[rank].saliency / found[0].saliency)
    badges: list[_Point] = []
    for rank, corners_drawn in enumerate(drawn):
        badges.append(_badge_place(corners_drawn, badges, 13.0 / unit))
        _draw_badge(ax, badges[-1], rank + 1, PAIR_COLORS[rank % len(PAIR_COLORS)])


def show_marginal(
    ax: Any,
    image: NDArray[np.uint8],
    interactions: InteractionMap,
    *,
    item: int = 0,
    clip: tuple[float, float] = (50.0, 99.5),
) -> None:
    """Lay the total salience of each cell over the picture, interpolated between the cells' centres.

    Args:
        ax: a ``matplotlib.axes.Axes``.
        image: (H, W, 3) uint8 RGB, at any resolution.
        interactions: with a geometry.
        item: which item.
        clip: percentiles between which the colours run, see `heat`.

    Raises:
        InputError: as for `show_interactions`.
    """
    picture = checked_picture(image)
    chosen = _item(interactions, item)
    axes = _axes_of(chosen)
    values = chosen.marginal()[0].detach().double().numpy().reshape([axis.cells for axis in axes])
    down, across = (_weights(axis, length) for axis, length in zip(axes, picture.shape[:2], strict=True))
    _show(ax, overlay(picture, (down @ values @ across.T)[None], ranking="signed_sum", clip=clip))


def _item(interactions: InteractionMap, item: int) -> InteractionMap:
    check_integer("item", item, 0, len(interactions) - 1)
    return interactions[item].to("cpu")


def _axes_of(interactions: InteractionMap) -> tuple[AxisGeometry, AxisGeometry]:
    geometry = interactions.geometry
    if geometry is None or len(geometry.axes) != 2:
        got = "None" if geometry is None else f"{len(geometry.axes)} axes"
        raise InputError(f"interactions: expected a geometry, which places the cells in the picture, got {got}")
    return geometry.axes[0], geometry.axes[1]


def _weights(axis: AxisGeometry, pixels: int) -> NDArray[np.float64]:
    """Give the weight of each cell at each pixel of the picture, (pixels, cells)."""
    place = (np.arange(pixels) + 0.5) * axis.pixels / pixels
    position = ((place - axis.start) / axis.stride).clip(0, axis.cells - 1)
    near: NDArray[np.float64] = (1 - np.abs(position[:, None] - np.arange(axis.cells))).clip(0, 1)
    return near


def _show(ax: Any, picture: NDArray[np.uint8]) -> None:
    ax.imshow(picture, interpolation="nearest" if max(picture.shape) < 200 else "antialiased")
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(False)


def _inset(box: Sequence[float], scale: tuple[float, float], by: float) -> _Box:
    """Scale a box to the picture, shrink it by some pixels at each side, and put it where ``imshow`` has it."""
    x0, x1 = (value * scale[0] - 0.5 for value in (box[0], box[2]))  # imshow's first pixel begins at -1/2
    y0, y1 = (value * scale[1] - 0.5 for value in (box[1], box[3]))
    dx, dy = min(by, (x1 - x0) * 0.4), min(by, (y1 - y0) * 0.4)
    return x0 + dx, y0 + dy, x1 - dx, y1 - dy


def _middle(box: _Box) -> _Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _to_edge(box: _Box, towards: _Point) -> _Point:
    """Give the point at which the line from a box's middle to another point leaves the box."""
    x, y = _middle(box)
    dx, dy = towards[0] - x, towards[1] - y
    reach = [half / abs(d) for half, d in (((box[2] - box[0]) / 2, dx), ((box[3] - box[1]) / 2, dy)) if d]
    share = min([*reach, 1.0])
    return x + share * dx, y + share * dy


def _lines(boxes: Sequence[_Box]) -> list[tuple[_Point, _Point]]:
    pairs = itertools.combinations(boxes, 2)
    return [(_to_edge(a, _middle(b)), _to_edge(b, _middle(a))) for a, b in pairs]


def _draw(ax: Any, boxes: Sequence[_Box], color: str, strength: float) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import Normal, Stroke

    def edged(width: float) -> list[Any]:
        return [Stroke(linewidth=width + 1.8, foreground=_EDGE, alpha=0.75), Normal()]

    width = 0.9 + 3.1 * strength
    for (x0, y0), (x1, y1) in _lines(boxes):
        ax.plot([x0, x1], [y0, y1], color=color, linewidth=width, path_effects=edged(width), solid_capstyle="butt")
    for x0, y0, x1, y1 in boxes:
        frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=1.8, zorder=3)
        frame.set_path_effects(edged(1.8))
        ax.add_patch(frame)


def _badge_place(boxes: Sequence[_Box], taken: Sequence[_Point], apart: float) -> _Point:
    """Choose a place along the lines of an interaction, or beside their middle, that is free of other badges."""
    shares = (0.5, 0.38, 0.62, 0.26, 0.74, 0.14, 0.86)
    places = [
        (x0 + share * (x1 - x0), y0 + share * (y1 - y0)) for share in shares for (x0, y0), (x1, y1) in _lines(boxes)
    ]
    x, y = places[0]
    places += [(x + dx * apart, y + dy * apart) for dx, dy in ((0, -1), (0, 1), (1, 0), (-1, 0))]
    free = [p for p in places if all((p[0] - x) ** 2 + (p[1] - y) ** 2 >= apart**2 for x, y in taken)]
    return (free or places)[0]


def _draw_badge(ax: Any, place: _Point, rank: int, color: str) -> None:
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
