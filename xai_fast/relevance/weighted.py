"""Nodes with constant weights, z = W a + b: where they are, and their products."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_fast.engine.convolution import input_gradient, reads_few_channels
from xai_fast.graph import Graph, Node
from xai_fast.graph.nodes import Ref
from xai_fast.relevance.facts import is_rectified

__all__ = ["Weighted", "weighted_nodes"]

aten = torch.ops.aten

# Where the operation has a, W and b.
_PLACES: dict[object, tuple[int, int, int | None]] = {
    aten.convolution.default: (0, 1, 2),
    aten.addmm.default: (1, 2, 0),
    aten.mm.default: (0, 1, None),
    aten.bmm.default: (0, 1, None),
}


@dataclass(frozen=True, eq=False)
class Weighted:
    """A convolution, or a product with a constant matrix.

    Values and coefficients have any leading dimensions before the shape of an item, whose batch dimension is 1.

    Attributes:
        node: of z.
        source: the node of a.
        shape: of a.
        kind: "convolution" or "dense".
        weight: W, as the operation takes it.
        bias: b, (channels of z,), or None.
        is_nonnegative: whether a is never negative.
        is_rectified: whether z is read through functions only that are zero where z is not positive.
    """

    node: Node
    source: int
    shape: tuple[int, ...]
    kind: str
    weight: Tensor
    bias: Tensor | None
    is_nonnegative: bool
    is_rectified: bool

    @property
    def inner(self) -> int:
        """The units of a channel that follow one another."""
        return 1 if self.kind == "dense" else math.prod((self.node.shape or ())[2:])

    def apply(self, a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Compute W a + b: (*, *shape of z) from (*, *shape of a)."""
        if self.kind == "dense":
            z = torch.matmul(a, weight)
            return z if bias is None else z + bias
        flat = a.flatten(0, -weight.ndim)
        found: Tensor = aten.convolution.default(flat, weight, bias, *self.node.args[3:])
        return found.reshape(*a.shape[: 1 - weight.ndim], *found.shape[1:])

    def pull(self, rows: Tensor, *weights: Tensor) -> list[Tensor]:
        """Compute W^T rows for each W: (*, *shape of a) from (*, *shape of z)."""
        if self.kind == "dense":
            return [torch.matmul(rows, weight.mT) for weight in weights]
        options: Any = self.node.args[3:]
        few = reads_few_channels(self.weight, options)
        if len(weights) > 1 and (few or self.node.args[6] or self.node.args[8] != 1):  # transposed, or in groups
            return [self.pull(rows, weight)[0] for weight in weights]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights, 1)
        flat = rows.flatten(0, -weight.ndim)
        if few:
            found = input_gradient(flat, weight, self.shape[2:], *options[:2])
        elif self._padding is not None and flat.device.type == "cpu":  # forward is the faster way, a fifth
            turned = weight.transpose(0, 1).flip(tuple(range(2, weight.ndim)))
            found = aten.convolution.default(flat, turned, None, *self._padding)
        else:
            like = flat.new_empty(()).expand(flat.shape[0], len(weights) * self.shape[1], *self.shape[2:])
            found = aten.convolution_backward.default(flat, like, weight, None, *options, [True, False, False])[0]
        found = found.reshape(*rows.shape[: 1 - weight.ndim], *found.shape[1:])
        return list(found.chunk(len(weights), 1 - weight.ndim))

    @functools.cached_property
    def _padding(self) -> list[Any] | None:
        """The options of the convolution that is the transpose of this one; None where there is none."""
        options: Any = self.node.args[3:]
        stride, padding, dilation, transposed, extra, groups = options
        sizes = [step * (size - 1) for step, size in zip(dilation, self.weight.shape[2:], strict=True)]
        left = [size - pad for size, pad in zip(sizes, padding, strict=True)]
        if transposed or groups != 1 or set(stride) != {1} or min(left) < 0:
            return None
        return [stride, left, dilation, False, extra, 1]

    def per_unit(self, values: Tensor) -> Tensor:
        """Shape numbers per channel so that they broadcast over z."""
        return values if self.kind == "dense" else values.reshape(-1, *[1] * (self.weight.ndim - 2))


def weighted_nodes(graph: Graph, nonnegative: frozenset[int]) -> dict[int, Weighted]:
    """Find the nodes with constant weights, by node; ``nonnegative`` nodes have values that are never negative."""
    found = {}
    for node in graph.nodes:
        if node.target not in _PLACES or not node.active:
            continue
        source, weight, bias = (None if at is None else node.args[at] for at in _PLACES[node.target])
        values = [graph.constants.get(part.index) if isinstance(part, Ref) else None for part in (weight, bias)]
        if isinstance(source, Ref) and graph.nodes[source.index].active and isinstance(values[0], Tensor):
            found[node.index] = Weighted(
                node,
                source.index,
                graph.nodes[source.index].shape or (),
                "convolution" if node.target is aten.convolution.default else "dense",
                values[0],
                values[1] if isinstance(values[1], Tensor) else None,
                source.index in nonnegative,
                is_rectified(graph, node),
            )
    return found
