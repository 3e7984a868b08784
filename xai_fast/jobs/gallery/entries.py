"""What the page shows of one item: a small picture, the map over it, and what the store says in words."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from torch import Tensor

from xai_fast.errors import InputError
from xai_fast.jobs.gallery.catalog import Catalog, ItemRow
from xai_fast.jobs.gallery.pairs import draw_pairs
from xai_fast.jobs.gallery.pictures import Pictures

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Entries", "Entry", "shown_name"]

_FEW_PIXELS = 64
_LONGEST_LIST = 12
_LONGEST_ERROR = 2000
_JPEG_QUALITY = 82
_SMALLEST_PICTURE = 24
_SHARP = 2  # lines cost few bytes, and are to be sharp on any screen
_AXIS = (128, 128, 128, 255)


class Entry(TypedDict):
    """An item as the page's script reads it.

    Keys:
        name: of the item.
        photo: JPEG in base64, or "".
        heat: PNG in base64: the map, frames and lines for interactions, or bars for a list of numbers; or "".
        drawn: whether that is lines, not values of pixels.
        small: whether the picture has so few pixels that they are to be seen as such.
        error: why the item failed, or "".
        facts: labels and texts.
    """

    name: str
    photo: str
    heat: str
    drawn: bool
    small: bool
    error: str
    facts: list[list[str]]


class Entries:
    """Makes entries; several threads may do so.

    Args:
        catalog: the items.
        pictures: of the items.
        side: of the small pictures, in pixels.
    """

    def __init__(self, catalog: Catalog, pictures: Pictures, side: int) -> None:
        self._catalog = catalog
        self._pictures = pictures
        self._side = side

    @property
    def proportions(self) -> float:
        """Width over height of all pictures."""
        shape = self._catalog.map_shape or self._catalog.input_size
        return 1.0 if shape is None else shape[1] / shape[0]

    def entry(self, index: int, side: int | None = None) -> Entry:
        """Make the entry of an item.

        Args:
            index: of the item.
            side: of the picture, if it is to be another than usual.

        Returns:
            The entry.
        """
        row = self._catalog.row(index)
        shape = self._catalog.map_shape
        # The map of every pixel says how large the picture is; of a map of a few cells it says nothing.
        largest = 0 if shape is None or max(shape) < _SMALLEST_PICTURE else max(shape)
        if side is None or 0 < largest < _FEW_PIXELS:
            side = min(side or self._side, largest or self._side)
        cut = shape is not None or self._catalog.input_size is not None
        photo = self._pictures.picture(index, side, self.proportions if cut else None)
        error = row.error
        try:
            heat = self._drawn(row, side)
        except InputError as fault:  # in a store that somebody else made
            heat, error = None, str(fault)
        seen = photo or heat
        return Entry(
            name=shown_name(row.name),
            photo="" if photo is None else _encoded(photo, "JPEG", quality=_JPEG_QUALITY, optimize=True),
            heat="" if heat is None else _encoded(heat, "PNG"),
            drawn=row.map is None,
            small=seen is not None and max(seen.size) < _FEW_PIXELS,
            error=error[:_LONGEST_ERROR],
            facts=_facts(row),
        )

    def _drawn(self, row: ItemRow, side: int) -> Image.Image | None:
        if row.pairs is not None:
            return draw_pairs(row.pairs, _SHARP * side)
        return _bars(row.lists, side) if row.map is None else _heat(row.map, side)


def shown_name(name: str) -> str:
    """Give an id as text that JSON and pages can hold: what is no Unicode becomes U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _heat(values: Tensor, side: int) -> Image.Image:
    """Draw a map, (H, W) or (C, H, W), no larger than a side."""
    import torch

    from xai_fast.plot.heatmap import heat, heat_layer

    importance = heat(values.reshape(-1, *values.shape[-2:]))
    scale = max(importance.shape) / side
    if scale > 1:
        # Averaged, as the eye would: pixels that are left out could be the ones that matter.
        height, width = (max(1, round(length / scale)) for length in importance.shape)
        importance = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(importance)[None], (height, width))[
            0
        ].numpy()
    return heat_layer(importance)


def _bars(lists: Mapping[str, list[float]], side: int) -> Image.Image | None:
    """Draw the first list of several numbers as bars, up from the middle where they are positive, else down."""
    from PIL import Image, ImageDraw

    from xai_fast.plot.colormap import diverging_colormap

    values = next((numbers for numbers in lists.values() if len(numbers) > 1), [])
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if not largest:
        return None
    down, up = ((*map(int, diverging_colormap()[place]), 255) for place in (0, -1))
    picture = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(picture)
    margin, middle = side // 10, side / 2
    width = (side - 2 * margin) / len(values)
    draw.line((margin, middle, side - margin, middle), fill=_AXIS)
    for place, value in enumerate(values):
        if math.isfinite(value) and value:
            left = margin + place * width
            end = middle - value / largest * (middle - margin)
            # A gap between bars that are wide enough to have one.
            box = (left, min(middle, end), max(left, left + 0.8 * width - 1), max(middle, end))
            draw.rectangle(box, fill=up if value > 0 else down)
    return picture


def _encoded(image: Image.Image, kind: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _facts(row: ItemRow) -> list[list[str]]:
    facts = []
    for label, numbers in row.lists.items():
        ranked = sorted(enumerate(numbers), key=lambda pair: -abs(pair[1]) if math.isfinite(pair[1]) else 0.0)
        listed = [f"{value:.4g}" for value in numbers]
        if len(numbers) > _LONGEST_LIST:
            listed = [f"{place}: {value:.4g}" for place, value in ranked[:_LONGEST_LIST]] + ["..."]
        facts.append([label, ", ".join(listed)])
    return facts
