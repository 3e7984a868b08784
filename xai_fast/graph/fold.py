"""Batch norm folded into the convolution before it: two passes over every row less."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from xai_fast.graph.nodes import Graph, Node, Ref, pruned

__all__ = ["folded"]

aten = torch.ops.aten


def folded(graph: Graph) -> Graph:
    """Fold a scale and a shift per channel into the convolution that they follow; values differ by rounding."""
    nodes = list(graph.nodes)
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.target is not aten.convolution.default or not node.per_item:
            continue
        scaling = _only_reader(graph, node, aten.mul.Tensor)
        shifting = _only_reader(graph, scaling, aten.add.Tensor) if scaling is not None else None
        if scaling is None or shifting is None or shifting.kwargs or node.args[6]:  # transposed weights differ
            continue
        scale, shift = _per_channel(graph, scaling, node), _per_channel(graph, shifting, scaling)
        weight = node.args[1]
        if scale is None or shift is None or not isinstance(weight, Ref) or weight.index not in constants:
            continue
        kernel = constants[weight.index]
        bias = constants[node.args[2].index] if isinstance(node.args[2], Ref) else None
        if not isinstance(kernel, Tensor):
            continue
        # The two nodes that fall away become the constants of the new convolution, in the place of the shift.
        _constant(nodes, constants, node.index, kernel * scale.reshape(-1, *([1] * (kernel.ndim - 1))))
        _constant(nodes, constants, scaling.index, shift + (bias * scale if isinstance(bias, Tensor) else 0))
        nodes[shifting.index] = replace(
            shifting,
            target=node.target,
            args=(node.args[0], Ref(node.index), Ref(scaling.index), *node.args[3:]),
            kwargs={},
            inputs=(node.inputs[0], node.index, scaling.index),
            path=node.path,
        )
    return pruned(replace(graph, nodes=tuple(nodes), constants=constants))


def _only_reader(graph: Graph, node: Node, target: object) -> Node | None:
    readers = graph.users.get(node.index, ())
    found = graph.nodes[readers[0]] if len(readers) == 1 and node.index != graph.output else None
    return found if found is not None and found.target is target and found.shape == node.shape else None


def _per_channel(graph: Graph, node: Node, source: Node) -> Tensor | None:
    """Return the constant operand beside ``source`` as one number per channel, if it is that."""
    if len(node.args) != 2 or node.shape is None:
        return None
    others = [a for a in node.args if not (isinstance(a, Ref) and a.index == source.index)]
    if len(others) != 1 or not isinstance(others[0], Ref):
        return None
    value = graph.constants.get(others[0].index)
    channels = node.shape[1]
    if not isinstance(value, Tensor) or value.ndim != len(node.shape) or value.shape[1] != channels:
        return None
    return value.flatten() if value.numel() == channels else None


def _constant(nodes: list[Node], constants: dict[int, object], index: int, value: Tensor) -> None:
    constants[index] = value
    nodes[index] = Node(index, nodes[index].name, None, (), {}, (), tuple(value.shape), False, False)
