"""Walks in one graph: all of them, those that are asked for, and the strongest ones by branch and bound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xai_fast.interaction.message_passing import Term

__all__ = ["WalkGraph"]

_BLOCK = 64  # prefixes that are extended at once in a search
_PREFIXES = 1 << 16  # that become whole walks at once


class _Level:
    """The transitions of a level: pairs (k, j) of nodes, sorted by k, where node k takes something of node j."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = terms
        matrices = torch.stack([term.adjacency for term in terms])
        self.k, self.j = matrices.ne(0).any(0).nonzero(as_tuple=True)
        self.degrees = torch.bincount(self.k, minlength=matrices.shape[1])
        self.first = self.degrees.cumsum(0) - self.degrees

    def extend(self, rows: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Extend prefixes (P, D_m) that are at ``nodes``: rows (Q, D_(m-1)), their nodes, and what they extend."""
        counts = self.degrees[nodes]
        origin = torch.arange(len(nodes), device=nodes.device).repeat_interleave(counts)
        place = torch.arange(len(origin), device=nodes.device) - (counts.cumsum(0) - counts)[origin]
        k, j = nodes[origin], self.j[self.first[nodes][origin] + place]
        parts = [t.adjacency[k, j, None] * _by_node(rows, nodes, t.maps)[origin] for t in self.terms]
        return torch.stack(parts).sum(0), j, origin

    def bounds(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Bound what comes of all beginnings at each node, (n, D_m), by the bounds (n, D_(m-1)) a level below."""
        middle, radius = ((high + low) / 2)[self.j], ((high - low) / 2)[self.j]
        center, spread = torch.zeros(2, len(self.k), self.terms[0].maps.shape[1]).to(middle)
        for term in self.terms:
            weight, maps = term.adjacency[self.k, self.j, None], term.maps.mT
            center += weight * _by_node(middle, self.k, maps)
            spread += weight.abs() * _by_node(radius, self.k, maps.abs())
        ends, index = center.new_zeros(len(low), center.shape[1]), self.k[:, None].expand_as(center)
        lows = ends.scatter_reduce(0, index, center - spread, "amin", include_self=False)
        return lows, ends.scatter_reduce(0, index, center + spread, "amax", include_self=False)


class WalkGraph:
    """The transitions of one graph, in float64.

    Args:
        top: (n, D_L).
        terms: of all levels, each with (n, n) adjacency and (n, D_m, D_(m-1)) maps.
        inputs: (n, D_0).
    """

    def __init__(self, top: Tensor, terms: Sequence[Term], inputs: Tensor) -> None:
        self.top, self.inputs = top.double(), inputs.double()
        double = [Term(t.level, t.adjacency.double(), t.maps.double()) for t in terms]
        steps = range(1, 1 + max(term.level for term in terms))
        self.levels = [_Level([t for t in double if t.level == level]) for level in steps]
        # Where the score does not read a node, no walk ends.
        self.ends = self.top.ne(0).any(1).nonzero()[:, 0]

    def prefixes(self) -> list[float]:
        """Count the ends of walks of 0 to L steps; the last number is that of all walks."""
        counts = torch.zeros_like(self.top[:, 0]).index_fill(0, self.ends, 1)
        found = [float(counts.sum())]
        for level in reversed(self.levels):
            counts = torch.zeros_like(counts).index_add(0, level.j, counts[level.k])
            found.append(float(counts.sum()))
        return found

    def all(self) -> tuple[Tensor, Tensor]:
        """Compute all walks (W, L + 1) and their relevance (W,)."""
        rows, nodes, walks = self.top[self.ends], self.ends, self.ends[:, None]
        for level in reversed(self.levels[1:]):
            rows, nodes, origin = level.extend(rows, nodes)
            walks = torch.cat([nodes[:, None], walks[origin]], 1)
        found = [self._closed(*parts) for parts in zip(*(t.split(_PREFIXES) for t in (rows, nodes, walks)), strict=True)]
        return torch.cat([part for part, _ in found]), torch.cat([part for _, part in found])

    def _closed(self, rows: Tensor, nodes: Tensor, walks: Tensor) -> tuple[Tensor, Tensor]:
        """Extend prefixes to whole walks."""
        rows, nodes, origin = self.levels[0].extend(rows, nodes)
        return torch.cat([nodes[:, None], walks[origin]], 1), (rows * self.inputs[nodes]).sum(1)

    def of(self, walks: Tensor) -> Tensor:
        """Compute the relevance (W,) of walks (W, L + 1); 0 where there is no such walk."""
        rows = self.top[walks[:, -1]]
        for at, level in reversed(list(enumerate(self.levels))):
            j, k = walks[:, at], walks[:, at + 1]
            rows = torch.stack([t.adjacency[k, j, None] * _by_node(rows, k, t.maps) for t in level.terms]).sum(0)
        return (rows * self.inputs[walks[:, 0]]).sum(1)

    def strongest(self, k: int) -> tuple[Tensor, Tensor, int]:
        """Find the k walks of largest magnitude: (k, L + 1), their relevance (k,), and how many prefixes it took.

        Prefixes are extended from the readout back. What a prefix with the coefficients c can become is <c, b> with b
        of one of the beginnings at its node; componentwise bounds of b over all beginnings bound that from both sides.
        """
        bounds = [(self.inputs, self.inputs)]
        for level in self.levels:
            bounds.append(level.bounds(*bounds[-1]))
        best, relevance, expanded = self.ends.new_empty(0, len(self.levels) + 1), self.top.new_empty(0), 0
        stack = [(len(self.levels), self.top[self.ends], self.ends, self.ends[:, None])]
        while stack:
            at, *prefixes = stack.pop()
            reach = _reach(prefixes[0], prefixes[1], bounds[at])
            order = reach.argsort(descending=True)
            if len(relevance) == k:
                order = order[: int((reach >= relevance.abs().min()).sum())]
            if len(order) > _BLOCK:
                stack.append((at, *(part[order[_BLOCK:]] for part in prefixes)))
            rows, nodes, walks = (part[order[:_BLOCK]] for part in prefixes)
            expanded += len(rows)
            if at > 1:
                rows, nodes, origin = self.levels[at - 1].extend(rows, nodes)
                stack += [(at - 1, rows, nodes, torch.cat([nodes[:, None], walks[origin]], 1))] * bool(len(rows))
            else:
                walks, found = self._closed(rows, nodes, walks)
                best, relevance = torch.cat([best, walks]), torch.cat([relevance, found])
                order = _order(best, relevance)[:k]
                best, relevance = best[order], relevance[order]
        return best, relevance, expanded


def _reach(rows: Tensor, nodes: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Bound the magnitude of what prefixes (P, D) can become, a little too high for rounding."""
    low, high = (end[nodes] for end in bounds)
    middle, spread = (rows * (high + low)).sum(1) / 2, (rows.abs() * (high - low)).sum(1) / 2
    size = (rows.abs() * torch.maximum(low.abs(), high.abs())).sum(1)
    return middle.abs() + spread + 1e-12 * size


def _by_node(rows: Tensor, nodes: Tensor, maps: Tensor) -> Tensor:
    """Multiply rows (P, D) by the maps (n, D, E) of their nodes."""
    order = nodes.argsort()
    parts = rows[order].split(torch.bincount(nodes, minlength=len(maps)).tolist())
    found = torch.cat([part @ own for part, own in zip(parts, maps, strict=True)])
    return torch.empty_like(found).index_copy_(0, order, found)


def _order(walks: Tensor, relevance: Tensor) -> Tensor:
    """Sort by magnitude, and equals by their nodes."""
    keys = [*walks.mT.flip(0).cpu().numpy(), -relevance.abs().cpu().numpy()]
    return torch.from_numpy(np.lexsort(keys)).to(walks.device)
