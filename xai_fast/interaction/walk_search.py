"""Walks in one graph: all of them, those that are asked for, and the strongest ones by branch and bound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xai_fast.interaction.message_passing import Term

__all__ = ["WalkGraph"]

_FEW = 1 << 18  # numbers of maps that are copied for each row rather than sort the rows
_BLOCK = 64  # prefixes that are extended at once in a search

_Walks = tuple[Tensor, Tensor, Tensor]  # rows (P, D), the nodes at which they are, and the nodes of the walks


class _Level:
    """The transitions of a level: pairs (k, j) of nodes, sorted by k, where node k takes something of node j."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = terms
        adjacencies = torch.stack([term.adjacency for term in terms])
        self.k, self.j = adjacencies.ne(0).any(0).nonzero(as_tuple=True)
        self.degrees = torch.bincount(self.k, minlength=adjacencies.shape[1])

    def extend(self, rows: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Extend ends of walks, (P, D_m) and where they begin: the same of the longer ones, and what they extend."""
        origin, pair = _ranges(self.degrees, nodes)
        found = rows.new_zeros(len(pair), self.terms[0].maps.shape[2])
        for term in self.terms:
            weights = term.adjacency[self.k, self.j][pair, None]
            found += _by_node(rows, nodes, term.maps)[origin].mul_(weights)
        return found, self.j[pair], origin

    def precede(self, rows: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Extend beginnings of walks, (P, D_(m-1)), sorted by where they end, likewise; they stay sorted."""
        pair, origin = _ranges(torch.bincount(nodes, minlength=len(self.degrees)), self.j)
        k, weights = self.k[pair], torch.stack([term.adjacency[self.k, self.j] for term in self.terms])
        parts = [_by_node(w[pair, None] * rows[origin], k, t.maps.mT) for w, t in zip(weights, self.terms, strict=True)]
        return torch.stack(parts).sum(0), k, origin

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
    """The transitions of one graph.

    Args:
        top: (n, D_L).
        terms: of all levels, each with (n, n) adjacency and (n, D_m, D_(m-1)) maps.
        inputs: (n, D_0).
    """

    def __init__(self, top: Tensor, terms: Sequence[Term], inputs: Tensor) -> None:
        self.top, self.inputs = top, inputs
        steps = range(1, 1 + max(term.level for term in terms))
        self.levels = [_Level([t for t in terms if t.level == level]) for level in steps]
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
        """Compute all walks (W, L + 1) and their relevance (W,): beginnings times ends, a product per node."""
        rows, nodes, walks = self.top[self.ends], self.ends, self.ends[:, None]
        middle = (len(self.levels) + 1) // 2
        for level in reversed(self.levels[middle:]):
            rows, nodes, origin = level.extend(rows, nodes)
            walks = torch.cat([nodes[:, None], walks[origin]], 1)
        return self._whole(self._beginnings(middle), rows, nodes, walks)

    def _beginnings(self, steps: int) -> _Walks:
        """Compute all walks of so many steps from the input, sorted by where they end."""
        rows, nodes = self.inputs, torch.arange(len(self.inputs), device=self.inputs.device)
        walks = nodes[:, None]
        for level in self.levels[:steps]:
            rows, nodes, origin = level.precede(rows, nodes)
            walks = torch.cat([walks[origin], nodes[:, None]], 1)
        return rows, nodes, walks

    def _whole(self, beginnings: _Walks, rows: Tensor, nodes: Tensor, walks: Tensor) -> tuple[Tensor, Tensor]:
        """Join beginnings, and ends of walks that begin where these end: walks and their relevance."""
        values, meet, begun = beginnings
        counts, own = (torch.bincount(at, minlength=len(self.top)) for at in (meet, nodes))
        order = nodes.argsort(stable=True)
        pairs = zip(torch.split(rows[order], own.tolist()), torch.split(values, counts.tolist()), strict=True)
        relevance = torch.cat([(end @ beginning.mT).flatten() for end, beginning in pairs])
        end, begin = _ranges(counts, nodes[order])
        return torch.cat([begun[begin, :-1], walks[order[end]]], 1), relevance

    def of(self, walks: Tensor) -> Tensor:
        """Compute the relevance (W,) of walks (W, L + 1); 0 where there is no such walk."""
        rows = self.top[walks[:, -1]]
        for at, level in reversed(list(enumerate(self.levels))):
            j, k = walks[:, at], walks[:, at + 1]
            rows = torch.stack([t.adjacency[k, j, None] * _by_node(rows, k, t.maps) for t in level.terms]).sum(0)
        return (rows * self.inputs[walks[:, 0]]).sum(1)

    def strongest(self, k: int) -> tuple[Tensor, Tensor, int]:
        """Return the k walks (k, L + 1) of largest magnitude, their relevance (k,), and how many ends were extended.

        Ends are extended from the readout back. What an end with the coefficients c can become is <c, b> with b of one
        of the beginnings at its node; componentwise bounds of b over all beginnings bound that from both sides.
        """
        first = self._beginnings(1)
        bounds = [(self.inputs, self.inputs)]
        for level in self.levels:
            bounds.append(level.bounds(*bounds[-1]))
        best, relevance, expanded = self.ends.new_empty(0, len(self.levels) + 1), self.top.new_empty(0), 0
        stack = [(len(self.levels), self.top[self.ends], self.ends, self.ends[:, None])]
        while stack:
            at, rows, nodes, walks = stack.pop()
            reach = _reach(rows, nodes, bounds[at])
            order = reach.argsort(descending=True)
            if len(relevance) == k:
                order = order[: int((reach >= relevance.abs().min()).sum())]
            if len(order) > _BLOCK:
                rest = order[_BLOCK:]
                stack.append((at, rows[rest], nodes[rest], walks[rest]))
            rows, nodes, walks = (part[order[:_BLOCK]] for part in (rows, nodes, walks))
            expanded += len(rows)
            if at > 1:
                rows, nodes, origin = self.levels[at - 1].extend(rows, nodes)
                stack += [(at - 1, rows, nodes, torch.cat([nodes[:, None], walks[origin]], 1))] * bool(len(rows))
            else:
                walks, found = self._whole(first, rows, nodes, walks)
                best, relevance = torch.cat([best, walks]), torch.cat([relevance, found])
                order = _order(best, relevance)[:k]
                best, relevance = best[order], relevance[order]
        return best, relevance, expanded


def _reach(rows: Tensor, nodes: Tensor, bounds: tuple[Tensor, Tensor]) -> Tensor:
    """Bound the magnitude of what prefixes (P, D) can become, a little too high for rounding."""
    low, high = (end[nodes] for end in bounds)
    middle, spread = (rows * (high + low)).sum(1) / 2, (rows.abs() * (high - low)).sum(1) / 2
    size = (rows.abs() * torch.maximum(low.abs(), high.abs())).sum(1)
    return middle.abs() + spread + 64 * torch.finfo(rows.dtype).eps * size


def _ranges(counts: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """List the members of groups (P,), of which group g has counts[g]: which of the P, and the number of the member."""
    sizes, first = counts[at], counts.cumsum(0) - counts
    which = torch.arange(len(at), device=at.device).repeat_interleave(sizes)
    return which, (first[at] - (sizes.cumsum(0) - sizes))[which] + torch.arange(len(which), device=at.device)


def _by_node(rows: Tensor, nodes: Tensor, maps: Tensor) -> Tensor:
    """Multiply rows (P, D) by the maps (n, D, E) of their nodes."""
    if rows.numel() * maps.shape[2] <= _FEW:
        return torch.bmm(rows[:, None], maps[nodes])[:, 0]
    order = nodes.argsort()
    parts = torch.split(rows[order], torch.bincount(nodes, minlength=len(maps)).tolist())
    found = torch.cat([part @ own for part, own in zip(parts, maps, strict=True)])
    return torch.empty_like(found).index_copy_(0, order, found)


def _order(walks: Tensor, relevance: Tensor) -> Tensor:
    """Sort by magnitude, and equals by their nodes."""
    keys = [*walks.mT.flip(0).cpu().numpy(), -relevance.abs().cpu().numpy()]
    return torch.from_numpy(np.lexsort(keys)).to(walks.device)
