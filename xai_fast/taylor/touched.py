"""Rows that are zero at most places of a node: only the others are kept and computed.

A direction at one object of a relation network touches the pairs that contain it: 2 n - 1 of n^2. The places of a node
are all its dimensions but the last; which of them a direction touches follows from the graph alone, and is the same for
all items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Touched", "touched_places"]

_WORTHWHILE = 0.5
"""The largest share of touched places at which keeping only these pays."""


def touched_places(rows: Tensor) -> Tensor | None:
    """Find the places (R, P) bool that rows (R, B, *shape) touch in any item; None where that is most of them."""
    if rows.ndim < 4 or rows.shape[0] == 0:
        return None
    touched = (rows != 0).any(-1).any(1).flatten(1)
    return touched if touched.float().mean() <= _WORTHWHILE else None


@dataclass(frozen=True)
class Touched:
    """Rows (R, B, *shape) of which K places are kept.

    Attributes:
        rows: R.
        shape: of the node's value for one item.
        index: (K,) int64, rising: row * P + place.
        values: (K, B, d) with d the last dimension of the shape; None where only the places are followed.
    """

    rows: int
    shape: tuple[int, ...]
    index: Tensor
    values: Tensor | None

    @property
    def places(self) -> int:
        """P, the places of the node."""
        return math.prod(self.shape[:-1])

    @property
    def is_whole(self) -> bool:
        """Whether all places are kept."""
        return len(self.index) == self.rows * self.places

    @property
    def place(self) -> Tensor:
        """(K,) the place of each kept entry."""
        return self.index % self.places

    @classmethod
    def of(cls, rows: Tensor, touched: Tensor) -> Touched:
        """Keep the touched places (R, P) bool of whole rows (R, B, *shape)."""
        index = touched.flatten().nonzero().flatten()
        shape = tuple(rows.shape[2:])
        by_place = rows.reshape(rows.shape[0], rows.shape[1], -1, shape[-1]).transpose(1, 2).flatten(0, 1)
        return cls(rows.shape[0], shape, index, by_place[index])

    @classmethod
    def pattern(cls, touched: Tensor, shape: tuple[int, ...]) -> Touched:
        """Follow the places only, (R, P) bool."""
        return cls(touched.shape[0], shape, touched.flatten().nonzero().flatten(), None)

    def whole(self) -> Tensor:
        """Return rows (R, B, *shape), zero where nothing is kept."""
        if self.values is None:
            raise ValueError("only the places are known")
        batch, last = self.values.shape[1:]
        result = self.values.new_zeros(self.rows * self.places, batch, last)
        result[self.index] = self.values
        result = result.reshape(self.rows, self.places, batch, last).transpose(1, 2)
        return result.reshape(self.rows, batch, *self.shape)

    def with_values(self, values: Tensor | None, shape: tuple[int, ...]) -> Touched:
        """Return other values at the same places of a node with another last dimension, or the same."""
        return Touched(self.rows, shape, self.index, values)

    def scaled(self, factor: Tensor) -> Touched:
        """Multiply by a factor of each entry, (B, *shape)."""
        if self.values is None:
            return self
        by_place = factor.reshape(factor.shape[0], self.places, self.shape[-1]).transpose(0, 1)
        return self.with_values(by_place.index_select(0, self.place).mul_(self.values), self.shape)

    def expanded(self, shape: tuple[int, ...]) -> Touched:
        """Repeat places by broadcasting to a shape with the same last dimension."""
        if shape == self.shape:
            return self
        old = torch.arange(self.places, device=self.index.device).reshape(self.shape[:-1]).expand(shape[:-1]).flatten()
        position = self.index.new_full((self.rows * self.places,), -1)
        position[self.index] = torch.arange(len(self.index), device=self.index.device)
        source = position.reshape(self.rows, self.places)[:, old].flatten()
        index = (source >= 0).nonzero().flatten()
        values = None if self.values is None else self.values.index_select(0, source[index])
        return Touched(self.rows, shape, index, values)

    def plus(self, other: Touched) -> Touched:
        """Add rows of the same shape."""
        total = self.rows * self.places
        position = self.index.new_zeros(total, dtype=torch.bool)
        position[self.index] = True
        position[other.index] = True
        index = position.nonzero().flatten()
        if self.values is None or other.values is None:
            return Touched(self.rows, self.shape, index, None)
        place = self.index.new_zeros(total)
        place[index] = torch.arange(len(index), device=index.device)
        values = self.values.new_zeros(len(index), *self.values.shape[1:])
        values[place[self.index]] = self.values
        values.index_add_(0, place[other.index], other.values)
        return Touched(self.rows, self.shape, index, values)

    def summed(self, dims: Sequence[int], shape: tuple[int, ...]) -> Touched:
        """Sum over dimensions of the places; the result has all of its places kept."""
        kept = [1 if d in dims else size for d, size in enumerate(self.shape[:-1])]
        places = math.prod(kept)
        target = torch.arange(places, device=self.index.device).reshape(kept).expand(self.shape[:-1]).flatten()
        index = torch.arange(self.rows * places, device=self.index.device)
        if self.values is None:
            return Touched(self.rows, shape, index, None)
        to = self.index // self.places * places + target[self.place]
        values = self.values.new_zeros(self.rows * places, *self.values.shape[1:]).index_add_(0, to, self.values)
        return Touched(self.rows, shape, index, values)
