"""Operations that choose among entries at the value: where, maximum, sorting, max pooling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.graph.interpreter import State
from xai_fast.graph.lift import aligned, summed_to
from xai_fast.graph.nodes import Graph, Node, Ref
from xai_fast.taylor.rules.base import Rows, Rule, expanded

__all__ = ["Choice", "Extremum", "Picked"]

aten = torch.ops.aten


class Choice(Rule):
    """where, maximum, minimum: each entry comes from one of two operands."""

    def __init__(
        self, graph: Graph, node: Node, operands: tuple[object, object], share: Callable[[State], Tensor]
    ) -> None:
        super().__init__(graph, node)
        self.operands = [a.index if isinstance(a, Ref) else None for a in operands]
        self.share = share

    def _shares(self, state: State) -> list[tuple[int, Tensor]]:
        first = self.share(state)
        return [
            (index, share)
            for index, share in zip(self.operands, (first, 1 - first), strict=True)
            if index is not None and index in self.inputs
        ]

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        total: Tensor | None = None
        for index, share in self._shares(state):
            if index in rows:
                # Rows of an entry that was not chosen may be infinite: they are left out, not multiplied by zero.
                row = aligned(rows[index], 2, len(self.shape))
                term = torch.where(share != 0, row * share, row.new_zeros(()))
                total = term if total is None else total + term
        return expanded(total, self.shape)

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        pulled: dict[int, Tensor] = {}
        for index, share in self._shares(state):
            part = summed_to(torch.where(share != 0, rows * share, rows.new_zeros(())), 2, self._shape_of(index))
            pulled[index] = pulled[index] + part if index in pulled else part
        return pulled


class Extremum(Rule):
    """amax and amin over dimensions; equal extrema share the derivative, as in PyTorch."""

    def __init__(self, graph: Graph, node: Node) -> None:
        super().__init__(graph, node)
        self.source = self.inputs[0]
        rank = len(self._shape_of(self.source))
        dims = node.args[1] if len(node.args) > 1 else ()
        listed: list[int] = [dims] if isinstance(dims, int) else list(dims)  # type: ignore[call-overload]
        self.dims = [d % rank for d in listed] or list(range(rank))

    def _shares(self, state: State) -> Tensor:
        z = state.tensor(self.source)
        dims = [d + 1 for d in self.dims]
        best = state.tensor(self.node.index).reshape(z.shape[0], *self._kept())
        mask = (z == best).to(z.dtype)
        return mask / mask.sum(dims, keepdim=True)

    def _kept(self) -> list[int]:
        return [1 if d in self.dims else size for d, size in enumerate(self._shape_of(self.source))]

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        source = rows[self.source]
        total = (source * self._shares(state)).sum([d + 2 for d in self.dims])
        return total.reshape(*source.shape[:2], *self.shape)

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        return {self.source: rows.reshape(*rows.shape[:2], *self._kept()) * self._shares(state)}


class Picked(Rule):
    """max, min, sort, topk along a dimension, and max pooling: entries are picked by an index found at the value."""

    def __init__(self, graph: Graph, node: Node, operation: Node, pooled: int = 0) -> None:
        super().__init__(graph, node)
        self.operation = operation
        self.inputs = tuple(i for i in operation.inputs if graph.nodes[i].active)
        self.source = self.inputs[0]
        self.pooled = pooled

    def _picks(self, state: State) -> tuple[Tensor, int]:
        """Return the index (B, *) and the dimension of the flattened source that it indexes, counted from the end."""
        index = state.values[self.operation.index][1]  # type: ignore[index]
        shape = self._shape_of(self.source)
        if self.pooled:
            return index.flatten(-self.pooled), -1
        # max(x, dim), sort(x, dim), topk(x, k, dim)
        at = 2 if self.operation.target is aten.topk.default else 1
        dim = self.operation.args[at] if len(self.operation.args) > at else self.operation.kwargs.get("dim", -1)
        dim = dim % len(shape) - len(shape)  # type: ignore[operator]
        if index.ndim == len(shape):  # the dimension was dropped
            index = index.unsqueeze(dim)
        return index, dim

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        source = rows[self.source]
        index, dim = self._picks(state)
        source = source.flatten(-self.pooled) if self.pooled else source
        picked = source.gather(dim, index.expand(source.shape[0], *index.shape))
        return picked.reshape(*source.shape[:2], *self.shape)

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        index, dim = self._picks(state)
        shape = self._shape_of(self.source)
        result = rows.new_zeros(*rows.shape[:2], *shape)
        flat = result.flatten(-self.pooled) if self.pooled else result
        flat.scatter_add_(dim, index.expand(rows.shape[0], *index.shape), rows.reshape(rows.shape[0], *index.shape))
        return {self.source: result}
