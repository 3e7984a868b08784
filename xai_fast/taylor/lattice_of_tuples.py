"""The lattice of many sets of one size: what it needs for one set, spread over all of them without a loop."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.kernels import combinations
from xai_fast.kernels.partition_sum import Program as Terms
from xai_fast.kernels.partition_sum import Term, program_of
from xai_fast.taylor.lattice import Lattice, Products, Set

__all__ = ["LatticeOfTuples", "lattice_of"]

_WORTH_SPREADING = 16


def lattice_of(targets: Sequence[Set], forward: int, backward: int) -> Lattice:
    """Build the lattice of some sets: many of one size without a loop over them."""
    alike = len(targets) >= _WORTH_SPREADING and len({len(chosen) for chosen in targets}) == 1
    return (LatticeOfTuples if alike else Lattice)(targets, forward, backward)


class LatticeOfTuples(Lattice):
    """The same as `xai_fast.taylor.lattice.Lattice`, for targets of one size; its rows are in colexicographic order.

    Args:
        targets: the wanted sets, rising, all of one size.
        forward: n.
        backward: m.
    """

    def __init__(self, targets: Sequence[Set], forward: int, backward: int) -> None:
        self.targets = tuple(targets)
        self.forward = forward
        self.backward = backward
        table = torch.tensor(self.targets, dtype=torch.int64)
        self._order = table.shape[1]
        most = min(forward, self._order)
        most_adjoint = max(0, min(backward, self._order - forward - 1))
        self._one = Lattice([tuple(range(self._order))], forward, backward)
        self._ranks: list[Tensor] = [torch.zeros(1, dtype=torch.int64)]
        self._members: list[Tensor] = [torch.zeros(1, 0, dtype=torch.int64)]
        for size in range(1, max(most, most_adjoint) + 1):
            chosen = [table[:, list(part)] for part in itertools.combinations(range(self._order), size)]
            self._ranks.append(torch.unique(combinations.rank(torch.cat(chosen))))
            self._members.append(combinations.unrank(self._ranks[-1], size))
        self._table = table
        self.sets = self._listed(1, most)
        self.adjoint_sets = self._listed(0, most_adjoint)
        self._sizes, self._adjoint_sizes = range(1, most + 1), range(most_adjoint + 1)

    @functools.cached_property
    @override
    def direct(self) -> list[tuple[int, int]]:
        return [] if self._order > self.forward else list(enumerate(self._rows(self._table).tolist()))

    @functools.cached_property
    @override
    def forward_terms(self) -> Terms:
        return _joined([self._spread(self._members[size], self._one.forward_terms_of) for size in self._sizes])

    @functools.cached_property
    @override
    def adjoint_terms(self) -> Terms:
        return _joined([self._spread(self._members[size], self._one.adjoint_terms_of) for size in self._adjoint_sizes])

    @functools.cached_property
    @override
    def contracted_terms(self) -> Terms:
        return self._spread(self._table, self._one.contracted_terms_of)

    @functools.cached_property
    @override
    def forward_products(self) -> Products:
        parts = [self._products(self._members[size], self._one.forward_products_of, self._rows) for size in self._sizes]
        return _together(parts)

    @functools.cached_property
    @override
    def adjoint_products(self) -> Products:
        return _together(
            [
                self._products(self._members[size], self._one.adjoint_products_of, self._adjoint_rows)
                for size in self._adjoint_sizes
            ]
        )

    @functools.cached_property
    @override
    def contracted_products(self) -> Products:
        def numbers(table: Tensor) -> Tensor:
            return torch.arange(table.shape[0])

        return self._products(self._table, self._one.contracted_products_of, numbers)

    def _listed(self, least: int, most: int) -> tuple[Set, ...]:
        return tuple(tuple(chosen) for size in range(least, most + 1) for chosen in self._members[size].tolist())

    def _rows(self, table: Tensor) -> Tensor:
        """Find the rows of sets (X, size) of at least one direction."""
        return self._places(table) - 1

    def _adjoint_rows(self, table: Tensor) -> Tensor:
        return self._places(table)

    def _places(self, table: Tensor) -> Tensor:
        size = table.shape[1]
        if size == 0:
            return torch.zeros(table.shape[0], dtype=torch.int64)
        before = sum(ranks.numel() for ranks in self._ranks[:size])
        return before + torch.searchsorted(self._ranks[size], combinations.rank(table))

    def _spread(self, table: Tensor, terms_of: Callable[[Set], list[Term]]) -> Terms:
        """Give every set (X, size) the terms that the first directions of one have."""
        count, size = table.shape
        one = program_of([terms_of(tuple(range(size)))])
        blocks = [self._rows(table[:, list(self._one.sets[row])]) for row in one.blocks.tolist()]
        adjoints = [
            torch.full((count,), -1) if row < 0 else self._adjoint_rows(table[:, list(self._one.adjoint_sets[row])])
            for row in one.term_adjoint.tolist()
        ]
        terms, entries = one.term_order.numel(), one.blocks.numel()
        return Terms(
            (torch.arange(count + 1) * terms).int(),
            one.term_order.repeat(count),
            _interleaved(adjoints, count).int(),
            torch.cat(
                [
                    (one.block_offsets[:-1] + torch.arange(count)[:, None] * entries).flatten(),
                    torch.tensor([count * entries]),
                ]
            ).int(),
            _interleaved(blocks, count).int(),
            one.orders,
        )

    def _products(
        self,
        table: Tensor,
        products_of: Callable[[Set], list[tuple[int, int, int, int]]],
        targets: Callable[[Tensor], Tensor],
    ) -> Products:
        """Give every set (X, size) the products that the first directions of one have."""
        count, size = table.shape
        entries = products_of(tuple(range(size)))

        def mapped(column: int, sets: Sequence[Set], rows: Callable[[Tensor], Tensor]) -> Tensor:
            return _interleaved([rows(table[:, list(sets[entry[column]])]) for entry in entries], count)

        # Forward products have no adjoint: their column is zero, the row of the empty set.
        return Products(
            _interleaved([targets(table)] * len(entries), count),
            mapped(1, self._one.adjoint_sets, self._adjoint_rows),
            mapped(2, self._one.sets, self._rows),
            mapped(3, self._one.sets, self._rows),
        )


def _interleaved(columns: Sequence[Tensor], count: int) -> Tensor:
    return torch.stack(list(columns), 1).flatten() if columns else torch.zeros(0 * count, dtype=torch.int64)


def _together(parts: Sequence[Products]) -> Products:
    columns = [[part.target, part.adjoint, part.first, part.second] for part in parts]
    return Products(*(torch.cat(column) for column in zip(*columns, strict=True)))


def _joined(parts: Sequence[Terms]) -> Terms:
    """Put the targets of programs one after the other."""
    term_offsets, block_offsets = [torch.zeros(1, dtype=torch.int32)], [torch.zeros(1, dtype=torch.int32)]
    for part in parts:
        term_offsets.append(part.term_offsets[1:] + term_offsets[-1][-1])
        block_offsets.append(part.block_offsets[1:] + block_offsets[-1][-1])
    return Terms(
        torch.cat(term_offsets),
        torch.cat([part.term_order for part in parts]),
        torch.cat([part.term_adjoint for part in parts]),
        torch.cat(block_offsets),
        torch.cat([part.blocks for part in parts]),
        max(part.orders for part in parts),
    )
