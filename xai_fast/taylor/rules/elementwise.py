"""Functions of one entry each: smooth ones, and piecewise linear ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from xai_fast.kernels.partition_sum.activations import derivatives
from xai_fast.taylor.graph import Graph, Node
from xai_fast.taylor.pairs import pair_sum
from xai_fast.taylor.rules.base import Rows, Rule, State

__all__ = ["Elementwise", "Selection"]


class Elementwise(Rule):
    """y = s(z) for a smooth s: its derivatives come from the table of activations."""

    curved = True

    def __init__(self, graph: Graph, node: Node, activation: str, parameters: Sequence[float]) -> None:
        super().__init__(graph, node)
        self.activation = activation
        self.parameters = tuple(parameters)
        self.source = self.inputs[0]

    def derivative(self, state: State, order: int) -> Tensor:
        """Return the derivative s^(order)(z), (B, *shape)."""

        def compute(orders: int) -> list[Tensor]:
            return derivatives(self.activation, self.parameters, state.tensor(self.source), orders)

        return state.derivatives(self.node.index, compute, order)

    def tangent(self, state: State, rows: Rows) -> Tensor:
        return rows[self.source] * self.derivative(state, 1)

    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        return {self.source: rows * self.derivative(state, 1)}

    def pair(self, state: State, adjoint: Tensor, left: Rows, right: Rows) -> Tensor:
        return pair_sum(left[self.source], right[self.source], adjoint * self.derivative(state, 2))


class Selection(Rule):
    """y = s(z) for a piecewise linear s: the piece is chosen at the value; exact almost everywhere."""

    def __init__(self, graph: Graph, node: Node, slope: Callable[[Tensor], Tensor]) -> None:
        super().__init__(graph, node)
        self.slope = slope
        self.source = self.inputs[0]

    def _slopes(self, state: State) -> Tensor:
        z = state.tensor(self.source)
        return state.derivatives(self.node.index, lambda _: [z, self.slope(z).to(z.dtype)], 1)

    def tangent(self, state: State, rows: Rows) -> Tensor:
        return rows[self.source] * self._slopes(state)

    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        return {self.source: rows * self._slopes(state)}
