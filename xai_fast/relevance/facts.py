"""What is known of signs before a model runs: it saves products."""

from __future__ import annotations

import operator

import torch

from xai_fast.graph import Graph, Node
from xai_fast.graph.nodes import Ref
from xai_fast.graph.overloads import overloads_of
from xai_fast.taylor.rules.linear import RESHAPES

__all__ = ["is_gate", "is_rectified", "is_stop", "nonnegative_nodes"]

aten = torch.ops.aten

_NEVER_NEGATIVE = overloads_of(aten.relu, aten.relu6, aten.sigmoid, aten.hardsigmoid, aten.exp, aten.abs)
# Never negative where what they read, and the numbers among their arguments, are not.
_KEEPS = RESHAPES | overloads_of(
    aten.permute, aten.transpose, aten.t, aten.expand, aten.select, aten.slice, aten.sum, aten.mean, aten.avg_pool1d,
    aten.avg_pool2d, aten.avg_pool3d, aten._adaptive_avg_pool2d, aten.cat, aten.amax, aten.maximum, aten.reciprocal,
    aten.max_pool2d_with_indices, aten.max_pool3d_with_indices, aten.flip, aten.roll, aten.gather, aten.index_select,
    aten.pixel_shuffle, aten.upsample_nearest2d, aten.upsample_bilinear2d,
)  # fmt: skip
_KEEPS_WITH_NUMBERS = overloads_of(aten.add, aten.mul, aten.constant_pad_nd)
_BOUNDED_BELOW = (aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default)


def nonnegative_nodes(graph: Graph) -> frozenset[int]:
    """Find the nodes whose values are never negative."""
    found: set[int] = set()
    for node in graph.nodes:
        value = graph.constants.get(node.index)
        if isinstance(value, torch.Tensor):
            known = not value.is_complex() and bool((value >= 0).all())
        elif node.target in _NEVER_NEGATIVE or _lower_bound(node) >= 0:
            known = True
        else:
            first = node.target is operator.getitem and node.args[1] == 0
            given = [*node.args, *node.kwargs.values()] if node.target in _KEEPS_WITH_NUMBERS else []
            known = (first or node.target in _KEEPS or node.target in _KEEPS_WITH_NUMBERS) and all(
                i in found for i in node.inputs
            )
            known = known and all(number >= 0 for number in given if isinstance(number, int | float))
        if known:
            found.add(node.index)
    return frozenset(found)


def _lower_bound(node: Node) -> float:
    if node.target not in _BOUNDED_BELOW or len(node.args) < 2 or not isinstance(node.args[1], int | float):
        return -1.0
    return float(node.args[1])


def is_stop(node: Node) -> bool:
    """Tell whether an operation is 1 / x or 1 / sqrt(x), as norms and divisions have them, however it is written."""
    if node.target is aten.pow.Tensor_Scalar:
        return node.args[1] < 0  # type: ignore[operator]
    return node.target in (aten.rsqrt.default, aten.reciprocal.default)


def is_gate(node: Node) -> bool:
    """Tell whether an operation only opens or closes what it multiplies: bounded and never negative, or a stop."""
    if node.target is aten.hardtanh.default:
        return _lower_bound(node) >= 0
    return is_stop(node) or node.target in (aten.sigmoid.default, aten.hardsigmoid.default, aten.relu6.default)


def is_rectified(graph: Graph, node: Node) -> bool:
    """Tell whether a node is read through functions only that are zero where it is not positive."""
    users = [graph.nodes[i] for i in graph.users.get(node.index, ())]
    if not users or node.index == graph.output:
        return False
    return all(
        isinstance(user.args[0], Ref)
        and (
            user.target in (aten.relu.default, aten.relu6.default)
            or (user.target is aten.hardtanh.default and _lower_bound(user) == 0)
            or (user.target in RESHAPES and is_rectified(graph, user))
        )
        for user in users
    )
