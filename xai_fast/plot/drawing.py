"""What a page draws of one item: its picture, and by method a heat map, words, pairs, links, bars or numbers."""

from __future__ import annotations

import base64
import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import InputError
from xai_fast.explanation import Explanation
from xai_fast.interaction.geometry import AxisGeometry
from xai_fast.interaction.interaction_map import InteractionMap
from xai_fast.interaction.pair_relevance import PairRelevance
from xai_fast.interaction.walk_relevance import WalkRelevance
from xai_fast.plot.heatmap import CLIP, heat, heat_layer
from xai_fast.plot.items import Item, label
from xai_fast.plot.ledger import ledger_of
from xai_fast.plot.similarity import links_of_cells, links_of_words
from xai_fast.plot.walks import links_of_walks
from xai_fast.plot.words import marked_words
from xai_fast.relevance.ledger import Relevance

__all__ = ["Look", "entry", "kind_of", "plain_text"]

_FEW_PIXELS = 64
_SMALLEST_PICTURE = 24
_LONGEST_LIST = 12
_LONGEST_ERROR = 2000
_MOST_BARS = 512
_MOST_LINKED = 64  # parts of one input without words
_FEWEST_LINKS = 20
_FEWEST_WALKS = 10
_GAP = 32.0  # between two pictures that are 320 high
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Look:
    """How explanations are drawn.

    Attributes:
        ranking: how the channels of a pixel become one importance, see `xai_fast.metrics.rank_pixels`.
        clip: percentiles between which the colours of a heat map run.
        smooth: blur of heat maps for the eye, in pixels.
        top_k: interactions that are listed and framed, at least 1.
        feature_names: of explanations with a number for each feature; by default their positions.
        signed: whether a page begins with the signs of maps that have some; its reader can switch.
        beside: whether a page about several methods begins with all of them side by side; likewise.

    Raises:
        InputError: top_k is out of range.
    """

    ranking: str = "sum_of_abs"
    clip: tuple[float, float] = CLIP
    smooth: float = 0.0
    top_k: int = 4
    feature_names: Sequence[str] = ()
    signed: bool = False
    beside: bool = False

    def __post_init__(self) -> None:
        check_integer("top_k", self.top_k, 1)


def kind_of(explanation: Explanation, words: Sequence[str] = ()) -> str:
    """Say how an item with these words is drawn: as "pairs", "links", "walks", "words", "heat", "bars" or "numbers"."""
    if isinstance(explanation, InteractionMap):
        return "pairs"
    if isinstance(explanation, WalkRelevance):
        return "walks"
    if isinstance(explanation, PairRelevance):
        grids = explanation.grid_x, explanation.grid_y
        of_pictures = all(len(grid) == 2 for grid in grids) and len(explanation.size_x) == len(explanation.size_y) == 2
        few = all(len(grid) == 1 and (words or grid[0] <= _MOST_LINKED) for grid in grids)
        return "links" if of_pictures or few else "numbers"
    shape = _drawn_part(explanation).shape[1:]
    if words and len(shape) in (1, 2):
        return "words"
    if len(shape) in (2, 3) and min(shape) > 0 and min(shape[-2:]) > 1:
        return "heat"
    return "bars" if len(shape) == 1 and 1 < shape[0] <= _MOST_BARS else "numbers"


def entry(item: Item, methods: Sequence[str], side: int, look: Look) -> dict[str, Any]:
    """Return what the script of the page reads of an item, for JSON; ``side`` is the longer side of pictures in pixels.

    It has "name", "question", "error", "classes", "notes", "photo" (JPEG in base64, or ""), "ratio" (width over
    height), "small" (whether pixels are to be seen as such), and "layers": for each method what lies over the picture,
    or None.
    """
    error = item.error
    layers: list[dict[str, Any] | None] = []
    for method in methods:
        found = item.explanations.get(method)
        try:
            layers.append(None if found is None else _layer(found, item.words, side, look))
        except InputError as fault:  # in a store that somebody else made
            layers.append(None)
            error = error or str(fault)
    ratio = next((layer["ratio"] for layer in layers if layer and "ratio" in layer), None)
    largest = max((layer.get("pixels", 0) for layer in layers if layer), default=0)
    small = _SMALLEST_PICTURE <= largest < _FEW_PIXELS  # of a map of a few cells it says nothing
    halves = next((layer["halves"] for layer in layers if layer and layer.get("halves")), ())
    photo = _photo(item.picture, largest if small else side, ratio, halves)
    notes = [*item.notes.items(), *(pair for one in item.explanations.values() for pair in _lists(one, item.words))]
    return {
        "name": plain_text(item.name),
        "question": plain_text(item.question),
        "error": "\n".join(map(plain_text, error[:_LONGEST_ERROR].split("\n"))),
        "classes": [[plain_text(name), share] for name, share in item.classes],
        "notes": [[plain_text(name), plain_text(value)] for name, value in notes],
        "photo": "" if photo is None else _encoded(photo, "JPEG", quality=_JPEG_QUALITY, optimize=True),
        "ratio": ratio if photo is None else photo.width / photo.height,
        "small": small or (photo is not None and max(photo.size) < _FEW_PIXELS),
        "layers": layers,
    }


