"""Which sets of two and three directions have rows, and which rows a tuple of directions reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.kernels import combinations
from xai_fast.kernels.tuple_sum import orders_of, subsets_of

__all__ = ["Numbering", "Subsets"]

_MOST_KEPT = 1 << 16
"""Tuples of which the members are kept for the next points."""


@dataclass(frozen=True)
class Subsets:
    """The sets that have rows: of one direction all, then these.

    Attributes:
        singles: D.
        pairs: (P, 2) int32.
        triples: (T, 3) int32.
        triple_pairs: (T, 3) int32, see `xai_fast.kernels.feed_forward_rows`.
        ranks: of the pairs and of the triples, rising; None where all are there.
    """

    singles: int
    pairs: Tensor
    triples: Tensor
    triple_pairs: Tensor
    ranks: tuple[Tensor | None, Tensor | None]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.singles + self.pairs.shape[0] + self.triples.shape[0]

    def adjoints(self, most: int) -> int:
        """Count the rows of adjoints of sets of at most so many directions."""
        return 1 + (self.singles if most else 0) + (self.pairs.shape[0] if most > 1 else 0)

    def rows(self, columns: Tensor) -> Tensor:
        """Find the rows (T,) int64 of sets (T, size) int64 of one to three directions, rising."""
        size = columns.shape[1]
        if size == 1:
            return columns[:, 0]
        rank, ranks = _rank(columns), self.ranks[size - 2]
        place = rank if ranks is None else torch.searchsorted(ranks, rank)
        return place.add_(self.singles + (self.pairs.shape[0] if size == 3 else 0))

    def members(self, sets: Tensor) -> Tensor:
        """Find the rows (T, C) int32 that `xai_fast.kernels.tuple_sum` reads for sets (T, k) int64, rising."""
        columns = subsets_of(sets.shape[1])
        members = sets.new_empty(sets.shape[0], len(columns), dtype=torch.int32)
        by_column = sets.T.contiguous()
        for at, chosen in enumerate(columns):
            members[:, at] = self.rows(by_column[list(chosen)].T)
        return members


class Numbering:
    """The rows of all sets of some directions, made once.

    Args:
        singles: D.
        device: of the tables.
    """

    def __init__(self, singles: int, device: torch.device) -> None:
        self.singles = singles
        self.device = device
        self._complete: dict[int, Subsets] = {}
        self._members: dict[int, Tensor] = {}

    def complete(self, most: int) -> Subsets:
        """Give rows to all sets of at most so many directions, one to three."""
        if most not in self._complete:
            pairs, triples = (self._all(size) if most >= size else None for size in (2, 3))
            self._complete[most] = self._subsets(pairs, triples, (None, None))
        return self._complete[most]

    def needed(self, sets: Tensor) -> Subsets:
        """Give rows to the subsets of these sets (T, k) that `xai_fast.kernels.tuple_sum` reads."""
        tables: list[Tensor | None] = []
        ranks: list[Tensor | None] = []
        for size in (2, 3):
            columns = [chosen for chosen in subsets_of(sets.shape[1]) if len(chosen) == size]
            found = torch.unique(torch.cat([_rank(sets[:, list(chosen)]) for chosen in columns])) if columns else None
            ranks.append(found)
            tables.append(None if found is None else combinations.unrank(found, size))
        return self._subsets(tables[0], tables[1], (ranks[0], ranks[1]))

    def members_of_block(self, order: int, begin: int, end: int) -> Tensor:
        """Find the rows that the sets of these ranks read, where all sets have rows."""
        total = combinations.count(self.singles, order)
        if total > _MOST_KEPT:
            ranks = torch.arange(begin, end, device=self.device)
            return self.complete(orders_of(order)[0]).members(combinations.unrank(ranks, order))
        if order not in self._members:
            ranks = torch.arange(total, device=self.device)
            self._members[order] = self.complete(orders_of(order)[0]).members(combinations.unrank(ranks, order))
        members = self._members[order]
        return members if end - begin == total else members[begin:end]

    def _all(self, size: int) -> Tensor:
        return combinations.unrank(torch.arange(combinations.count(self.singles, size), device=self.device), size)

    def _subsets(
        self, pairs: Tensor | None, triples: Tensor | None, ranks: tuple[Tensor | None, Tensor | None]
    ) -> Subsets:
        none = torch.zeros(0, 3, dtype=torch.int64, device=self.device)
        pairs, triples = none[:, :2] if pairs is None else pairs, none if triples is None else triples
        without = Subsets(self.singles, pairs.int().contiguous(), none.int(), none.int(), ranks)
        rest = [without.rows(triples[:, kept]) for kept in ([1, 2], [0, 2], [0, 1])]
        return Subsets(
            self.singles, without.pairs, triples.int().contiguous(), torch.stack(rest, 1).int().contiguous(), ranks
        )


def _rank(sets: Tensor) -> Tensor:
    """Number sets of two or three directions (T, size), without the checks of `combinations.rank`."""
    i, j = sets[:, 0], sets[:, 1]
    rank = j * (j - 1) // 2 + i
    if sets.shape[1] == 3:
        k = sets[:, 2]
        rank += k * (k - 1) * (k - 2) // 6
    return rank
