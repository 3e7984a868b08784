"""Floating-point operations of one row through one node."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch

from xai_fast.taylor.graph import Graph, Node, Ref
from xai_fast.taylor.rules import Rule

__all__ = ["row_operations", "size_of"]

aten = torch.ops.aten
_MATRIX_PRODUCTS = (aten.mm.default, aten.bmm.default, aten.addmm.default)


class _Rules(Protocol):
    """What is asked of a program."""

    @property
    def graph(self) -> Graph: ...

    @property
    def rules(self) -> Mapping[int, Rule]: ...


def size_of(node: Node) -> int:
    """Return the entries of a node's value for one item."""
    return math.prod(node.shape) if node.shape is not None else 0


def row_operations(program: _Rules, node: Node) -> int:
    """Count the operations of one row through a node."""
    size = size_of(node)
    nodes = program.graph.nodes
    if node.target in _MATRIX_PRODUCTS:
        first = node.args[1] if node.target is aten.addmm.default else node.args[0]
        inner = (nodes[first.index].shape or (1,))[-1] if isinstance(first, Ref) else 1
        both = sum(nodes[i].active for i in dict.fromkeys(node.inputs)) if program.rules[node.index].curved else 1
        return 2 * size * inner * both
    if node.target is aten.convolution.default and isinstance(node.args[1], Ref):
        weight = nodes[node.args[1].index].shape or (1, 1)
        transposed = bool(node.args[6])
        taps = math.prod(weight[2:])
        if transposed:
            source = nodes[node.inputs[0]]
            return 2 * size_of(source) * weight[1] * taps
        return 2 * size * weight[1] * taps
    return size
