"""Functions of one entry each, smooth ones and piecewise linear ones, softmax, layer norm and attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.graph.interpreter import State
from xai_fast.graph.nodes import Graph, Node, filled
from xai_fast.kernels.partition_sum import Program as Terms
from xai_fast.kernels.partition_sum import derivatives, partition_sum, partition_sum_reduced
from xai_fast.taylor.lattice import Lattice
from xai_fast.taylor.pairs import pair_sum
from xai_fast.taylor.rules.base import Rows, Rule
from xai_fast.taylor.touched import Touched

__all__ = ["Attention", "Elementwise", "LayerNorm", "Selection", "Softmax"]

aten = torch.ops.aten


class Elementwise(Rule):
    """y = s(z) for a smooth s: its derivatives come from the table of activations."""

    curved = True
    keeps_derivatives = True

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

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        return rows[self.source] * self.derivative(state, 1)

    @override
    def touched_tangent(self, state: State | None, rows: Mapping[int, Touched]) -> Touched:
        source = rows[self.source]
        return source if state is None else source.scaled(self.derivative(state, 1))

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        z = state.values.get(self.source)  # None where only its derivatives are kept
        if self.node.target is aten.gelu.default and isinstance(z, Tensor) and rows.shape == (1, *z.shape):
            return {self.source: aten.gelu_backward.default(rows, z[None], **self.node.kwargs)}
        return {self.source: rows * self.derivative(state, 1)}

    @override
    def pair(self, state: State, adjoint: Tensor, left: Rows, right: Rows) -> Tensor:
        return pair_sum(left[self.source], right[self.source], adjoint * self.derivative(state, 2))

    @override
    def lattice_tangent(self, state: State, rows: Rows, lattice: Lattice) -> Tensor:
        source = rows[self.source]
        if lattice.forward == 1:
            return self.tangent(state, rows)
        out = torch.empty_like(source, memory_format=torch.contiguous_format)
        self._partition_sum(partition_sum, out.flatten(2), state, source, None, lattice.forward_terms)
        return out

    @override
    def lattice_pull(self, state: State, adjoints: Tensor, rows: Rows, lattice: Lattice) -> dict[int, Tensor]:
        if lattice.backward == 0:
            return self.pull(state, adjoints)
        out = torch.empty_like(adjoints, memory_format=torch.contiguous_format)
        self._partition_sum(partition_sum, out.flatten(2), state, rows[self.source], adjoints, lattice.adjoint_terms)
        return {self.source: out}

    @override
    def contract(self, state: State, adjoints: Tensor, rows: Rows, lattice: Lattice, out: Tensor) -> None:
        self._partition_sum(partition_sum_reduced, out, state, rows[self.source], adjoints, lattice.contracted_terms)

    def _partition_sum(
        self,
        kernel: Callable[..., None],
        out: Tensor,
        state: State,
        rows: Tensor,
        adjoints: Tensor | None,
        terms: Terms,
    ) -> None:
        kernel(
            out,
            state.tensor(self.source).flatten(1).contiguous(),
            rows.flatten(2).contiguous(),
            None if adjoints is None else adjoints.flatten(2).contiguous(),
            self.activation,
            list(self.parameters),
            *terms.to(out.device),
        )


class Selection(Rule):
    """y = s(z) for a piecewise linear s: the piece is chosen at the value; exact almost everywhere."""

    keeps_derivatives = True

    def __init__(self, graph: Graph, node: Node, slope: Callable[[Tensor], Tensor]) -> None:
        super().__init__(graph, node)
        self.slope = slope
        self.source = self.inputs[0]

    def _slopes(self, state: State) -> Tensor:
        z = state.tensor(self.source)
        return state.derivatives(self.node.index, lambda _: [z, self.slope(z).to(z.dtype)], 1)

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        return rows[self.source] * self._slopes(state)

    @override
    def touched_tangent(self, state: State | None, rows: Mapping[int, Touched]) -> Touched:
        source = rows[self.source]
        return source if state is None else source.scaled(self._slopes(state))

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        return {self.source: rows * self._slopes(state)}


class Softmax(Rule):
    """p = exp(z) / sum exp(z) along a dimension, for derivatives of the second order at most.

    With v~ = v - <p, v>: D p [v] = p v~, which is its own transpose, and <mu, D^2 p [v, u]> = <p mu~, v~ u~>.
    """

    curved = True

    def __init__(self, graph: Graph, node: Node, source: int, dims: Sequence[int]) -> None:
        super().__init__(graph, node)
        self.inputs, self.source = (source,), source
        self.dims = [d % len(self.shape) - len(self.shape) for d in dims]

    def _centred(self, state: State, rows: Tensor) -> Tensor:
        return rows - (rows * state.tensor(self.node.index)).sum(self.dims, keepdim=True)

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        return state.tensor(self.node.index) * self._centred(state, rows[self.source])

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        p = state.tensor(self.node.index)
        if len(self.dims) == 1 and rows.shape == (1, *p.shape):
            return {self.source: aten._softmax_backward_data.default(rows, p[None], self.dims[0], p.dtype)}
        return {self.source: self.tangent(state, {self.source: rows})}

    @override
    def pair(self, state: State, adjoint: Tensor, left: Rows, right: Rows) -> Tensor:
        first = self._centred(state, left[self.source])
        second = first if right is left else self._centred(state, right[self.source])
        return pair_sum(first, second, self.tangent(state, {self.source: adjoint}))


class Fused(Rule):
    """The first output of an operation in one piece; the others serve the way back."""

    curved = True

    def __init__(self, graph: Graph, node: Node, operation: Node) -> None:
        super().__init__(graph, node)
        self.operation = operation
        self.inputs = tuple(dict.fromkeys(i for i in operation.inputs if graph.nodes[i].active))

    def values(self, state: State) -> tuple[Any, ...]:
        """Return the arguments, then the outputs."""
        return *filled(self.operation.args, state.values), *state.values[self.operation.index]  # type: ignore[misc]

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        raise NotImplementedError(f"{self.node.name} is carried back only")


class LayerNorm(Fused):
    """y = (x - mean) / deviation over the last dimensions."""

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        x, size, *_, mean, scale = self.values(state)
        x, mean, scale = (value.expand(len(rows), *value.shape) for value in (x, mean, scale))
        options = (None, None, [True, False, False])
        return {self.inputs[0]: aten.native_layer_norm_backward.default(rows, x, size, mean, scale, *options)[0]}


class Attention(Fused):
    """y = softmax(scale q k^T) v, (1, H, n, d), without the softmax in memory."""

    @override
    def pull(self, state: State, rows: Tensor, shares: Sequence[float] = (1.0, 1.0, 1.0)) -> dict[int, Tensor]:
        """Apply the transpose; q, k and v get these shares of it."""
        leading = rows.shape[:2]
        given = zip((rows, *self.values(state)), _RANKS, strict=True)
        flat = [value.expand(*leading, *value.shape[-rank:]).flatten(0, 2) for value, rank in given]
        backward = aten._scaled_dot_product_flash_attention_for_cpu_backward.default
        pulled: dict[int, Tensor] = {}
        parts = backward(*flat, 0.0, False, **self.operation.kwargs)
        for index, share, part in zip(self.operation.inputs, shares, parts, strict=True):
            if share and index in self.inputs:
                part = part.mul_(share).unflatten(0, (*leading, -1))
                pulled[index] = pulled[index] + part if index in pulled else part
        return pulled


_RANKS = (4, 4, 4, 4, 4, 3)
"""Of adjoints, q, k, v, y and the logarithms of the sums."""
