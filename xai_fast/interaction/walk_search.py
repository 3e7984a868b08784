"""Walks in one graph: all of them, those that are asked for, and the strongest ones by branch and bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xai_fast.interaction.message_passing import Term

__all__ = ["Found", "WalkGraph"]

_BLOCK = 64  # prefixes that are extended at once


class Found(NamedTuple):
    """Walks.

    Attributes:
        walks: (W, L + 1) int64, from the input to the readout.
        relevance: (W,) float64.
        expanded: how many beginnings of walks, seen from the readout, were extended.
    """

    walks: Tensor
    relevance: Tensor
    expanded: int


class _Level:
    """The transitions of a level: pairs (k, j) of nodes, sorted by k, with the weights of each term, (pairs,)."""

    def __init__(self, terms: Sequence[Term]) -> None:
        matrices = torch.stack([term.adjacency for term in terms])
        self.k, self.j = matrices.ne(0).any(0).nonzero(as_tuple=True)
        self.weights = matrices[:, self.k, self.j]
        self.maps = [term.maps for term in terms]
        self.degrees = torch.bincount(self.k, minlength=matrices.shape[1])
        self.first = self.degrees.cumsum(0) - self.degrees

    def extend(self, rows: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Extend prefixes (P, D_m) that are at ``nodes``: rows (Q, D_(m-1)), their nodes, and what they extend."""
        mapped = [_by_node(rows, nodes, maps) for maps in self.maps]
        origin, pair = self._pairs(nodes)
        parts = [weight[pair, None] * part[origin] for weight, part in zip(self.weights, mapped, strict=True)]
        return torch.stack(parts).sum(0), self.j[pair], origin

    def close(self, rows: Tensor, nodes: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Extend prefixes (P, D_1) to whole walks: their relevance (Q,), their first nodes, and what they extend."""
        found = torch.zeros(len(rows), len(inputs), dtype=rows.dtype, device=rows.device)
        for node in nodes.unique().tolist():
            pairs = slice(int(self.first[node]), int(self.first[node] + self.degrees[node]))
            ends = inputs[self.j[pairs]]
            sums = sum(m[node] @ (w[pairs, None] * ends).mT for m, w in zip(self.maps, self.weights, strict=True))
            at = (nodes == node).nonzero()
            found[at, self.j[pairs]] = rows[at[:, 0]] @ sums
        origin, pair = self._pairs(nodes)
        return found[origin, self.j[pair]], self.j[pair], origin

    def _pairs(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Give the pairs that begin at nodes (P,): which of the P, and which pair."""
        counts = self.degrees[nodes]
        origin = torch.arange(len(nodes), device=nodes.device).repeat_interleave(counts)
        place = torch.arange(len(origin), device=nodes.device) - (counts.cumsum(0) - counts)[origin]
        return origin, self.first[nodes][origin] + place

    def bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound what comes of all beginnings at each node, (n, D_m), by the bounds (n, D_(m-1)) a level below."""
        middle, radius = (high + low) / 2, (high - low) / 2
        ends = []
        for node in range(len(self.degrees)):
            pairs = slice(int(self.first[node]), int(self.first[node] + self.degrees[node]))
            j = self.j[pairs]
            parts = [(m[node], w[pairs, None]) for m, w in zip(self.maps, self.weights, strict=True)]
            center = sum(((w * middle[j]) @ m.mT for m, w in parts), middle.new_zeros(()))
            spread = sum(((w.abs() * radius[j]) @ m.abs().mT for m, w in parts), middle.new_zeros(()))
            if len(j):
                ends.append(((center - spread).amin(0), (center + spread).amax(0)))
            else:
                ends.append((middle.new_zeros(self.maps[0].shape[1]),) * 2)
        lows, highs = zip(*ends, strict=True)
        return torch.stack(lows), torch.stack(highs)


class WalkGraph:
    """The transitions of one graph, in float64.

    Args:
        top: (n, D_L).
        terms: of all levels, each with (n, n) adjacency and (n, D_m, D_(m-1)) maps.
        inputs: (n, D_0).
    """

    def __init__(self, top: Tensor, terms: Sequence[Term], inputs: Tensor) -> None:
        self.top, self.inputs = top.double(), inputs.double()
        steps = max(term.level for term in terms)
        double = [Term(t.level, t.adjacency.double(), t.maps.double()) for t in terms]
        self.levels = [_Level([t for t in double if t.level == level]) for level in range(1, steps + 1)]
        # Where the score does not read a node, no walk ends.
        self.ends = self.top.ne(0).any(1).nonzero()[:, 0]

    @property
    def count(self) -> float:
        """The number of walks."""
        return self.prefixes()[-1]

    def prefixes(self) -> list[float]:
        """Count the walks of 0 to L steps that end in the readout."""
        counts = torch.zeros(len(self.top), dtype=torch.float64, device=self.top.device)
        counts[self.ends] = 1
        found = [float(counts.sum())]
        for level in reversed(self.levels):
            counts = torch.zeros_like(counts).index_add(0, level.j, counts[level.k])
            found.append(float(counts.sum()))
        return found

    def all(self) -> Found:
        """Compute all walks."""
        rows, nodes = self.top[self.ends], self.ends
        walks = nodes[:, None]
        for level in reversed(self.levels[1:]):
            rows, nodes, origin = level.extend(rows, nodes)
            walks = torch.cat([nodes[:, None], walks[origin]], 1)
        relevance, nodes, origin = self.levels[0].close(rows, nodes, self.inputs)
        return Found(torch.cat([nodes[:, None], walks[origin]], 1), relevance, int(sum(self.prefixes()[:-1])))

    def of(self, walks: Tensor) -> Tensor:
        """Compute the relevance (W,) of walks (W, L + 1); 0 where there is no such walk."""
        rows = self.top[walks[:, -1]]
        for step, level in enumerate(reversed(self.levels), 2):
            k, j = walks[:, 1 - step], walks[:, -step]
            weights = torch.zeros(len(level.maps), len(self.top), len(self.top), dtype=rows.dtype, device=rows.device)
            weights[:, level.k, level.j] = level.weights
            parts = zip(level.maps, weights[:, k, j], strict=True)
            rows = torch.stack([weight[:, None] * _by_node(rows, k, maps) for maps, weight in parts]).sum(0)
        return (rows * self.inputs[walks[:, 0]]).sum(1)

    def strongest(self, k: int) -> Found:
        """Find the k walks of largest magnitude.

        Prefixes are extended from the readout back. What a prefix with the coefficients c can become is <c, b> with b
        of one of the beginnings at its node; componentwise bounds of b over all beginnings bound that from both sides.
        """
        bounds = [(self.inputs, self.inputs)]
        for level in self.levels[:-1]:
            bounds.append(level.bounds(*bounds[-1]))
        bounds.append(self.levels[-1].bounds(*bounds[-1]))
        best = Found(self.ends.new_empty(0, len(self.levels) + 1), self.top.new_empty(0), 0)
        rows, nodes = self.top[self.ends], self.ends
        stack = [(len(self.levels), _reach(rows, nodes, bounds[-1]), rows, nodes, nodes[:, None])]
        while stack:
            at, reach, rows, nodes, walks = stack.pop()
            threshold = float(best.relevance.abs().min()) if len(best.relevance) == k else 0.0
            order = reach.argsort(descending=True)
            order = order[: int((reach >= threshold).sum())]  # as strong ones too: of these the first nodes decide
            if len(order) > _BLOCK:
                rest = order[_BLOCK:]
                stack.append((at, reach[rest], rows[rest], nodes[rest], walks[rest]))
                order = order[:_BLOCK]
            if not len(order):
                continue
            rows, nodes, walks = rows[order], nodes[order], walks[order]
            expanded = best.expanded + len(order)
            if at > 1:
                rows, nodes, origin = self.levels[at - 1].extend(rows, nodes)
                walks = torch.cat([nodes[:, None], walks[origin]], 1)
                stack.append((at - 1, _reach(rows, nodes, bounds[at - 1]), rows, nodes, walks))
                best = best._replace(expanded=expanded)
                continue
            relevance, nodes, origin = self.levels[0].close(rows, nodes, self.inputs)
            walks = torch.cat([best.walks, torch.cat([nodes[:, None], walks[origin]], 1)])
            best = _first(Found(walks, torch.cat([best.relevance, relevance]), expanded), k)
        return best


def _reach(rows: Tensor, nodes: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Bound the magnitude of what prefixes (P, D) can become, a little too high for rounding."""
    low, high = (end[nodes] for end in bounds)
    middle, spread = (rows * (high + low)).sum(1) / 2, (rows.abs() * (high - low)).sum(1) / 2
    size = (rows.abs() * torch.maximum(low.abs(), high.abs())).sum(1)
    return middle.abs() + spread + 1e-12 * size


def _by_node(rows: Tensor, nodes: Tensor, maps: Tensor) -> Tensor:
    """Multiply rows (P, D) by the maps (n, D, E) of their nodes."""
    found = rows.new_empty(len(rows), maps.shape[2])
    for node in nodes.unique().tolist():
        at = (nodes == node).nonzero()[:, 0]
        found[at] = rows[at] @ maps[node]
    return found


def _first(found: Found, k: int) -> Found:
    """Keep the k strongest walks; of equals those with the first nodes."""
    order = torch.arange(len(found.relevance), device=found.relevance.device)
    for column in reversed(range(found.walks.shape[1])):
        order = order[found.walks[order, column].argsort(stable=True)]
    order = order[(-found.relevance.abs())[order].argsort(stable=True)][:k]
    return Found(found.walks[order], found.relevance[order], found.expanded)
