"""Which subsets of the wanted sets are needed, and the sums over them: what the 2n+1 rule leaves to compute.

Let z_S be the mixed derivative of a node's value along the directions in S, and mu_S that of its adjoint. With z_S
known for at most ``n`` directions and mu_S for at most ``m``,

    F_T = sum over nodes, over S in T with |S| <= |T| - n - 1, of <mu_S, [phi(z)]_(T - S)>

where phi is the node's operation and products are over blocks of at most n directions; exact if
``|T| <= min(2 n + 1, n + m + 1)`` (Griewank and Walther, "Evaluating Derivatives", 2nd edition, section 10.2, is the
one-variable case). Sets with at most n directions are rows of the score itself.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.kernels.partition_sum import Program as Terms
from xai_fast.kernels.partition_sum import Term, program_of, set_partitions

__all__ = ["Lattice", "Products", "Set"]

Set = tuple[int, ...]
"""A set of directions: their indices, rising."""


@dataclass(frozen=True)
class Products:
    """Sums of products of rows: ``target[t] += adjoint[a] * first[f] * second[s]`` for each entry.

    Attributes:
        target: (K,) int64.
        adjoint: (K,) int64.
        first: (K,) int64, rows of the first operand.
        second: (K,) int64, rows of the second.
    """

    target: Tensor
    adjoint: Tensor
    first: Tensor
    second: Tensor

    def __len__(self) -> int:
        return self.target.numel()

    @classmethod
    def of(cls, entries: Iterable[tuple[int, int, int, int]]) -> Products:
        """Build the columns from entries (target, adjoint, first, second)."""
        table = torch.tensor(sorted(entries), dtype=torch.int64).reshape(-1, 4)
        return cls(*(column.contiguous() for column in table.unbind(1)))


def _subsets(chosen: Set, most: int) -> Iterable[Set]:
    for size in range(min(most, len(chosen)) + 1):
        yield from itertools.combinations(chosen, size)


def _without(chosen: Set, part: Set) -> Set:
    return tuple(i for i in chosen if i not in part)


class Lattice:
    """The subsets of the wanted sets, and the terms of every rule.

    Args:
        targets: the wanted sets, each of at least one direction.
        forward: n, the largest sets whose tangents are carried forward, at least 1.
        backward: m, the largest sets whose adjoints are carried backward.

    Attributes:
        sets: the rows: all subsets of 1 to n directions, small ones first.
        adjoint_sets: the rows of adjoints: the empty set, then all subsets of 1 to m directions.
    """

    def __init__(self, targets: Sequence[Set], forward: int, backward: int) -> None:
        self.targets = tuple(targets)
        self.forward = forward
        self.backward = backward
        unique = dict.fromkeys(self.targets)
        self.sets = _sorted({s for t in unique for s in _subsets(t, forward) if s})
        beyond = [t for t in unique if len(t) > forward]
        self.adjoint_sets = _sorted(
            {s for t in beyond for s in _subsets(t, min(backward, len(t) - forward - 1))} | {()}
        )
        self.row = {s: i for i, s in enumerate(self.sets)}
        self.adjoint_row = {s: i for i, s in enumerate(self.adjoint_sets)}

    @functools.cached_property
    def direct(self) -> list[tuple[int, int]]:
        """The targets that are rows of the score: (target, row)."""
        return [(t, self.row[chosen]) for t, chosen in enumerate(self.targets) if len(chosen) <= self.forward]

    @functools.cached_property
    def forward_terms(self) -> Terms:
        """Faa di Bruno's sum for every row."""
        return program_of([self.forward_terms_of(chosen) for chosen in self.sets])

    @functools.cached_property
    def forward_products(self) -> Products:
        """Leibniz' sum for every row, without the two terms in which one operand is not differentiated."""
        return Products.of(entry for chosen in self.sets for entry in self.forward_products_of(chosen))

    @functools.cached_property
    def adjoint_terms(self) -> Terms:
        """mu_S of the argument of s(z): the sum over V in S of [s'(z)]_V mu_(S - V), for every adjoint row."""
        return program_of([self.adjoint_terms_of(chosen) for chosen in self.adjoint_sets])

    @functools.cached_property
    def adjoint_products(self) -> Products:
        """For every adjoint row S and V in S, V not empty: (row of S, row of S - V, row of V, row of V)."""
        return Products.of(entry for chosen in self.adjoint_sets for entry in self.adjoint_products_of(chosen))

    @functools.cached_property
    def contracted_terms(self) -> Terms:
        """The 2n+1 rule's sum of an elementwise node, for every target."""
        return program_of([self.contracted_terms_of(chosen) for chosen in self.targets])

    @functools.cached_property
    def contracted_products(self) -> Products:
        """The 2n+1 rule's sum of a bilinear node, for every target."""
        return Products.of(
            (target, *entry[1:])
            for target, chosen in enumerate(self.targets)
            for entry in self.contracted_products_of(chosen)
        )

    def forward_terms_of(self, chosen: Set) -> list[Term]:
        """List the terms of one row, see `forward_terms`."""
        return self._terms(chosen, 0, -1, 1)

    def forward_products_of(self, chosen: Set) -> list[tuple[int, int, int, int]]:
        """List the products of one row, see `forward_products`."""
        return [
            (self.row[chosen], 0, self.row[part], self.row[_without(chosen, part)])
            for part in _subsets(chosen, len(chosen) - 1)
            if part
        ]

    def adjoint_terms_of(self, chosen: Set) -> list[Term]:
        """List the terms of one adjoint row, see `adjoint_terms`."""
        terms: list[Term] = []
        for part in _subsets(chosen, self.forward):
            terms += self._terms(part, 1, self.adjoint_row[_without(chosen, part)], 0)
        return terms

    def adjoint_products_of(self, chosen: Set) -> list[tuple[int, int, int, int]]:
        """List the products of one adjoint row, see `adjoint_products`."""
        return [
            (self.adjoint_row[chosen], self.adjoint_row[_without(chosen, part)], self.row[part], self.row[part])
            for part in _subsets(chosen, self.forward)
            if part
        ]

    def contracted_terms_of(self, chosen: Set) -> list[Term]:
        """List the terms of one target, see `contracted_terms`."""
        if len(chosen) <= self.forward:
            return []
        terms: list[Term] = []
        for part in _subsets(chosen, len(chosen) - self.forward - 1):
            terms += self._terms(_without(chosen, part), 0, self.adjoint_row[part], 2)
        return terms

    def contracted_products_of(self, chosen: Set) -> list[tuple[int, int, int, int]]:
        """List the products of one target, see `contracted_products`; the target itself is 0."""
        entries: list[tuple[int, int, int, int]] = []
        if len(chosen) <= self.forward:
            return entries
        for part in _subsets(chosen, len(chosen) - self.forward - 1):
            rest = _without(chosen, part)
            for first in _subsets(rest, self.forward):
                second = _without(rest, first)
                if first and second and len(second) <= self.forward:
                    entries.append((0, self.adjoint_row[part], self.row[first], self.row[second]))
        return entries

    def _terms(self, chosen: Set, shift: int, adjoint: int, fewest: int) -> list[Term]:
        """List the terms of [s^(shift)(z)]_chosen with at least so many blocks, none larger than ``forward``."""
        terms = []
        for partition in set_partitions((1 << len(chosen)) - 1):
            if len(partition) < fewest or any(block.bit_count() > self.forward for block in partition):
                continue
            rows = tuple(
                self.row[tuple(member for i, member in enumerate(chosen) if block >> i & 1)] for block in partition
            )
            terms.append(Term(len(partition) + shift, rows, adjoint))
        return terms


def _sorted(sets: Iterable[Set]) -> tuple[Set, ...]:
    return tuple(sorted(sets, key=lambda s: (len(s), s)))
