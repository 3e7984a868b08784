"""Rules of quadrature on the interval from 0 to 1, in rounds of doubled numbers of nodes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

__all__ = ["RULES", "Nodes", "nodes_of"]

RULES = ("gauss_legendre", "riemann_left", "riemann_right", "riemann_middle", "trapezoid")
_FIRST = {"riemann_left": 0.0, "riemann_right": 1.0, "riemann_middle": 0.5, "trapezoid": 0.0}
_FEWEST = 4


@dataclass(frozen=True)
class Nodes:
    """The nodes of all rounds, one after the other.

    The integral is the weighted sum over the nodes of a round, and with ``nested`` of those before, divided by their
    number less ``beyond``.

    Attributes:
        nodes: from 0 to 1.
        weights: of each node.
        ends: how many nodes there are after each round.
        nested: a round has the nodes between those of the rounds before, and does not replace these.
        beyond: how many nodes there are more than cells of weight 1.
    """

    nodes: list[float]
    weights: list[float]
    ends: list[int]
    nested: bool
    beyond: int


def nodes_of(rule: str, steps: int, *, doubled: bool) -> Nodes:
    """Return the nodes of a rule, one of `RULES`, at the end or at most ``steps``.

    Where ``doubled``, they begin with 4 to 7 (of the trapezoid rule cells, one less than nodes), and double as
    ``steps`` allows.
    """
    nested, beyond = rule in ("riemann_left", "riemann_right", "trapezoid"), int(rule == "trapezoid")
    cells = steps - beyond
    doublings = max(0, (cells // _FEWEST).bit_length() - 1) if doubled else 0
    found = [_round(rule, cells >> doublings)]
    for doubling in reversed(range(doublings)):
        count = cells >> doublings << (doublings - doubling)
        found.append(_round("riemann_middle", count // 2) if nested else _round(rule, count))
    nodes, weights = (list(itertools.chain(*values)) for values in zip(*found, strict=True))
    return Nodes(nodes, weights, list(itertools.accumulate(len(n) for n, _ in found)), nested, beyond)


def _round(rule: str, cells: int) -> tuple[list[float], list[float]]:
    if rule == "gauss_legendre":
        x, w = np.polynomial.legendre.leggauss(cells)
        return (0.5 + 0.5 * x).tolist(), (0.5 * cells * w).tolist()
    nodes = [(k + _FIRST[rule]) / cells for k in range(cells)]
    if rule == "trapezoid":
        return [*nodes, 1.0], [0.5, *[1.0] * (cells - 1), 0.5]
    return nodes, [1.0] * cells
