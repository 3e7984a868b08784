"""Operations that write one tensor into another: scatter, index_put, and what functionalisation makes of x[i] = y."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.graph.interpreter import State
from xai_fast.graph.lift import lifted
from xai_fast.graph.nodes import Graph, Node, Ref
from xai_fast.taylor.rules.base import Rows, Rule

__all__ = ["WRITES", "Write"]

aten = torch.ops.aten

# Operation to its arguments in which it is jointly linear, by position; all others say where to write.
WRITES: dict[object, tuple[int, ...]] = {
    aten.scatter.src: (0, 3),
    aten.scatter.value: (0, 3),
    aten.scatter_add.default: (0, 3),
    aten.index_put.default: (0, 2),
    aten.slice_scatter.default: (0, 1),
    aten.select_scatter.default: (0, 1),
    aten.diagonal_scatter.default: (0, 1),
    aten.index_add.default: (0, 3),
}


class Write(Rule):
    """A map that is linear in two tensors together."""

    def __init__(self, graph: Graph, node: Node) -> None:
        super().__init__(graph, node)
        self._linear = [node.args[at] for at in WRITES[node.target] if at < len(node.args)]
        self._values = {a.index for a in self._linear if isinstance(a, Ref)}
        # A number that is written is no part of the derivative.
        self._operation = node
        if node.target is aten.scatter.value:
            args = (*node.args[:3], 0.0)
            self._operation = Node(
                node.index, node.name, node.target, args, {}, node.inputs, node.shape, node.per_item, node.active
            )

    def _apply(self, state: State, rows: Rows, leading: tuple[int, int]) -> Tensor:
        """Write rows (R, B, *shape); what has none is zero."""
        repeats = leading[0]
        values: list[object] = []
        leads = []
        for i in self.node.inputs:
            value, node = state.values[i], self.graph.nodes[i]
            if i in self._values:
                row = rows.get(i)
                if row is None:
                    row = next(iter(rows.values())).new_zeros(()).expand(*leading, *self._shape_of(i))
                values.append(row.flatten(0, 1))
                leads.append(True)
                continue
            if node.per_item and isinstance(value, Tensor):
                value = value.expand(repeats, *value.shape).flatten(0, 1)
            values.append(value)
            leads.append(node.per_item)
        result = lifted(self._operation, values, leads)
        if not isinstance(result, Tensor):
            raise TypeError(f"{self.node.name} has several outputs")
        return result.reshape(*leading, *self.shape)

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        example = next(iter(rows.values()))
        return self._apply(state, rows, (example.shape[0], example.shape[1]))

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        leading = (rows.shape[0], rows.shape[1])
        with torch.enable_grad():
            points = {i: rows.new_zeros(()).expand(*leading, *self._shape_of(i)).requires_grad_() for i in self.inputs}
            result = self._apply(state, points, leading)
            gradients = torch.autograd.grad(result, list(points.values()), rows, allow_unused=True)
        return {i: gradient for i, gradient in zip(points, gradients, strict=True) if gradient is not None}
