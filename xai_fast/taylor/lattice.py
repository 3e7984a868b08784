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

import torch
from torch import Tensor

from xai_fast.kernels.partition_sum import Program as Terms
from xai_fast.kernels.partition_sum import Term, program_of, set_partitions

__all__ = ["Lattice", "Set"]

Set = tuple[int, ...]
"""A set of directions: their indices, rising."""


def _table(entries: Iterable[tuple[int, int, int, int]]) -> Tensor:
    return torch.tensor(sorted(entries), dtype=torch.int64).reshape(-1, 4)


def _subsets(chosen: Set, most: int) -> Iterable[Set]:
    for size in range(min(most, len(chosen)) + 1):
        yield from itertools.combinations(chosen, size)


def _without(chosen: Set, part: Set) -> Set:
    return tuple(i for i in chosen if i not in part)


class Lattice:
    """The subsets of the wanted sets, and the terms of every rule.

    Args:
        targets: the wanted sets, each of at least one direction.

    Attributes:
        forward: n, the largest sets whose tangents are carried forward: half of the largest target, at least 1.
        backward: m, the largest sets whose adjoints are carried backward.
        sets: the rows: all subsets of 1 to n directions, small ones first.
        adjoint_sets: the rows of adjoints: the empty set, then all subsets of 1 to m directions.

    Sums of products of rows are tables (K, 4) int64 of (target, adjoint, first, second), one line for each
    ``target[t] += adjoint[a] * first[f] * second[s]``.
    """

    def __init__(self, targets: Sequence[Set]) -> None:
        self.targets = tuple(targets)
        largest = max(map(len, self.targets))
        self.forward = forward = max(1, largest // 2)
        self.backward = backward = max(0, largest - forward - 1)
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
        return program_of([self._terms(chosen, 0, -1, 1) for chosen in self.sets])

    @functools.cached_property
    def forward_products(self) -> Tensor:
        """Leibniz' sum for every row, without the two terms in which one operand is not differentiated."""
        return _table(
            (row, 0, self.row[part], self.row[_without(chosen, part)])
            for row, chosen in enumerate(self.sets)
            for part in _subsets(chosen, len(chosen) - 1)
            if part
        )

    @functools.cached_property
    def adjoint_terms(self) -> Terms:
        """mu_S of the argument of s(z): the sum over V in S of [s'(z)]_V mu_(S - V), for every adjoint row."""
        return program_of(
            [
                [
                    term
                    for part in _subsets(chosen, self.forward)
                    for term in self._terms(part, 1, self.adjoint_row[_without(chosen, part)], 0)
                ]
                for chosen in self.adjoint_sets
            ]
        )

    @functools.cached_property
    def adjoint_products(self) -> Tensor:
        """For every adjoint row S and V in S, V not empty: (row of S, row of S - V, row of V, row of V)."""
        return _table(
            (row, self.adjoint_row[_without(chosen, part)], self.row[part], self.row[part])
            for row, chosen in enumerate(self.adjoint_sets)
            for part in _subsets(chosen, self.forward)
            if part
        )

    @functools.cached_property
    def contracted_terms(self) -> Terms:
        """The 2n+1 rule's sum of an elementwise node, for every target."""
        terms: list[list[Term]] = [[] for _ in self.targets]
        for target, part, rest in self._contracted():
            terms[target] += self._terms(rest, 0, self.adjoint_row[part], 2)
        return program_of(terms)

    @functools.cached_property
    def contracted_products(self) -> Tensor:
        """The 2n+1 rule's sum of a bilinear node, for every target."""
        return _table(
            (target, self.adjoint_row[part], self.row[first], self.row[second])
            for target, part, rest in self._contracted()
            for first in _subsets(rest, self.forward)
            if first and (second := _without(rest, first)) and len(second) <= self.forward
        )

    def _contracted(self) -> Iterable[tuple[int, Set, Set]]:
        """List the targets that are no rows with each S of an adjoint, and the rest of the target."""
        for target, chosen in enumerate(self.targets):
            if len(chosen) > self.forward:
                for part in _subsets(chosen, len(chosen) - self.forward - 1):
                    yield target, part, _without(chosen, part)

    def _terms(self, chosen: Set, shift: int, adjoint: int, fewest: int) -> list[Term]:
        """List the terms of [s^(shift)(z)]_chosen with at least so many blocks, none larger than ``forward``."""
        return [
            Term(
                len(partition) + shift,
                tuple([self.row[tuple([chosen[i] for i in block])] for block in partition]),
                adjoint,
            )
            for partition in _partitions(len(chosen), fewest, self.forward)
        ]


@functools.cache
def _partitions(size: int, fewest: int, largest: int) -> list[list[list[int]]]:
    """List the partitions of range(size) into at least so many blocks, none larger than so many."""
    return [
        [[i for i in range(size) if block >> i & 1] for block in partition]
        for partition in set_partitions((1 << size) - 1)
        if len(partition) >= fewest and all(block.bit_count() <= largest for block in partition)
    ]


def _sorted(sets: Iterable[Set]) -> tuple[Set, ...]:
    return tuple(sorted(sets, key=lambda s: (len(s), s)))
