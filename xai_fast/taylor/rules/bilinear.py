"""Products of two operands: of entries, and of matrices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.graph.interpreter import State
from xai_fast.graph.lift import aligned, summed_to
from xai_fast.graph.nodes import Graph, Node, Ref
from xai_fast.taylor.lattice import Lattice
from xai_fast.taylor.pairs import pair_sum
from xai_fast.taylor.rules.base import Rows, Rule, expanded
from xai_fast.taylor.touched import Touched

__all__ = ["Bilinear", "MatrixProduct", "Product"]


class Bilinear(Rule):
    """mul, mm, bmm, addmm: y = a b, linear in each. With one active operand it is linear."""

    def __init__(self, graph: Graph, node: Node, first: object, second: object) -> None:
        super().__init__(graph, node)
        self.operands = (first, second)
        self.active = [isinstance(o, Ref) and graph.nodes[o.index].active for o in (first, second)]
        self.curved = all(self.active)

    @abstractmethod
    def product(self, a: object, b: object) -> Tensor:
        """Multiply operands with leading dimensions (B,) or (R, B), or none."""

    @abstractmethod
    def pull_first(self, rows: Tensor, b: object) -> Tensor:
        """Return the adjoint of the first operand."""

    @abstractmethod
    def pull_second(self, rows: Tensor, a: object) -> Tensor:
        """Return the adjoint of the second operand."""

    def operand(self, state: State, which: int) -> object:
        """Return the value of an operand, (B, *shape), a constant or a number."""
        argument = self.operands[which]
        return state.values[argument.index] if isinstance(argument, Ref) else argument

    def rows_of(self, rows: Rows, which: int) -> Tensor | None:
        """Return the rows of an operand, None where it has none."""
        argument = self.operands[which]
        return rows.get(argument.index) if isinstance(argument, Ref) and self.active[which] else None

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        first, second = self.rows_of(rows, 0), self.rows_of(rows, 1)
        if second is None:
            return self.product(first, self.operand(state, 1))
        if first is None:
            return self.product(self.operand(state, 0), second)
        return self.product(first, self.operand(state, 1)) + self.product(self.operand(state, 0), second)

    @override
    def pull(self, state: State, rows: Tensor) -> dict[int, Tensor]:
        pulled: dict[int, Tensor] = {}
        for which, pull in enumerate((self.pull_first, self.pull_second)):
            if self.active[which]:
                index = self.operands[which].index  # type: ignore[attr-defined]
                part = pull(rows, self.operand(state, 1 - which))
                pulled[index] = pulled[index] + part if index in pulled else part
        return pulled

    @override
    def pair(self, state: State, adjoint: Tensor, left: Rows, right: Rows) -> Tensor:
        total: Tensor | None = None
        for first, second, swap in ((left, right, False), (right, left, True)):
            a, b = self.rows_of(first, 0), self.rows_of(second, 1)
            if a is None or b is None:
                continue
            moved = self.pull_second(adjoint, a)
            part = pair_sum(b, moved) if swap else pair_sum(moved, b)
            total = part if total is None else total + part
        if total is None:
            raise ValueError(f"{self.node.name}: rows of both operands are needed")
        return total

    @override
    def lattice_tangent(self, state: State, rows: Rows, lattice: Lattice) -> Tensor:
        result = self.tangent(state, rows)
        products = lattice.forward_products
        first, second = self.rows_of(rows, 0), self.rows_of(rows, 1)
        if first is None or second is None or not len(products):
            return result
        result = result.contiguous() if result._is_view() or not result.is_contiguous() else result
        for target, _, pick_first, pick_second in _chunks(products, first, second):
            result.index_add_(0, target, expanded(self.product(first[pick_first], second[pick_second]), self.shape))
        return result

    @override
    def lattice_pull(self, state: State, adjoints: Tensor, rows: Rows, lattice: Lattice) -> dict[int, Tensor]:
        pulled = self.pull(state, adjoints)
        for which, pull in enumerate((self.pull_first, self.pull_second)):
            other = self.rows_of(rows, 1 - which)
            if not self.active[which] or other is None:
                continue
            index = self.operands[which].index  # type: ignore[attr-defined]
            total = pulled[index].clone(memory_format=torch.contiguous_format)
            for target, source, pick, _ in _chunks(lattice.adjoint_products, adjoints, other):
                total.index_add_(0, target, pull(adjoints[source], other[pick]))
            pulled[index] = total
        return pulled

    @override
    def contract(self, state: State, adjoints: Tensor, rows: Rows, lattice: Lattice, out: Tensor) -> None:
        first, second = self.rows_of(rows, 0), self.rows_of(rows, 1)
        if first is None or second is None:
            return
        for target, source, one, two in _chunks(lattice.contracted_products, first, second):
            moved = self.pull_second(adjoints[source], first[one])
            out.index_add_(1, target, (moved * second[two]).flatten(2).sum(2).transpose(0, 1))


_CHUNK_ENTRIES = 1 << 23
"""The most entries of gathered rows at once."""


def _chunks(products: Tensor, first: Tensor, second: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Go through the columns of a table of products, see `Lattice`, so many lines at a time."""
    size = max(1, _CHUNK_ENTRIES // max(1, first[0].numel(), second[0].numel()))
    for part in torch.split(products.to(first.device), size):
        yield part.unbind(1)


class Product(Bilinear):
    """Multiplication of entries, with broadcasting."""

    def _aligned(self, value: object, which: int) -> Tensor:
        if not isinstance(value, Tensor):
            return value  # type: ignore[return-value]
        argument = self.operands[which]
        if not isinstance(argument, Ref) or not self.graph.nodes[argument.index].per_item:
            return value
        return aligned(value, value.ndim - len(self._shape_of(argument.index)), len(self.shape))

    @override
    def product(self, a: object, b: object) -> Tensor:
        result = self._aligned(a, 0) * self._aligned(b, 1)
        return result

    @override
    def tangent(self, state: State, rows: Rows) -> Tensor:
        return expanded(super().tangent(state, rows), self.shape)

    def _pull(self, rows: Tensor, other: object, which: int) -> Tensor:
        argument = self.operands[which]
        product = rows * self._aligned(other, 1 - which)
        return summed_to(product, 2, self._shape_of(argument.index))  # type: ignore[attr-defined]

    @override
    def pull_first(self, rows: Tensor, b: object) -> Tensor:
        return self._pull(rows, b, 0)

    @override
    def pull_second(self, rows: Tensor, a: object) -> Tensor:
        return self._pull(rows, a, 1)


class MatrixProduct(Bilinear):
    """mm, bmm, and addmm, whose added matrix is constant."""

    @override
    def product(self, a: object, b: object) -> Tensor:
        return torch.matmul(a, b)  # type: ignore[arg-type]

    @override
    def pull_first(self, rows: Tensor, b: object) -> Tensor:
        return torch.matmul(rows, b.transpose(-1, -2))  # type: ignore[attr-defined]

    @override
    def pull_second(self, rows: Tensor, a: object) -> Tensor:
        return torch.matmul(a.transpose(-1, -2), rows)  # type: ignore[attr-defined]

    @property
    @override
    def row_operations(self) -> int:
        inner = (self._shape_of(self.operands[0].index) or (1,))[-1] if isinstance(self.operands[0], Ref) else 1
        return 2 * self.node.size * inner * (len(self.inputs) if self.curved else 1)

    @override
    def touched_tangent(self, state: State | None, rows: Mapping[int, Touched]) -> Touched | None:
        second = self.operands[1]
        if not isinstance(second, Ref) or self.graph.nodes[second.index].per_item:
            return None
        if not isinstance(self.operands[0], Ref) or self.operands[0].index not in rows:
            return None
        source = rows[self.operands[0].index]
        if source.values is None or state is None:
            return source.with_values(None, self.shape)
        return source.with_values(torch.matmul(source.values, state.tensor(second.index)), self.shape)
