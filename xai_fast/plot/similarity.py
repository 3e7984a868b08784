"""Two pictures, or two sentences, with lines between the parts that make them similar."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_fast.errors import bad_argument
from xai_fast.interaction.pair_relevance import Pair, PairRelevance
from xai_fast.plot.colormap import COLORS, diverging_colormap
from xai_fast.plot.markup import Markup

__all__ = ["Links", "links_of_cells", "links_of_words", "similarity_svg"]

_HEIGHT, _GAP = 320.0, 120.0
# Of 16 px type: the width of a letter in a monospaced face, and what stands above a base line.
_LETTER, _LINE = 9.6, 18.0
_WORDS_APART = 14.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Links:
    """What joins two inputs, in the units of a box of ``width`` and ``height``.

    Attributes:
        width: of the box.
        height: of it.
        lines: both ends and the relevance of each pair, the strongest first.
        words: text, middle of its base line, and length.
        places: left end and width of two pictures.
    """

    width: float
    height: float
    lines: Sequence[tuple[Point, Point, float]]
    words: Sequence[tuple[str, Point, float]] = ()
    places: Sequence[Point] = ()


def similarity_svg(
    x: Image.Image | NDArray[Any] | Sequence[str],
    y: Image.Image | NDArray[Any] | Sequence[str],
    relevance: PairRelevance,
    *,
    item: int = 0,
    top_k: int = 20,
) -> Markup:
    """Draw a pair of inputs as SVG with a line for each of the strongest pairs of cells.

    Lines are red where a pair speaks for the similarity and blue where against it; the wider, the stronger. Pointing at
    a line shows its number.

    Args:
        x: the first picture as it is to be seen, an image or an array (H, W, 3) of bytes; or the n words of a sentence.
        y: the second one.
        relevance: of the pair, by `xai_fast.BiLRP`: with cells=(rows, columns) for pictures, "tokens" for words.
        item: which of its items this is.
        top_k: how many pairs are drawn, at least 1.

    Returns:
        The text of an SVG; a notebook shows it.

    Raises:
        InputError: the inputs are not what the relevance is of.
    """
    grids, given = (relevance.grid_x, relevance.grid_y), (x, y)
    pairs = relevance[item].top_k(top_k)[0]
    if len(grids[0]) == 1 and len(grids[1]) == 1:
        if any(isinstance(side, Image.Image) or len(side) != n for side, (n,) in zip(given, grids, strict=True)):
            raise bad_argument("x", f"{grids[0][0]} words, and {grids[1][0]} for y", f"{len(x)} and {len(y)}")  # type: ignore[arg-type]
        return _svg(links_of_words([str(word) for word in x], [str(word) for word in y], pairs))  # type: ignore[union-attr]
    if len(grids[0]) != 2 or len(grids[1]) != 2:
        raise bad_argument("relevance", "cells of pictures, or tokens", f"grids {grids[0]} and {grids[1]}")
    images = [side if isinstance(side, Image.Image) else Image.fromarray(np.asarray(side)) for side in given]
    links = links_of_cells(grids, [image.width / image.height for image in images], pairs)
    drawn = (
        f'<image x="{left:.1f}" y="0" width="{width:.1f}" height="{_HEIGHT}" href="{_png(image)}"/>'
        for image, (left, width) in zip(images, links.places, strict=True)
    )
    return _svg(links, *drawn)


def links_of_cells(
    grids: Sequence[tuple[int, ...]], ratios: Sequence[float], pairs: Sequence[Pair], gap: float = _GAP
) -> Links:
    """Join cells of two pictures of one height side by side; ``ratios`` are their widths over their heights."""
    widths = [_HEIGHT * ratio for ratio in ratios]
    places = [(0.0, widths[0]), (widths[0] + gap, widths[1])]

    def center(side: int, cell: tuple[int, ...]) -> Point:
        (rows, columns), (left, width) = grids[side], places[side]
        return left + (cell[1] + 0.5) * width / columns, (cell[0] + 0.5) * _HEIGHT / rows

    lines = [(center(0, pair.x), center(1, pair.y), pair.relevance) for pair in pairs]
    return Links(sum(places[1]), _HEIGHT, lines, places=places)


def links_of_words(x: Sequence[str], y: Sequence[str], pairs: Sequence[Pair]) -> Links:
    """Join words of two sentences, one above the other."""
    centers: list[list[float]] = []
    parts, width = [], 0.0
    for words, base in ((x, _LINE), (y, _GAP + 2 * _LINE)):
        left = _WORDS_APART
        centers.append([])
        for word in words:
            length = _LETTER * len(word)
            parts.append((word, (left + length / 2, base), length))
            centers[-1].append(left + length / 2)
            left += length + _WORDS_APART
        width = max(width, left)
    top, bottom = _LINE + 6, _GAP + _LINE
    lines = [((centers[0][pair.x[0]], top), (centers[1][pair.y[0]], bottom), pair.relevance) for pair in pairs]
    return Links(width, _GAP + 2 * _LINE + 6, lines, parts)


def _svg(links: Links, *pictures: str) -> Markup:
    words = (
        f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" text-anchor="middle"'
        f' font-family="monospace" font-size="16">{html.escape(word)}</text>'
        for word, (x, y), length in links.words
    )
    lines = (_line(*line, abs(links.lines[0][2])) for line in reversed(links.lines))
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {links.width:.1f} {links.height:.1f}"'
        f' width="{links.width:.0f}"'
        f' role="img" aria-label="Pairs of parts that make two inputs similar, red, or different, blue">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join([*pictures, *words, *lines])}</svg>'
    )


def _line(start: Point, end: Point, relevance: float, largest: float) -> str:
    share = abs(relevance) / largest
    color = "#{:02x}{:02x}{:02x}".format(*diverging_colormap()[COLORS - 1 if relevance > 0 else 0].tolist())
    (x0, y0), (x1, y1) = start, end
    return (
        f'<g stroke="{color}" fill="{color}" opacity="{0.35 + 0.65 * share:.2f}"><title>{relevance:.3g}</title>'
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke-width="{1 + 4 * share:.1f}"/>'
        f'<circle cx="{x0:.1f}" cy="{y0:.1f}" r="3"/><circle cx="{x1:.1f}" cy="{y1:.1f}" r="3"/></g>'
    )


def _png(image: Image.Image) -> str:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
