"""Where the cells of a layer's map lie in the picture that the model was given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xai_fast.errors import bad_argument

__all__ = ["AxisGeometry", "CellGeometry"]


@dataclass(frozen=True)
class AxisGeometry:
    """The cells along one axis of the image. Pixel i covers the interval from i to i + 1.

    Attributes:
        pixels: length of the image.
        start: centre of the first cell, in pixels from the image's edge.
        stride: pixels from one centre to the next.
        low: the first pixel that each cell depends on.
        high: the first pixel after the last one that each cell depends on; at most ``low`` where a cell depends on
            none, which happens in a wide padding.
    """

    pixels: int
    start: float
    stride: float
    low: tuple[int, ...]
    high: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise bad_argument("high", "one pixel per cell, as low", f"{len(self.low)} and {len(self.high)} pixels")

    @property
    def cells(self) -> int:
        """The number of cells."""
        return len(self.low)

    def center(self, cell: int) -> float:
        """Give the centre of a cell, in pixels from the image's edge; it can lie in the padding, outside the image."""
        return self.start + self.stride * cell

    def cell(self, cell: int) -> tuple[float, float]:
        """Give a cell's interval: one stride around its centre, cut at the image's edges."""
        half = abs(self.stride) / 2
        low, high = (min(max(self.center(cell) + side, 0.0), float(self.pixels)) for side in (-half, half))
        return low, high

    def field(self, cell: int) -> tuple[float, float]:
        """Give a cell's receptive field: the interval from the first to the last pixel that it depends on."""
        return float(self.low[cell]), float(self.high[cell])


@dataclass(frozen=True)
class CellGeometry:
    """Where the cells of a map lie in the image.

    Boxes are (x0, y0, x1, y1) in pixels with y downwards, the first pixel covering 0 to 1; of a signal with one axis
    they are (x0, x1), of a volume (x0, y0, z0, x1, y1, z1). Cells are (row, column), (position,) of a signal, or
    (layer, row, column) of a volume.

    Attributes:
        axes: the axes of the image in its own order: height, then width.
    """

    axes: tuple[AxisGeometry, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells per axis: (rows, columns)."""
        return tuple(axis.cells for axis in self.axes)

    @property
    def image(self) -> tuple[int, ...]:
        """Pixels per axis: (height, width)."""
        return tuple(axis.pixels for axis in self.axes)

    def center(self, cell: Sequence[int]) -> tuple[float, ...]:
        """Give the centre (x, y) of a cell (row, column) in pixels; it can lie outside the image, in a wide padding."""
        return tuple(axis.center(i) for axis, i in reversed(self._positions(cell)))

    def cell_box(self, cell: Sequence[int]) -> tuple[float, ...]:
        """Return the box (x0, y0, x1, y1) that a cell (row, column) stands for: as large as the stride, at its centre.

        It is cut at the image's edges. The boxes of a map do not overlap.
        """
        return _box([axis.cell(i) for axis, i in self._positions(cell)])

    def field_box(self, cell: Sequence[int]) -> tuple[float, ...]:
        """Give the box (x0, y0, x1, y1) within the image that a cell (row, column) depends on: its receptive field."""
        return _box([axis.field(i) for axis, i in self._positions(cell)])

    @classmethod
    def of_patches(cls, grid: Sequence[int], image: Sequence[int]) -> CellGeometry | None:
        """Return the cells of a picture that was cut into patches, each of which may see all of it, as tokens do.

        The grid is (rows, columns), the image (height, width) in pixels; None where the grid is none of this picture.
        """
        if len(grid) != len(image) or any(pixels % cells for cells, pixels in zip(grid, image, strict=True)):
            return None
        axes = []
        for cells, pixels in zip(grid, image, strict=True):
            stride = pixels / cells
            axes.append(AxisGeometry(pixels, stride / 2, stride, (0,) * cells, (pixels,) * cells))
        return cls(tuple(axes))

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold, for `from_dict`."""
        return {"axes": [dict(vars(axis)) for axis in self.axes]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CellGeometry:
        """Make the geometry that `to_dict` described, also after a journey through JSON; else raise an `InputError`."""
        try:
            return cls(tuple(_axis_from_dict(axis) for axis in values["axes"]))
        except (KeyError, TypeError, ValueError) as error:
            raise bad_argument("geometry", "what CellGeometry.to_dict gave", repr(values)[:200]) from error

    def _positions(self, cell: Sequence[int]) -> list[tuple[AxisGeometry, int]]:
        inside = len(cell) == len(self.axes) and all(0 <= i < n for i, n in zip(cell, self.grid, strict=True))
        if not inside:
            raise bad_argument("cell", f"a position in the grid {self.grid}", repr(tuple(cell)))
        return [(axis, int(i)) for axis, i in zip(self.axes, cell, strict=True)]


def _box(intervals: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    lows, highs = zip(*reversed(intervals), strict=True)
    return (*lows, *highs)


def _axis_from_dict(axis: Mapping[str, Any]) -> AxisGeometry:
    low, high = (tuple(int(pixel) for pixel in axis[side]) for side in ("low", "high"))
    start, stride = float(axis["start"]), float(axis["stride"])
    if not math.isfinite(start + stride):
        raise ValueError("not finite")
    return AxisGeometry(int(axis["pixels"]), start, stride, low, high)
