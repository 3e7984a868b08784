"""A traced graph with rules: tangents carried forward and adjoints backward, for many items and directions at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_fast.graph import Graph, State, run
from xai_fast.graph.lift import lifted
from xai_fast.taylor.lattice import Lattice
from xai_fast.taylor.rules import Rule, rule_of, with_softmax
from xai_fast.taylor.touched import Touched, touched_places

__all__ = ["Adjoints", "Program"]


@dataclass(frozen=True)
class _Schedule:
    """The nodes to compute for some wanted ones, each with the nodes that nothing reads after it."""

    wanted: frozenset[int]
    needed: frozenset[int]
    steps: tuple[tuple[int, tuple[int, ...]], ...]


class Adjoints(dict[int, Tensor]):
    """Rows (R, B, *shape) by node: what comes to a node from several is added up."""

    def __init__(self, rows: Mapping[int, Tensor]) -> None:
        super().__init__(rows)
        self._sums: set[int] = set()

    def add(self, source: int, part: Tensor) -> None:
        """Add what comes to a node."""
        self[source] = self[source] + part if source in self else part

    def add_view(self, rule: Rule, rows: Tensor, value: object) -> bool:
        """Add what comes from a view to its source, in place, and as its value lies; tell whether it is such a view."""
        if rule.node.target not in _VIEWS or not isinstance(value, Tensor):
            return False
        (source,) = rule.inputs
        if rows.requires_grad or (source in self and self[source].requires_grad):  # autograd is to transpose it
            return False
        if source not in self._sums:  # else there is a tensor of our own
            like = value.expand(len(rows), *value.shape)
            self[source] = self[source].clone() if source in self else torch.zeros_like(like)
            self._sums.add(source)
        for total, part in zip(self[source], rows, strict=True):
            view: Any = lifted(rule.node, [total], [True])
            view.add_(part)
        return True


_VIEWS = (torch.ops.aten.select.int, torch.ops.aten.slice.Tensor)


class Program:
    """A graph with its rules.

    Args:
        graph: what `xai_fast.graph.nodes.trace` gave.
        most_orders: the highest derivatives that are asked for; with 2, a softmax is one node.

    Attributes:
        rules: of the active nodes, by node.
        curved_inputs: the nodes that these read.
        costs: what `xai_fast.taylor.cost` counted, by the node where rows start.
        curved: the nodes that have a second derivative and reach the score, in order.
    """

    def __init__(self, graph: Graph, most_orders: int | None = None) -> None:
        self.graph = graph
        rules = {node.index: rule for node in graph.nodes if (rule := rule_of(graph, node)) is not None}
        self.rules: dict[int, Rule] = with_softmax(graph, rules) if most_orders == 2 else rules
        self.curved = tuple(index for index, rule in self.rules.items() if rule.curved)
        self.curved_inputs = frozenset(i for index in self.curved for i in self.rules[index].inputs)
        self.costs: dict[int, Any] = {}
        self._schedules: dict[frozenset[int], _Schedule] = {}

    def run(self, x: Tensor, extras: Sequence[Tensor] = ()) -> State:
        """Compute all values, see `xai_fast.graph.run`."""
        return run(self.graph, x, extras)

    def scores(self, state: State) -> Tensor:
        """Return the scores, (B,)."""
        return state.tensor(self.graph.output)[:, 0]

    def tangents(
        self,
        state: State,
        rows: Mapping[int, Tensor],
        wanted: Iterable[int],
        lattice: Lattice | None = None,
        *,
        few_places: bool = False,
    ) -> dict[int, Tensor]:
        """Return derivatives of wanted nodes, carried forward from ``rows`` (R, B, *shape) at some nodes.

        Rows are usually at the input 0, and are taken as they are: those of a lattice, or first derivatives along R
        directions. With ``few_places`` it is looked whether they touch few places of the input, and only what these
        reach is computed.
        """
        schedule = self._schedule(frozenset(wanted))
        touched = touched_places(rows[0]) if few_places and lattice is None and 0 in rows else None
        alive: dict[int, Tensor | Touched] = {i: row for i, row in rows.items() if i in schedule.needed}
        if touched is not None and 0 in alive:
            alive[0] = Touched.of(rows[0], touched)
        result = {i: rows[i] for i in alive if i in schedule.wanted}
        for index, last in schedule.steps:
            rule = self.rules[index]
            sources = {i: alive[i] for i in rule.inputs if i in alive}
            if sources and index not in rows:
                row = _tangent(rule, state, sources, lattice)
                alive[index] = row
                if index in schedule.wanted:
                    result[index] = row if isinstance(row, Tensor) else row.whole()
            for i in last:
                alive.pop(i, None)
        return result

    def tangent_operations(self, touched: Tensor, wanted: Iterable[int]) -> int:
        """Count the operations per item of `tangents` for rows at the input that touch some places only, (R, P)."""
        alive: dict[int, Touched | None] = {0: Touched.pattern(touched, self.graph.input_shape)}
        total = 0
        for index, _ in self._schedule(frozenset(wanted)).steps:
            rule = self.rules[index]
            sources = {i: alive[i] for i in rule.inputs if i in alive}
            if not sources:
                continue
            few = {i: row for i, row in sources.items() if row is not None}
            result = rule.touched_tangent(None, few) if len(few) == len(sources) else None
            alive[index] = None if result is None or result.is_whole else result
            whole = touched.shape[0] * rule.row_operations
            if result is None:
                total += whole
            else:
                total += whole * len(result.index) // max(1, result.rows * result.places)
        return total

    def adjoints(
        self,
        state: State,
        wanted: Iterable[int],
        seeds: Mapping[int, Tensor] | None = None,
        lattice: Lattice | None = None,
        rows: Mapping[int, Tensor] | None = None,
        pulls: Mapping[int, Callable[[State, Tensor], dict[int, Tensor]]] | None = None,
    ) -> dict[int, Tensor]:
        """Return adjoints (R, B, *shape), carried backward from ``seeds``, of the wanted nodes that have any.

        Seeds are by default the score, with a row of ones, and zeros for the other adjoint sets of a lattice. The
        adjoint rows are those of a lattice, whose rows at the inputs of the curved nodes are given too, or first
        derivatives. ``pulls`` takes the place of `Rule.pull` of some nodes.
        """
        keep = set(wanted)
        if seeds is None:
            score = state.tensor(self.graph.output)
            seed = torch.ones_like(score).unsqueeze(0)
            if lattice is not None:
                seed = torch.cat([seed, seed.new_zeros(len(lattice.adjoint_sets) - 1, *score.shape)])
            seeds = {self.graph.output: seed}
        below = self.descendants(keep)
        alive, result = Adjoints(seeds), dict[int, Tensor]()
        for index in range(len(self.graph.nodes) - 1, -1, -1):
            row = alive.pop(index, None)
            if row is None:
                continue
            if index in keep:
                result[index] = row
            rule = self.rules.get(index)
            if rule is None or not any(i in below for i in rule.inputs):
                continue
            if pulls is not None and index in pulls:
                pulled = pulls[index](state, row)
            elif alive.add_view(rule, row, state.values.get(rule.inputs[0])):
                continue
            elif lattice is None or rows is None:
                pulled = rule.pull(state, row)
            else:
                pulled = rule.lattice_pull(state, row, {i: rows[i] for i in rule.inputs if i in rows}, lattice)
            for source, part in pulled.items():
                if source in below:
                    value = state.values.get(source)
                    if isinstance(value, Tensor):  # the operation may change the dtype, as ``softmax(dtype=)`` does
                        part = part.to(value.dtype)
                    alive.add(source, part)
        return result

    def _schedule(self, wanted: frozenset[int]) -> _Schedule:
        """Find which nodes to compute for the wanted ones, and after which of them each row is last read."""
        found = self._schedules.get(wanted)
        if found is None:
            needed = self.ancestors(wanted)
            order = [index for index in self.rules if index in needed]
            last = {i: index for index in order for i in self.rules[index].inputs}
            frees: dict[int, list[int]] = {}
            for source, index in last.items():
                frees.setdefault(index, []).append(source)
            steps = tuple((index, tuple(frees.get(index, ()))) for index in order)
            found = self._schedules[wanted] = _Schedule(wanted, frozenset(needed), steps)
        return found

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


def _tangent(
    rule: Rule, state: State, sources: dict[int, Tensor | Touched], lattice: Lattice | None
) -> Tensor | Touched:
    few = {i: row for i, row in sources.items() if isinstance(row, Touched)}
    if len(few) == len(sources):
        result = rule.touched_tangent(state, few)
        if result is not None:
            return result.whole() if result.is_whole else result
    rows = {i: row.whole() if isinstance(row, Touched) else row for i, row in sources.items()}
    return rule.tangent(state, rows) if lattice is None else rule.lattice_tangent(state, rows, lattice)
