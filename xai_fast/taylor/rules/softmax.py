"""The softmax as one node, where second derivatives are the highest."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.graph.interpreter import State
from xai_fast.graph.nodes import Graph, Node
from xai_fast.taylor.pairs import pair_sum
from xai_fast.taylor.rules.base import Rows, Rule

__all__ = ["Softmax", "with_softmax"]

aten = torch.ops.aten


class Softmax(Rule):
    """p = exp(z) / sum exp(z) along a dimension; with v~ = v - <p, v>,

    D p [v] = p v~, which is its own transpose, and <mu, D^2 p [v, u]> = <p mu~, v~ u~>.
    """

    curved = True

    def __init__(self, graph: Graph, node: Node, source: int, dims: list[int]) -> None:
        super().__init__(graph, node)
        self.inputs = (source,)
        self.source = source
        self.dims = [d % len(self.shape) - len(self.shape) for d in dims]

    def _centred(self, state: State, rows: Tensor) -> Tensor:
        return rows - (rows * state.tensor(self.node.index)).sum(self.dims, keepdim=True)

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        return state.tensor(self.node.index) * self._centred(state, rows[self.source])

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        return {self.source: self.tangent(state, {self.source: rows})}

    @override
    def pair(self, state: State, adjoint: Tensor, left: Rows, right: Rows) -> Tensor:
        first = self._centred(state, left[self.source])
        second = first if right is left else self._centred(state, right[self.source])
        return pair_sum(first, second, self.tangent(state, {self.source: adjoint.unsqueeze(0)})[0])


def with_softmax(graph: Graph, rules: dict[int, Rule]) -> dict[int, Rule]:
    """Put one rule in the place of those of exp, sum, reciprocal and product, wherever nothing else reads these."""
    found = dict(rules)
    for index, rule in rules.items():
        node, inputs = rule.node, [graph.nodes[i] for i in rule.node.inputs]
        if [node.target, *(i.target for i in inputs)] != [aten.mul.Tensor, aten.exp.default, aten.reciprocal.default]:
            continue
        exponentials, inverse = inputs
        total = graph.nodes[inverse.inputs[0]]
        readers = [graph.users[i.index] for i in (exponentials, total, inverse)]
        if total.target is not aten.sum.dim_IntList or total.inputs != (exponentials.index,):
            continue
        if readers != [(total.index, index), (inverse.index,), (index,)] or total.args[2:] != (True,):
            continue
        found[index] = Softmax(graph, node, exponentials.inputs[0], total.args[1])
        for part in (exponentials, total, inverse):
            del found[part.index]
    return found
