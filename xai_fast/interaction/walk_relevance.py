"""What GNN-LRP returns: the relevance of walks, as a product of transition maps from which any walk is computed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.explanation import Explanation
from xai_fast.interaction.message_passing import Term
from xai_fast.interaction.walk_search import WalkGraph

__all__ = ["RelevantWalk", "Subgraph", "WalkRelevance", "joined"]

_MASKS = 1024  # that go through the graph at once
_MOST_SETS = 1 << 14
_MOST_WALKS = 10_000_000


class RelevantWalk(NamedTuple):
    """A walk.

    Attributes:
        nodes: L + 1 nodes, from the input to the readout.
        relevance: its relevance, with its sign.
    """

    nodes: tuple[int, ...]
    relevance: float


class Subgraph(NamedTuple):
    """Some nodes of a graph.

    Attributes:
        nodes: in ascending order.
        relevance: the sum over all walks within them.
        exact: whether all sets of nodes of this size were compared.
    """

    nodes: tuple[int, ...]
    relevance: float
    exact: bool


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class WalkRelevance(Explanation):
    """The relevance of the walks of L steps in B graphs of up to n nodes.

    The relevance of a walk (J_0, ..., J_L) is ``top[J_L]`` times the transition from J_L to J_(L-1) and so on down to
    J_0, times ``inputs[J_0]``; a transition from k to j is the sum over the terms of its level of
    ``adjacency[k, j] * maps[k]``. The sum over all walks is the score, but for what biases and stabilisers took.
    ``attributions`` (B, n) are the relevance of the nodes where walks begin, those of plain LRP.

    Attributes:
        nodes_per_graph: (B,) int64; further nodes are padding.
        top: (B, n, D_L).
        adjacencies: (B, n, n) per term; entry (k, j) is what node k takes of node j.
        maps: (B, n, D_m, D_(m-1)) per term.
        inputs: (B, n, D_0).
        levels: m of each term, from L to 1.
    """

    attributions: Tensor
    nodes_per_graph: Tensor
    top: Tensor
    adjacencies: tuple[Tensor, ...]
    maps: tuple[Tensor, ...]
    inputs: Tensor
    levels: tuple[int, ...]

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "levels": tuple(map(int, values["levels"]))}

    @property
    def steps(self) -> int:
        """L."""
        return max(self.levels)

    def _terms(self, level: int) -> list[Term]:
        parts = zip(self.levels, self.adjacencies, self.maps, strict=True)
        return [Term(*part) for part in parts if part[0] == level]

    def graph(self, item: int = 0) -> WalkGraph:
        """Give the walks of one graph, for searches."""
        n = int(self.nodes_per_graph[item])
        terms = [
            Term(level, adjacency[item, :n, :n], maps[item, :n])
            for level, adjacency, maps in zip(self.levels, self.adjacencies, self.maps, strict=True)
        ]
        return WalkGraph(self.top[item, :n], terms, self.inputs[item, :n])

    def walks(self, k: int) -> list[list[RelevantWalk]]:
        """Find per graph at most k walks of largest magnitude, exactly, by branch and bound; none without relevance."""
        check_integer("k", k, 1)
        found = []
        for item in range(len(self)):
            walks, relevance, _ = self.graph(item).strongest(k)
            pairs = zip(walks.tolist(), relevance.tolist(), strict=True)
            found.append([RelevantWalk(tuple(walk), value) for walk, value in pairs if value])
        return found

    def all_walks(self, item: int = 0) -> tuple[Tensor, Tensor]:
        """Compute all walks (W, L + 1) of a graph and their relevance (W,); over ten million are an `InputError`."""
        graph = self.graph(item)
        count = graph.prefixes()[-1]
        if count > _MOST_WALKS:
            raise InputError(
                f"all_walks: expected at most {_MOST_WALKS} walks, got {count:.3g}; walks(k) finds the strongest"
            )
        return graph.all()

    def of(self, walks: Tensor | Sequence[Sequence[int]], item: int = 0) -> Tensor:
        """Compute the relevance (W,) of walks (W, L + 1) of a graph, from input to readout; 0 where one is none."""
        index = torch.as_tensor(walks, device=self.top.device)
        n = int(self.nodes_per_graph[item])
        if index.ndim != 2 or index.shape[1] != self.steps + 1 or not bool(((index >= 0) & (index < n)).all()):
            raise bad_argument("walks", f"(W, {self.steps + 1}) nodes from 0 to {n - 1}", str(tuple(index.shape)))
        return self.graph(item).of(index)

    def nodes(self, step: int = 0) -> Tensor:
        """Sum over walks that are at a node after ``step`` steps, 0 where they begin to L where they end: (B, n)."""
        check_integer("step", step, 0, self.steps)
        return (self._from_top(step) * self._from_inputs(step)).sum(2)

    def edges(self, step: int | None = None) -> Tensor:
        """Sum over walks that take an edge at a step, 1 to L, or any: (B, n, n), (k, j) what k takes from j."""
        if step is None:
            return torch.stack([self.edges(level) for level in range(1, self.steps + 1)]).sum(0)
        check_integer("step", step, 1, self.steps)
        rows, below = self._from_top(step)[:, :, None], self._from_inputs(step - 1)
        return torch.stack([t.adjacency * ((rows @ t.maps)[:, :, 0] @ below.mT) for t in self._terms(step)]).sum(0)

    def subgraph(self, nodes: Sequence[int] | Tensor) -> Tensor:
        """Sum the relevance of walks within some nodes of each graph, (B,), by the nodes."""
        mask = torch.zeros(self.top.shape[1], dtype=torch.bool, device=self.top.device)
        mask[torch.as_tensor(nodes, dtype=torch.int64, device=mask.device)] = True
        return self.subgraphs(mask[None])[:, 0]

    def subgraphs(self, masks: Tensor) -> Tensor:
        """Sum over walks within S sets of nodes, (B, S), by masks (S, n) or (B, S, n) that are 1 for nodes of a set."""
        masks = torch.as_tensor(masks).to(self.top)
        batch, n = self.top.shape[:2]
        if masks.ndim not in (2, 3) or masks.shape[-1] != n or (masks.ndim == 3 and len(masks) != batch):
            raise bad_argument("masks", f"(S, {n}) or ({batch}, S, {n})", str(tuple(masks.shape)))
        found = []
        for part in torch.split(masks.expand(batch, -1, n).mT[..., None], _MASKS, 2):
            rows = self.top[:, :, None] * part
            for level in range(self.steps, 0, -1):
                rows = _back(rows, self._terms(level)) * part
            found.append(torch.einsum("bnsd,bnd->bs", rows, self.inputs))
        return torch.cat(found, 1)

    def best_subgraph(self, size: int) -> list[Subgraph]:
        """Return per graph the ``size`` nodes whose subgraph has the most relevance.

        All sets are compared where there are at most 16,384; else nodes are added one by one, each time the best one,
        and exchanged as long as that helps.
        """
        return [self._best(item, size) for item in range(len(self))]

    def _best(self, item: int, size: int) -> Subgraph:
        one, count, n = self[item], int(self.nodes_per_graph[item]), self.top.shape[1]
        check_integer("size", size, 1, count)

        def best(sets: Sequence[Sequence[int]]) -> tuple[float, list[int]]:
            places = torch.tensor(sets, device=self.top.device)
            masks = torch.zeros(len(sets), n, dtype=torch.bool, device=self.top.device).scatter(1, places, True)
            sums = one.subgraphs(masks)[0]
            return float(sums.max()), sorted(sets[int(sums.argmax())])

        if math.comb(count, size) <= _MOST_SETS:
            value, nodes = best(list(itertools.combinations(range(count), size)))
            return Subgraph(tuple(nodes), value, True)
        value, nodes = -math.inf, []
        while len(nodes) < size:
            value, nodes = best([[*nodes, i] for i in range(count) if i not in nodes])
        while True:
            others = [i for i in range(count) if i not in nodes]
            found, changed = best([[*nodes[:at], i, *nodes[at + 1 :]] for at in range(size) for i in others])
            if found <= value:
                return Subgraph(tuple(nodes), value, False)
            value, nodes = found, changed

    def _from_top(self, level: int) -> Tensor:
        """Sum the coefficients of all walks from the readout back to a level, (B, n, D)."""
        rows = self.top[:, :, None]
        for above in range(self.steps, level, -1):
            rows = _back(rows, self._terms(above))
        return rows[:, :, 0]

    def _from_inputs(self, level: int) -> Tensor:
        """Sum over all walks from the input to a level, (B, n, D)."""
        rows = self.inputs
        for at in range(1, level + 1):
            parts = [torch.einsum("bnde,bne->bnd", t.maps, t.adjacency @ rows) for t in self._terms(at)]
            rows = torch.stack(parts).sum(0)
        return rows


def joined(parts: Sequence[WalkRelevance]) -> WalkRelevance:
    """Put graphs of any sizes one after the other; the smaller ones are padded."""
    if len(parts) == 1:
        return parts[0]
    n = max(part.top.shape[1] for part in parts)
    heads = {level: max(part.levels.count(level) for part in parts) for level in sorted(parts[0].levels, reverse=True)}

    def padded(part: WalkRelevance) -> WalkRelevance:
        more = n - part.top.shape[1]
        terms: list[Term] = []
        for level, count in heads.items():
            own = part._terms(level)  # heads of attention that are alike in a small graph are one term
            terms += [*own, *[Term(level, *map(torch.zeros_like, own[0][1:]))] * (count - len(own))]
        return replace(
            part,
            attributions=_pad(part.attributions, 0, more),
            top=_pad(part.top, 0, 0, 0, more),
            inputs=_pad(part.inputs, 0, 0, 0, more),
            adjacencies=tuple(_pad(term.adjacency, 0, more, 0, more) for term in terms),
            maps=tuple(_pad(term.maps, 0, 0, 0, 0, 0, more) for term in terms),
            levels=tuple(term.level for term in terms),
        )

    return WalkRelevance.cat([padded(part) for part in parts])


def _pad(values: Tensor, *sizes: int) -> Tensor:
    return torch.nn.functional.pad(values, sizes)


def _back(rows: Tensor, terms: Sequence[Term]) -> Tensor:
    """Take coefficients (B, n, S, D_m) to the level below, (B, n, S, D_(m-1))."""
    parts = []
    for term in terms:
        mapped = rows @ term.maps
        parts.append((term.adjacency.mT @ mapped.flatten(2)).reshape(mapped.shape))
    return torch.stack(parts).sum(0)