def plain_text(text: str) -> str:
    """Mark by U+FFFD what cannot be shown or stored: control characters, and what is no Unicode."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def _layer(found: Explanation, words: Sequence[str], side: int, look: Look) -> dict[str, Any] | None:
    kind = kind_of(found, words)
    if kind == "pairs":
        return _pairs(found, look.top_k)  # type: ignore[arg-type]  # kind_of has looked
    if kind == "links":
        return _links(found, words, look.top_k)  # type: ignore[arg-type]  # kind_of has looked
    if kind == "walks":
        return links_of_walks(found, 0, max(look.top_k, _FEWEST_WALKS))  # type: ignore[arg-type]  # likewise
    values = _drawn_part(found)[0].detach().cpu()
    layer: dict[str, Any] = {"kind": kind}
    if kind == "heat":
        layer |= _heat(values.reshape(-1, *values.shape[-2:]), side, look)
    elif kind == "words":
        layer["words"] = [list(map(plain_text, word)) for word in marked_words(words, values)]
    elif kind == "bars":
        numbers = [value if math.isfinite(value) else None for value in values.double().tolist()]
        names = [look.feature_names[i] if i < len(look.feature_names) else str(i) for i in range(len(numbers))]
        layer |= {"values": numbers, "names": list(map(plain_text, names))}
    if isinstance(found, Relevance):
        ledger = ledger_of(found)
        layer["ledger"] = ledger | {"text": plain_text(ledger["text"])}
    return layer if len(layer) > 1 else None


def _drawn_part(explanation: Explanation) -> Tensor:
    parts = explanation.attributions
    return parts[0] if isinstance(parts, tuple) else parts


def _heat(values: Tensor, side: int, look: Look) -> dict[str, Any]:
    height, width = values.shape[-2:]
    drawn = {"image": _heat_image(values, side, look, signed=False), "ratio": width / height}
    if bool((values.sum(0) < 0).any()):
        drawn["signed"] = _heat_image(values, side, look, signed=True)
    return {**drawn, "pixels": max(height, width)}


def _heat_image(values: Tensor, side: int, look: Look, *, signed: bool) -> str:
    scaled = heat(values, ranking=look.ranking, clip=look.clip, smooth=look.smooth, signed=signed)
    height, width = scaled.shape
    scale = max(height, width) / side
    if scale > 1:  # averaged, as the eye would: pixels that are left out could be the ones that matter
        smaller = (max(1, round(height / scale)), max(1, round(width / scale)))
        scaled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(scaled)[None], smaller)[0].numpy()
    return _encoded(heat_layer(scaled, signed=signed), "PNG")


def _pairs(found: InteractionMap, top_k: int) -> dict[str, Any]:
    """Say where the cells lie, as shares of the picture, and how strongly they act on each other."""
    found = found.to("cpu")
    strongest = found.top_k(top_k)[0]
    kind, numbers, scale = _strengths(found)
    rows, columns, ratio = _cells(found)
    return {
        "kind": "pairs",
        "ratio": ratio,
        "order": found.order,
        "rows": rows,
        "columns": columns,
        "signed": kind == "sums",
        "directed": found.directed,
        "scale": scale,
        "values": base64.b64encode(numbers.tobytes()).decode("ascii"),
        "top": [
            {
                "cells": [int(np.ravel_multi_index(cell, found.grid)) for cell in one.cells],
                "share": one.saliency / strongest[0].saliency,
            }
            for one in strongest
        ],
    }


def _links(found: PairRelevance, words: Sequence[Any], top_k: int) -> dict[str, Any]:
    """Say where the strongest lines run, and how relevant they are."""
    most = max(top_k, _FEWEST_LINKS)
    if found.size_x and len(found.grid_x) == 2:
        return links_of_cells(found, most, [width / height for height, width in (found.size_x, found.size_y)], _GAP)
    x, y = (
        [plain_text(given[i]) if i < len(given) else "" if given else str(i) for i in range(n)]
        for given, (n,) in zip(words or ((), ()), (found.grid_x, found.grid_y), strict=True)
    )
    return links_of_words(found, most, x, y)


def _strengths(found: InteractionMap) -> tuple[str, NDArray[Any], float]:
    """Give the numbers of a map in 16 bits: signed sums S_ij, or roots of non-negative strengths, up to the scale."""
    # Roots, because 16 bits of a square would leave weak interactions few of them.
    if found.order == 2 and found.sums is not None:
        kept = found.sums[0] if found.directed else found.sums[0] * (found.attributions[0] > 0)
        sums = _array(kept)
        scale = float(np.abs(sums).max(initial=0.0))
        return "sums", (sums / (scale or 1.0) * 32767).round().astype("<i2"), scale
    if found.order == 1:
        strengths = _array(found.marginal()[0]).ravel()
    else:
        strengths = np.stack([_array(found.partners(found.cell(i))[0]).ravel() for i in range(found.cells)])
    scale = float(np.sqrt(strengths.max(initial=0.0)))
    return "strengths", (np.sqrt(strengths) / (scale or 1.0) * 65535).round().astype("<u2"), scale


def _cells(found: InteractionMap) -> tuple[list[list[float]], list[list[float]], float]:
    """Give the intervals of rows and columns, as shares of the picture, and the picture's proportions."""
    geometry = found.geometry
    if geometry is not None and len(geometry.axes) < 3:  # volumes are drawn as a row of cells
        *rows, column = geometry.axes
        row = rows[0] if rows else None
        return _shares(row), _shares(column), column.pixels / row.pixels if row else 4.0
    height, width = found.grid if len(found.grid) == 2 else (1, found.cells)
    even = [[[round(i / count, 5), round((i + 1) / count, 5)] for i in range(count)] for count in (height, width)]
    return even[0], even[1], min(max(width / height, 0.25), 4.0)


