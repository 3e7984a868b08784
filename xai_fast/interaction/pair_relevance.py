"""What BiLRP returns: what a part of one input and a part of another contribute together to their similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.explanation import Explanation

__all__ = ["Pair", "PairRelevance"]

Box = tuple[int, int, int, int]


class Pair(NamedTuple):
    """A cell of x and a cell of y.

    Attributes:
        x: its index in the grid of x, such as (row, column), or (position,) of a token.
        y: the same for y.
        relevance: what they contribute to the similarity, with its sign.
    """

    x: tuple[int, ...]
    y: tuple[int, ...]
    relevance: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PairRelevance(Explanation):
    """The relevance of pairs for the similarity of B pairs of inputs.

    ``attributions`` (B, n, m) are signed and in units of the similarity, which is ``scores``: of cell i of x and cell j
    of y. Their sum is the similarity, but for what biases and stabilisers took on either side.

    Attributes:
        grid_x: the grid of the n cells of x: (rows, columns), (tokens,), or the shape of x.
        grid_y: that of the m cells of y.
        size_x: (H, W) of pictures x; () for others.
        size_y: (H, W) of pictures y.
    """

    attributions: Tensor
    grid_x: tuple[int, ...]
    grid_y: tuple[int, ...]
    size_x: tuple[int, ...] = ()
    size_y: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        expected = (len(self.scores), int(np.prod(self.grid_x)), int(np.prod(self.grid_y)))
        if tuple(self.attributions.shape) != expected:
            raise bad_argument("attributions", f"shape {expected}", str(tuple(self.attributions.shape)))

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        names = ("grid_x", "grid_y", "size_x", "size_y")
        return {**values, **{name: tuple(map(int, values[name])) for name in names}}

    def top_k(self, k: int) -> list[list[Pair]]:
        """Give for each item at most k pairs of largest magnitude, the strongest first; none without relevance."""
        check_integer("k", k, 1)
        found = []
        for values in self.attributions.detach().cpu().numpy():
            order = np.argsort(-np.abs(values), axis=None, kind="stable")[:k]
            places = [np.unravel_index(flat, values.shape) for flat in order if values.flat[flat] != 0]
            found.append([self._pair(int(i), int(j), float(values[i, j])) for i, j in places])
        return found

    def _pair(self, i: int, j: int, relevance: float) -> Pair:
        x, y = np.unravel_index(i, self.grid_x), np.unravel_index(j, self.grid_y)
        return Pair(tuple(map(int, x)), tuple(map(int, y)), relevance)

    def marginals(self) -> tuple[Tensor, Tensor]:
        """Sum over the cells of the other input: ``(B, *grid_x)`` and ``(B, *grid_y)``."""
        x, y = self.attributions.sum(2), self.attributions.sum(1)
        return x.reshape(-1, *self.grid_x), y.reshape(-1, *self.grid_y)

    def boxes(self, k: int) -> list[list[tuple[Box, Box]]]:
        """Give the pairs of `top_k` as boxes in the pictures.

        Args:
            k: how many, at least 1.

        Returns:
            For each item and pair, (x0, y0, x1, y1) in x and in y, in pixels with y downwards, the ends exclusive.

        Raises:
            InputError: the inputs are no pictures that are parted into cells.
        """
        if len(self.grid_x) != 2 or len(self.size_x) != 2 or len(self.size_y) != 2:
            raise InputError("boxes: expected cells of pictures, cells=(rows, columns), got other inputs or cells")
        return [
            [(_box(p.x, self.grid_x, self.size_x), _box(p.y, self.grid_y, self.size_y)) for p in item]
            for item in self.top_k(k)
        ]


def _box(cell: tuple[int, ...], grid: tuple[int, ...], size: tuple[int, ...]) -> Box:
    (row, column), (rows, columns), (height, width) = cell, grid, size
    # Pixel i belongs to the cell i * rows // height.
    y0, y1 = -(-row * height // rows), -(-(row + 1) * height // rows)
    x0, x1 = -(-column * width // columns), -(-(column + 1) * width // columns)
    return x0, y0, x1, y1
