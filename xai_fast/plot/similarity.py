"""Two pictures, or two sentences, with lines between the parts that make them similar."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_fast.errors import bad_argument
from xai_fast.interaction.pair_relevance import Pair, PairRelevance
from xai_fast.plot.colormap import COLORS, diverging_colormap

__all__ = ["similarity_svg"]

_HEIGHT, _GAP = 320.0, 120.0
_LETTER, _LINE = (
    9.6,
    18.0,
)  # of 16 px type: the width of a letter in a monospaced face, and what stands above a base line
_WORDS_APART = 14.0

Point = tuple[float, float]


def similarity_svg(
    x: Image.Image | NDArray[Any] | Sequence[str],
    y: Image.Image | NDArray[Any] | Sequence[str],
    relevance: PairRelevance,
    *,
    item: int = 0,
    top_k: int = 20,
) -> str:
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
        The text of an SVG, such as for ``IPython.display.SVG``.

    Raises:
        InputError: the inputs are not what the relevance is of.
    """
    grids, given = (relevance.grid_x, relevance.grid_y), (x, y)
    pairs = relevance[item].top_k(top_k)[0]
    if len(grids[0]) == 1 and len(grids[1]) == 1:
        if any(isinstance(side, Image.Image) or len(side) != n for side, (n,) in zip(given, grids, strict=True)):
            raise bad_argument("x", f"{grids[0][0]} words, and {grids[1][0]} for y", f"{len(x)} and {len(y)}")  # type: ignore[arg-type]
        return _words([str(word) for word in x], [str(word) for word in y], pairs)  # type: ignore[union-attr]
    if len(grids[0]) != 2 or len(grids[1]) != 2:
        raise bad_argument("relevance", "cells of pictures, or tokens", f"grids {grids[0]} and {grids[1]}")
    images = [side if isinstance(side, Image.Image) else Image.fromarray(np.asarray(side)) for side in given]
    return _pictures(images, grids, pairs)


def _pictures(images: Sequence[Image.Image], grids: Sequence[tuple[int, ...]], pairs: Sequence[Pair]) -> str:
    widths = [_HEIGHT * image.width / image.height for image in images]
    lefts = [0.0, widths[0] + _GAP]
    parts = [
        f'<image x="{left:.1f}" y="0" width="{width:.1f}" height="{_HEIGHT}" href="{_png(image)}"/>'
        for image, left, width in zip(images, lefts, widths, strict=True)
    ]

    def place(side: int, cell: tuple[int, ...]) -> Point:
        rows, columns = grids[side]
        return lefts[side] + (cell[1] + 0.5) * widths[side] / columns, (cell[0] + 0.5) * _HEIGHT / rows

    lines = [_line(place(0, pair.x), place(1, pair.y), pair, pairs) for pair in reversed(pairs)]
    return _svg(lefts[1] + widths[1], _HEIGHT, [*parts, *lines])


def _words(x: Sequence[str], y: Sequence[str], pairs: Sequence[Pair]) -> str:
    centers: list[list[float]] = []
    parts, width = [], 0.0
    for words, base in ((x, _LINE), (y, _GAP + 2 * _LINE)):
        left = _WORDS_APART
        centers.append([])
        for word in words:
            length = _LETTER * len(word)
            parts.append(
                f'<text x="{left + length / 2:.1f}" y="{base}" textLength="{length:.1f}" text-anchor="middle"'
                f' font-family="monospace" font-size="16">{html.escape(word)}</text>'
            )
            centers[-1].append(left + length / 2)
            left += length + _WORDS_APART
        width = max(width, left)
    top, bottom = _LINE + 6, _GAP + _LINE
    lines = [
        _line((centers[0][pair.x[0]], top), (centers[1][pair.y[0]], bottom), pair, pairs) for pair in reversed(pairs)
    ]
    return _svg(width, _GAP + 2 * _LINE + 6, [*parts, *lines])


def _line(start: Point, end: Point, pair: Pair, pairs: Sequence[Pair]) -> str:
    share = abs(pair.relevance) / abs(pairs[0].relevance)
    color = "#{:02x}{:02x}{:02x}".format(*diverging_colormap()[COLORS - 1 if pair.relevance > 0 else 0].tolist())
    (x0, y0), (x1, y1) = start, end
    return (
        f'<g stroke="{color}" fill="{color}" opacity="{0.35 + 0.65 * share:.2f}"><title>{pair.relevance:.3g}</title>'
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke-width="{1 + 4 * share:.1f}"/>'
        f'<circle cx="{x0:.1f}" cy="{y0:.1f}" r="3"/><circle cx="{x1:.1f}" cy="{y1:.1f}" r="3"/></g>'
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.0f}"'
        f' role="img" aria-label="Pairs of parts that make two inputs similar, red, or different, blue">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _png(image: Image.Image) -> str:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
