"""Linear operations: reshaping, sums, convolutions, concatenation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.errors import UnsupportedOperation
from xai_fast.graph.interpreter import State
from xai_fast.graph.lift import RESHAPES, aligned, lifted, summed_to, transposed, unfolded
from xai_fast.graph.nodes import Graph, Node, Ref
from xai_fast.taylor.rules.base import Rows, Rule, expanded, unsupported
from xai_fast.taylor.touched import Touched

__all__ = ["RESHAPES", "Concatenation", "Convolution", "Structural", "Sum"]

aten = torch.ops.aten

_SUMS = (aten.sum.default, aten.sum.dim_IntList)


class Structural(Rule):
    """A linear map of one active input: reshaping, sums, pooling, padding, indexing."""

    def __init__(self, graph: Graph, node: Node, operation: Node | None = None, output: int | None = None) -> None:
        super().__init__(graph, node)
        self.operation = operation or node
        self.output = output
        self.inputs = tuple(dict.fromkeys(i for i in self.operation.inputs if graph.nodes[i].active))
        if len(self.inputs) != 1:
            raise UnsupportedOperation(unsupported(node, "with several inputs that depend on x"))
        self.source = self.inputs[0]

    def _apply(self, state: State, flat: Tensor, repeats: int) -> Tensor:
        values, leads = [], []
        for i in self.operation.inputs:
            per_item = self.graph.nodes[i].per_item
            if i == self.source:
                values.append(flat)
            elif per_item:
                other = state.tensor(i)
                values.append(other.expand(repeats, *other.shape).flatten(0, 1))
            else:
                values.append(state.values[i])  # type: ignore[arg-type]
            leads.append(per_item)
        result = lifted(self.operation, values, leads)
        return result if self.output is None else result[self.output]  # type: ignore[index, return-value]

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        source = rows[self.source]
        result = self._apply(state, source.flatten(0, 1), source.shape[0])
        return unfolded(result, source.shape[:2])

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        if self.output is None:
            direct = transposed(self.node, rows.flatten(0, 1), self._shape_of(self.source))
            if direct is not None:
                return {self.source: unfolded(direct, rows.shape[:2])}
        shape = (rows.shape[0] * rows.shape[1], *self._shape_of(self.source))
        with torch.enable_grad():
            point = rows.new_zeros(()).expand(shape).requires_grad_()
            result = self._apply(state, point, rows.shape[0])
            (gradient,) = torch.autograd.grad(result, point, rows.flatten(0, 1), create_graph=rows.requires_grad)
        return {self.source: unfolded(gradient, rows.shape[:2])}

    @override
    def touched_tangent(self, state: State | None, rows: Mapping[int, Touched]) -> Touched | None:
        source = rows[self.source]
        target = self.node.target
        if self.output is not None or not self.shape or not source.shape:
            return None
        if target in _SUMS and self._sums_places():
            return source.summed(self._dims(), self.shape)
        if self.shape[-1] != source.shape[-1]:
            return None
        same_places = math.prod(self.shape) == math.prod(source.shape)
        if target in RESHAPES and same_places:
            return source.with_values(source.values, self.shape)
        if target is aten.expand.default and len(self.shape) == len(source.shape):
            return source.expanded(self.shape)
        return None

    def _dims(self) -> list[int]:
        rank = len(self._shape_of(self.source))
        dims = self.node.args[1] if len(self.node.args) > 1 else None
        dims = [dims] if isinstance(dims, int) else dims
        return [d % rank for d in dims] if dims else list(range(rank))  # type: ignore[attr-defined]

    def _sums_places(self) -> bool:
        return len(self._shape_of(self.source)) - 1 not in self._dims()


class Convolution(Structural):
    """A convolution of the input with constant weights; the bias is no part of the derivative."""

    def __init__(self, graph: Graph, node: Node) -> None:
        super().__init__(graph, node)
        weight = node.args[1]
        if not isinstance(weight, Ref) or graph.nodes[weight.index].per_item:
            raise UnsupportedOperation(unsupported(node, "whose weights depend on the item"))
        self._weight = weight.index
        self._options = node.args[3:]

    @property
    @override
    def row_operations(self) -> int:
        weight = self._shape_of(self._weight) or (1, 1)
        is_transposed = bool(self._options[3])
        reader = self.graph.nodes[self.source] if is_transposed else self.node
        return 2 * reader.size * weight[1] * math.prod(weight[2:])

    @override
    def _apply(self, state: State, flat: Tensor, repeats: int) -> Tensor:
        rows = flat.flatten(0, 1)
        result = aten.convolution.default(rows, state.tensor(self._weight), None, *self._options)
        return unfolded(result, flat.shape[:2])

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        shape = self._shape_of(self.source)
        flat = rows.flatten(0, 2)
        source = flat.new_empty(()).expand(flat.shape[0], *shape[1:])
        gradient = aten.convolution_backward.default(
            flat, source, state.tensor(self._weight), None, *self._options, [True, False, False]
        )[0]
        return {self.source: unfolded(gradient, rows.shape[:3])}


class Sum(Rule):
    """add, sub: a weighted sum of two operands that broadcast."""

    def __init__(self, graph: Graph, node: Node) -> None:
        super().__init__(graph, node)
        alpha = node.kwargs.get("alpha", 1)
        sign = -1 if node.target in _SUBTRACTIONS else 1
        factors = (sign * alpha, 1) if node.target in _REVERSED else (1, sign * alpha)  # type: ignore[operator]
        self.terms = [
            (argument.index, factor)
            for argument, factor in zip(node.args[:2], factors, strict=False)
            if isinstance(argument, Ref) and graph.nodes[argument.index].active
        ]

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        total: Tensor | None = None
        for index, factor in self.terms:
            if index not in rows:
                continue
            term = aligned(rows[index], 2, len(self.shape))
            first = total is None and factor == 1
            total = term if first else term * factor if total is None else torch.add(total, term, alpha=factor)
        return expanded(total, self.shape)

    @override
    def touched_tangent(self, state: State | None, rows: Mapping[int, Touched]) -> Touched | None:
        total: Touched | None = None
        for index, factor in self.terms:
            if index not in rows:
                continue
            term = rows[index]
            missing = len(self.shape) - len(term.shape)
            if not self.shape or term.shape[-1] != self.shape[-1]:
                return None
            term = term.with_values(
                term.values if factor == 1 or term.values is None else term.values * factor,
                (1,) * missing + term.shape,
            ).expanded(self.shape)
            total = term if total is None else total.plus(term)
        return total

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        pulled: dict[int, Tensor] = {}
        for index, factor in self.terms:
            part = summed_to(rows, 2, self._shape_of(index))
            part = part if factor == 1 else part * factor
            pulled[index] = pulled[index] + part if index in pulled else part
        return pulled


class Concatenation(Rule):
    """cat along a dimension."""

    def __init__(self, graph: Graph, node: Node) -> None:
        super().__init__(graph, node)
        parts = node.args[0]
        # A tensor (0,) may be joined to tensors of any shape, and adds nothing: caches of attention begin so.
        self.parts = [part.index for part in parts if self._shape_of(part.index) != (0,)]  # type: ignore[attr-defined]
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        self.dim = dim % len(self.shape) + 2  # type: ignore[operator]

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        example = next(iter(rows.values()))
        leading = example.shape[:2]
        return torch.cat(
            [rows[i] if i in rows else example.new_zeros(()).expand(*leading, *self._shape_of(i)) for i in self.parts],
            self.dim,
        )

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        pulled: dict[int, Tensor] = {}
        pieces = torch.split(rows, [self._shape_of(i)[self.dim - 2] for i in self.parts], self.dim)
        for index, piece in zip(self.parts, pieces, strict=True):
            if index in self.inputs:
                pulled[index] = pulled[index] + piece if index in pulled else piece
        return pulled


_SUBTRACTIONS = (aten.sub.Tensor, aten.sub.Scalar, aten.rsub.Tensor, aten.rsub.Scalar)
_REVERSED = (aten.rsub.Tensor, aten.rsub.Scalar)