def _shares(axis: AxisGeometry | None) -> list[list[float]]:
    if axis is None:
        return [[0.0, 1.0]]
    return [[round(side / axis.pixels, 5) for side in axis.cell(cell)] for cell in range(axis.cells)]


def _lists(explanation: Explanation, words: Sequence[str]) -> list[tuple[str, str]]:
    """Write short lists of numbers, and of long ones the strongest; what is drawn is left out."""
    drawn = {"attributions", "attributions.0"} if kind_of(explanation, words) != "numbers" else set()
    texts = []
    for name, tensor in explanation.tensors().items():
        if tensor.ndim < 2 or name == "ledger" or name in drawn or (tensor.ndim > 2 and drawn):
            continue
        numbers = tensor[0].detach().double().flatten().cpu()
        listed = [f"{value:.4g}" for value in numbers[:_LONGEST_LIST].tolist()]
        if len(numbers) > _LONGEST_LIST:
            strongest = numbers.nan_to_num().abs().topk(_LONGEST_LIST).indices.tolist()
            listed = [f"{i}: {float(numbers[i]):.4g}" for i in strongest] + ["..."]
        texts.append((label(name), ", ".join(listed)))
    return texts


def _photo(picture: Any, side: int, ratio: float | None, halves: Sequence[Sequence[float]]) -> Image.Image | None:
    """Open a picture, or the two of a pair, with the proportions of what lies over it, no larger than a side."""
    try:
        picture = picture(side) if callable(picture) else picture
        if picture is None:
            return None
        if isinstance(picture, tuple) and ratio is not None and halves:
            height = round(side / max(1.0, ratio))
            whole = Image.new("RGB", (round(height * ratio), height), "white")
            for part, (left, width) in zip(map(_opened, picture), halves, strict=True):
                size = max(1, round(width * whole.width)), height
                whole.paste(ImageOps.fit(part, size), (round(left * whole.width), 0))
            return whole
        image = _opened(picture[0] if isinstance(picture, tuple) else picture)
    except (OSError, ValueError, TypeError):  # the results are shown all the same
        return None
    if ratio is not None:
        width, height = image.size
        kept = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
        left, top = (width - kept[0]) // 2, (height - kept[1]) // 2
        image = image.crop((left, top, left + kept[0], top + kept[1]))
    image.thumbnail((side, side))
    return image


def _opened(picture: Any) -> Image.Image:
    if isinstance(picture, bytes):
        picture = Image.open(io.BytesIO(picture))
    elif isinstance(picture, str | Path):
        picture = Image.open(picture)
    elif not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.asarray(picture))
    image: Image.Image = picture.convert("RGB")
    return image


def _encoded(image: Image.Image, kind: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _array(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.detach().double().numpy()
    return array
