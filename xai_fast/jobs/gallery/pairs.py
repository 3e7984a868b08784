"""The strongest interactions of cells as a layer over a small picture: a frame a cell, a line from frame to frame."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xai_fast.plot.interactions import PAIR_COLORS

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SHOWN", "Pairs", "draw_pairs"]

SHOWN = 3
"""Interactions in a small picture; more hide it."""

_FINER = 3  # drawn so many times larger, and made smaller: Pillow's lines have no smooth edges
_EDGE = "#16161d"
_Point = tuple[float, float]
_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pairs:
    """The strongest interactions of an item.

    Attributes:
        boxes: (k, order, 4) x0, y0, x1, y1 of the cells, in pixels of the model's input.
        saliency: (k,), the strongest first; 0 where there are no more.
        input_size: (height, width) of the model's input.
    """

    boxes: NDArray[np.float64]
    saliency: NDArray[np.float64]
    input_size: tuple[int, int]


def draw_pairs(pairs: Pairs, side: int) -> Image.Image | None:
    """Draw the strongest interactions; width and opacity are the salience relative to the strongest.

    Args:
        pairs: of an item.
        side: of the picture's longer side, in pixels.

    Returns:
        A picture that is clear elsewhere, or None where there is no interaction.
    """
    from PIL import Image

    height, width = pairs.input_size
    scale = side * _FINER / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    found = [k for k in range(min(SHOWN, len(pairs.saliency))) if pairs.saliency[k] > 0]
    if not found or not np.isfinite(pairs.boxes[found]).all():
        return None
    layer = Image.new("RGBA", size)
    uses: dict[tuple[float, ...], int] = {}
    framed = []
    for k in found:
        corners = [tuple(map(float, box)) for box in pairs.boxes[k]]
        framed.append([_inset(box, scale, uses.get(box, 0), side) for box in corners])
        for box in set(corners):
            uses[box] = uses.get(box, 0) + 1
    for k, boxes in reversed(list(zip(found, framed, strict=True))):  # the strongest lies above the others
        strength = float(pairs.saliency[k] / pairs.saliency[found[0]])
        layer = Image.alpha_composite(layer, _drawn(boxes, size, PAIR_COLORS[k], strength, side))
    return layer.resize((max(1, size[0] // _FINER), max(1, size[1] // _FINER)), Image.Resampling.BOX)


def _drawn(boxes: list[_Box], size: tuple[int, int], color: str, strength: float, side: int) -> Image.Image:
    from PIL import Image, ImageDraw

    layer = Image.new("RGBA", size)
    draw = ImageDraw.Draw(layer)
    unit = _unit(side)
    line, frame, edge = unit * (0.8 + 1.6 * strength), 1.4 * unit, 0.7 * unit
    lines = [(_to_edge(a, _middle(b)), _to_edge(b, _middle(a))) for a, b in itertools.combinations(boxes, 2)]
    for ends in lines:
        draw.line(ends, fill=_EDGE, width=round(line + 2 * edge))
    for box in boxes:
        outer = (box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge)
        draw.rectangle(outer, outline=_EDGE, width=round(frame + 2 * edge))
    for ends in lines:
        draw.line(ends, fill=color, width=round(line))
    for box in boxes:
        draw.rectangle(box, outline=color, width=round(frame))
    opacity = 0.75 + 0.25 * strength
    layer.putalpha(layer.getchannel("A").point(lambda alpha: round(alpha * opacity)))
    return layer


def _unit(side: int) -> float:
    """Give the width of a thin line in pixels of the drawing; it grows with the picture, but not in proportion."""
    return float(2 * _FINER * (side / 256) ** 0.6)


def _inset(box: tuple[float, ...], scale: float, place: int, side: int) -> _Box:
    """Scale a box, and shrink it so that its edge stays in the picture and frames of one cell lie inside each other."""
    x0, y0, x1, y1 = (value * scale for value in box)
    by = _unit(side) * (1.0 + 2.8 * place)
    dx, dy = min(by, (x1 - x0) * 0.4), min(by, (y1 - y0) * 0.4)
    return x0 + dx, y0 + dy, x1 - dx, y1 - dy


def _middle(box: _Box) -> _Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _to_edge(box: _Box, towards: _Point) -> _Point:
    """Where the line from a box's middle to a point leaves the box."""
    x, y = _middle(box)
    dx, dy = towards[0] - x, towards[1] - y
    reach = [half / abs(d) for half, d in (((box[2] - box[0]) / 2, dx), ((box[3] - box[1]) / 2, dy)) if d]
    share = min([*reach, 1.0])
    return x + share * dx, y + share * dy
