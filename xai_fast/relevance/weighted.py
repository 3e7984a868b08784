"""Nodes with constant weights: z = W a + b, and what of it is positive and what negative."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai_fast.graph import Graph, Node
from xai_fast.graph.nodes import Ref

__all__ = ["Weighted", "weighted"]

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Weighted:
    """A convolution, or a product with a constant matrix.

    Values and coefficients have any leading dimensions before the shape of an item, whose batch dimension is 1.

    Attributes:
        node: of z.
        source: the node of a.
        kind: "convolution" or "dense".
        weight: as the operation takes it.
        bias: (channels of z,), or None.
        is_nonnegative: whether a is never negative.
        is_rectified: whether z is read through functions only that are zero where z is not positive.
    """

    node: Node
    source: int
    kind: str
    weight: Tensor
    bias: Tensor | None
    is_nonnegative: bool
    is_rectified: bool
    _variants: dict[str, Tensor] = field(default_factory=dict)

    def variant(self, name: str) -> Tensor:
        """Give the weights "+", "-", "abs", "square" or "one": the positive part and so on, made once."""
        if name not in self._variants:
            self._variants[name] = _PARTS[name](self.weight)
        return self._variants[name]

    def with_gamma(self, gamma: float) -> Tensor:
        """Give W + gamma W+, made once."""
        name = f"gamma {gamma}"
        if name not in self._variants:
            self._variants[name] = self.weight + gamma * self.weight.clamp(min=0)
        return self._variants[name]

    def apply(self, a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Compute W a + b: (*, *shape of z) from (*, *shape of a)."""
        if self.kind == "dense":
            z = torch.matmul(a, weight)
            return z if bias is None else z + bias
        dims = weight.ndim
        z = aten.convolution.default(a.flatten(0, -dims), weight, bias, *self.node.args[3:])
        return z.reshape(*a.shape[: 1 - dims], *z.shape[1:])

    def pull(self, rows: Tensor, weight: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Compute W^T rows: (*, *shape) from (*, *shape of z)."""
        if self.kind == "dense":
            return torch.matmul(rows, weight.mT)
        dims = weight.ndim
        flat = rows.flatten(0, -dims)
        like = flat.new_empty(()).expand(flat.shape[0], *shape[1 - dims :])
        options = (*self.node.args[3:], [True, False, False])
        found: Tensor = aten.convolution_backward.default(flat, like, weight, None, *options)[0]
        return found.reshape(*rows.shape[: 1 - dims], *found.shape[1:])

    def per_unit(self, values: Tensor) -> Tensor:
        """Shape numbers per channel so that they broadcast over z."""
        return values if self.kind == "dense" else values.reshape(-1, *[1] * (self.weight.ndim - 2))


_PARTS = {
    "+": lambda w: w.clamp(min=0),
    "-": lambda w: w.clamp(max=0),
    "abs": torch.abs,
    "square": torch.square,
    "one": torch.ones_like,
}


def weighted(graph: Graph, node: Node, is_nonnegative: frozenset[int], is_rectified: bool) -> Weighted | None:
    """Give a node with constant weights; None for others."""
    places = {aten.convolution.default: (0, 1, 2), aten.mm.default: (0, 1, None), aten.addmm.default: (1, 2, 0)}
    if node.target not in places:
        return None
    source, weight, bias = (None if at is None else node.args[at] for at in places[node.target])
    if not isinstance(source, Ref) or not graph.nodes[source.index].active or not isinstance(weight, Ref):
        return None
    constants = [graph.constants.get(part.index) if isinstance(part, Ref) else None for part in (weight, bias)]
    if not isinstance(constants[0], Tensor) or (isinstance(bias, Ref) and not isinstance(constants[1], Tensor)):
        return None
    kind = "convolution" if node.target is aten.convolution.default else "dense"
    return Weighted(node, source.index, kind, *constants, source.index in is_nonnegative, is_rectified)
