"""Two pictures, or two sentences, with lines between the parts that make them similar."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xai_fast.errors import bad_argument
from xai_fast.interaction.pair_relevance import Pair, PairRelevance
from xai_fast.plot.colormap import COLORS, diverging_colormap
from xai_fast.plot.markup import Markup

__all__ = ["links_of_cells", "links_of_words", "links_svg", "similarity_svg"]

_HEIGHT, _GAP = 320.0, 120.0
# Of 16 px type: the width of a letter in a monospaced face, and what stands above a base line.
_LETTER, _LINE = 9.6, 18.0
_WORDS_APART = 14.0
_LABEL = "Pairs of parts that make two inputs similar, red, or different, blue"


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
    a line shows its parts and its number.

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
    grids, given, found = (relevance.grid_x, relevance.grid_y), (x, y), relevance[item]
    if len(grids[0]) == 1 and len(grids[1]) == 1:
        if any(isinstance(side, Image.Image) or len(side) != n for side, (n,) in zip(given, grids, strict=True)):
            raise bad_argument("x", f"{grids[0][0]} words, and {grids[1][0]} for y", f"{len(x)} and {len(y)}")  # type: ignore[arg-type]
        words = [[str(word) for word in side] for side in given]  # type: ignore[union-attr]
        return links_svg(links_of_words(found, top_k, *words), _LABEL)
    if len(grids[0]) != 2 or len(grids[1]) != 2:
        raise bad_argument("relevance", "cells of pictures, or tokens", f"grids {grids[0]} and {grids[1]}")
    images = [side if isinstance(side, Image.Image) else Image.fromarray(np.asarray(side)) for side in given]
    layer = links_of_cells(found, top_k, [image.width / image.height for image in images])
    whole = layer["box"][0]
    drawn = (
        f'<image x="{left * whole:.1f}" y="0" width="{width * whole:.1f}" height="{_HEIGHT}" href="{_png(image)}"/>'
        for image, (left, width) in zip(images, layer["halves"], strict=True)
    )
    return links_svg(layer, _LABEL, *drawn)


def links_of_cells(found: PairRelevance, top_k: int, ratios: Sequence[float], gap: float = _GAP) -> dict[str, Any]:
    """Join cells of two pictures of one height side by side; ``ratios`` are their widths over their heights."""
    widths = [_HEIGHT * ratio for ratio in ratios]
    places = [(0.0, widths[0]), (widths[0] + gap, widths[1])]
    grids = found.grid_x, found.grid_y

    def center(side: int, cell: tuple[int, ...]) -> tuple[float, float]:
        (rows, columns), (left, width) = grids[side], places[side]
        return left + (cell[1] + 0.5) * width / columns, (cell[0] + 0.5) * _HEIGHT / rows

    pairs, whole = found.to("cpu").top_k(top_k)[0], sum(places[1])
    lines = [[*center(0, pair.x), *center(1, pair.y)] for pair in pairs]
    names = [f"{pair.x} \N{EN DASH} {pair.y}" for pair in pairs]
    return _layer(whole, _HEIGHT, lines, pairs, names, halves=[[left / whole, width / whole] for left, width in places])


def links_of_words(found: PairRelevance, top_k: int, x: Sequence[str], y: Sequence[str]) -> dict[str, Any]:
    """Join words of two sentences, one above the other."""
    centers: list[list[float]] = []
    parts, width = [], 0.0
    for words, base in ((x, _LINE), (y, _GAP + 2 * _LINE)):
        left = _WORDS_APART
        centers.append([])
        for word in words:
            length = _LETTER * len(word)
            parts.append([word, left + length / 2, base, length])
            centers[-1].append(left + length / 2)
            left += length + _WORDS_APART
        width = max(width, left)
    top, bottom = _LINE + 6, _GAP + _LINE
    pairs = found.to("cpu").top_k(top_k)[0]
    lines = [[centers[0][pair.x[0]], top, centers[1][pair.y[0]], bottom] for pair in pairs]
    names = [f"{x[pair.x[0]]} \N{EN DASH} {y[pair.y[0]]}" for pair in pairs]
    return _layer(width, _GAP + 2 * _LINE + 6, lines, pairs, names, words=parts)


def _layer(
    width: float, height: float, lines: list[list[float]], pairs: Sequence[Pair], names: list[str], **more: Any
) -> dict[str, Any]:
    """Give links as the script of a page reads them: ends in the units of the box, the strongest first."""
    return {
        "kind": "links",
        "ratio": width / height,
        "box": [width, height],
        "lines": [[round(number, 1) for number in line] for line in lines],
        "values": [pair.relevance for pair in pairs],
        "names": names,
        "halves": [],
        "words": [],
        **more,
    }


def links_svg(layer: Mapping[str, Any], label: str, *under: str) -> Markup:
    """Draw links as SVG, over a frame and what else lies under them."""
    width, height = layer["box"]
    frame = f'<path d="{layer["frame"]}" stroke="#999999"/>' if layer.get("frame") else ""
    lines = []
    for line, value, name in zip(layer["lines"], layer["values"], layer["names"], strict=True):
        share = abs(value) / abs(layer["values"][0])
        color = "#{:02x}{:02x}{:02x}".format(*diverging_colormap()[COLORS - 1 if value > 0 else 0].tolist())
        path = line if isinstance(line, str) else "M{},{}L{},{}".format(*line)
        lines.append(
            f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{1 + 4 * share:.1f}" stroke-linecap="round"'
            f' stroke-linejoin="round" opacity="{0.35 + 0.5 * share:.2f}"><title>{html.escape(name)}: {value:.3g}'
            "</title></path>"
        )
    words = (
        f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" text-anchor="middle" font-family="monospace"'
        f' font-size="16" paint-order="stroke" stroke="#ffffff" stroke-width="4">{html.escape(word)}</text>'
        for word, x, y, length in layer["words"]
    )
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" width="{width:.0f}"'
        f' role="img" aria-label="{label}"><rect width="100%" height="100%" fill="#ffffff"/>'
        f"{''.join([*under, frame, *reversed(lines), *words])}</svg>"
    )


def _png(image: Image.Image) -> str:
    out = io.BytesIO()
    image.convert("RGB").save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
