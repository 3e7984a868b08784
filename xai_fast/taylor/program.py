"""The interpreter: values, tangents and adjoints of a traced graph, for many items and directions at once."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from xai_fast.taylor.graph import Graph
from xai_fast.taylor.lattice import Lattice
from xai_fast.taylor.lift import lifted
from xai_fast.taylor.rules import Rule, State, rule_of

__all__ = ["Program"]


class Program:
    """A graph with its rules.

    Args:
        graph: what `xai_fast.taylor.graph.trace` gave.

    Attributes:
        rules: of the active nodes, by node.
        curved: the nodes that have a second derivative and reach the score, in order.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rules: dict[int, Rule] = {}
        for node in graph.nodes:
            rule = rule_of(graph, node)
            if rule is not None:
                self.rules[node.index] = rule
        self.curved = tuple(index for index, rule in self.rules.items() if rule.curved)
        self._readers: dict[int, list[int]] = {}
        for index, rule in self.rules.items():
            for source in rule.inputs:
                self._readers.setdefault(source, []).append(index)

    def run(self, x: Tensor, extras: Sequence[Tensor] = ()) -> State:
        """Compute all values.

        Args:
            x: (B, *shape), shape without the batch dimension of the graph's input.
            extras: (B, ...) each.

        Returns:
            The values.
        """
        values: dict[int, object] = dict(self.graph.constants)
        for index, given in enumerate((x, *extras)):
            values[index] = given.unsqueeze(1)
        nodes = self.graph.nodes
        for node in nodes[1 + len(extras) :]:
            if not node.per_item:
                continue
            if node.target is operator.getitem:
                values[node.index] = values[node.args[0].index][node.args[1]]  # type: ignore[attr-defined, index]
                continue
            values[node.index] = lifted(
                node, [values[i] for i in node.inputs], [nodes[i].per_item for i in node.inputs]
            )
        return State(values, x.shape[0])

    def scores(self, state: State) -> Tensor:
        """Return the scores, (B,)."""
        return state.tensor(self.graph.output)[:, 0]

    def tangents(
        self,
        state: State,
        rows: Mapping[int, Tensor],
        wanted: Iterable[int],
        lattice: Lattice | None = None,
    ) -> dict[int, Tensor]:
        """Carry derivatives forward.

        Args:
            state: the values.
            rows: (R, B, *shape) at some nodes, usually at the input 0; these are taken as they are.
            wanted: nodes whose rows to return.
            lattice: what the rows are; None for first derivatives along R directions.

        Returns:
            The rows of the wanted nodes that the given ones reach.
        """
        keep = set(wanted)
        needed = self.ancestors(keep)
        remaining = {i: sum(reader in needed for reader in self._readers.get(i, ())) for i in needed}
        alive: dict[int, Tensor] = {i: row for i, row in rows.items() if i in needed}
        result = {i: row for i, row in alive.items() if i in keep}
        for index, rule in self.rules.items():
            if index not in needed:
                continue
            sources = {i: alive[i] for i in rule.inputs if i in alive}
            if sources and index not in rows:
                if lattice is None:
                    alive[index] = rule.tangent(state, sources)
                else:
                    alive[index] = rule.lattice_tangent(state, sources, lattice)
                if index in keep:
                    result[index] = alive[index]
            for i in rule.inputs:
                remaining[i] -= 1
                if remaining[i] == 0:
                    alive.pop(i, None)
        return result

    def adjoints(
        self,
        state: State,
        wanted: Iterable[int],
        seeds: Mapping[int, Tensor] | None = None,
        lattice: Lattice | None = None,
        rows: Mapping[int, Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """Carry adjoints backward.

        Args:
            state: the values.
            wanted: nodes whose adjoints to return.
            seeds: (R, B, *shape) where to start; by default the score, with a row of ones, and zeros for the other
                adjoint sets of a lattice.
            lattice: what the adjoint rows are; None for first derivatives.
            rows: the lattice's rows at the inputs of the curved nodes.

        Returns:
            (R, B, *shape) adjoints of the wanted nodes that have any.
        """
        keep = set(wanted)
        if seeds is None:
            score = state.tensor(self.graph.output)
            seed = score.new_zeros(1 if lattice is None else len(lattice.adjoint_sets), *score.shape)
            seed[0] = 1
            seeds = {self.graph.output: seed}
        below = self.descendants(keep)
        alive: dict[int, Tensor] = dict(seeds)
        result: dict[int, Tensor] = {}
        for index in range(len(self.graph.nodes) - 1, -1, -1):
            row = alive.pop(index, None)
            if row is None:
                continue
            if index in keep:
                result[index] = row
            rule = self.rules.get(index)
            if rule is None or not any(i in below for i in rule.inputs):
                continue
            if lattice is None or rows is None:
                pulled = rule.pull(state, row)
            else:
                pulled = rule.lattice_pull(state, row, {i: rows[i] for i in rule.inputs if i in rows}, lattice)
            for source, part in pulled.items():
                if source in below:
                    alive[source] = alive[source] + part if source in alive else part
        return result

    def curved_inputs(self) -> set[int]:
        """Return the nodes that the curved ones read."""
        return {i for index in self.curved for i in self.rules[index].inputs}

    def ancestors(self, wanted: Iterable[int]) -> set[int]:
        """Return these active nodes and all that they depend on."""
        found = set(wanted)
        for index in sorted(self.rules, reverse=True):
            if index in found:
                found.update(self.rules[index].inputs)
        return found

    def descendants(self, sources: Iterable[int]) -> set[int]:
        """Return these active nodes and all that depend on them."""
        found = set(sources)
        for index, rule in self.rules.items():
            if any(i in found for i in rule.inputs):
                found.add(index)
        return found
