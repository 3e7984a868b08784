"""What is known of signs before a model runs: it saves products."""

from __future__ import annotations

import torch

from xai_fast.graph import Graph, Node
from xai_fast.graph.nodes import Ref
from xai_fast.graph.overloads import overloads_of
from xai_fast.taylor.rules.linear import RESHAPES

__all__ = ["is_rectified", "nonnegative_nodes"]

aten = torch.ops.aten

_NEVER_NEGATIVE = overloads_of(aten.relu, aten.relu6, aten.sigmoid, aten.hardsigmoid, aten.exp, aten.abs, aten._softmax)
_KEEPS = RESHAPES | overloads_of(
    aten.permute, aten.transpose, aten.t, aten.expand, aten.select, aten.slice, aten.sum, aten.mean, aten.avg_pool1d,
    aten.avg_pool2d, aten.avg_pool3d, aten._adaptive_avg_pool2d, aten.add, aten.mul, aten.cat, aten.amax, aten.maximum,
    aten.max_pool2d_with_indices, aten.max_pool3d_with_indices, aten.flip, aten.roll, aten.gather, aten.index_select,
    aten.pixel_shuffle, aten.upsample_nearest2d, aten.upsample_bilinear2d,
)  # fmt: skip


def nonnegative_nodes(graph: Graph) -> frozenset[int]:
    """Find the nodes whose values are never negative."""
    found: set[int] = set()
    for node in graph.nodes:
        value = graph.constants.get(node.index)
        if isinstance(value, torch.Tensor):
            known = not value.is_complex() and bool((value >= 0).all())
        elif node.target in _NEVER_NEGATIVE or _lower_bound(node) >= 0:
            known = True
        elif node.target is getattr(__import__("operator"), "getitem"):
            known = node.inputs[0] in found and node.args[1] == 0
        else:
            numbers = [a for a in node.args if isinstance(a, int | float)] if node.target in _SCALED else []
            known = node.target in _KEEPS and all(i in found for i in node.inputs) and all(n >= 0 for n in numbers)
        if known:
            found.add(node.index)
    return frozenset(found)


_SCALED = overloads_of(aten.add, aten.mul)


def _lower_bound(node: Node) -> float:
    at = {aten.hardtanh.default: 1, aten.clamp.default: 1, aten.clamp_min.default: 1}.get(node.target)
    if at is None or len(node.args) <= at or not isinstance(node.args[at], int | float):
        return -1.0
    return float(node.args[at])  # type: ignore[arg-type]


def is_rectified(graph: Graph, node: Node) -> bool:
    """Tell whether a node is read through functions only that are zero where it is not positive."""
    users = [graph.nodes[i] for i in graph.users.get(node.index, ())]
    return bool(users) and node.index != graph.output and all(
        user.target in (aten.relu.default, aten.relu6.default)
        or (user.target is aten.hardtanh.default and _lower_bound(user) == 0)
        or (user.target in RESHAPES and is_rectified(graph, user))
        for user in users
        if isinstance(user.args[0], Ref)
    )
