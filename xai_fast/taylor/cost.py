"""What a graph costs an item and a row: floating-point operations, and bytes alive at once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from xai_fast.taylor.graph import Node, Ref
from xai_fast.taylor.program import Program

__all__ = ["Cost", "cost_of"]

aten = torch.ops.aten
_MATRIX_PRODUCTS = (aten.mm.default, aten.bmm.default, aten.addmm.default)


@dataclass(frozen=True)
class Cost:
    """Counts for one item.

    Attributes:
        values: entries of all values, and of the derivatives that are kept.
        row_operations: floating-point operations to carry one row from its start to what is wanted.
        row_peak: entries of one row that are alive at once on the way.
        row_kept: entries of one row at the inputs of the curved nodes.
        pair_operations: floating-point operations to contract one pair of rows at all curved nodes.
    """

    values: int
    row_operations: int
    row_peak: int
    row_kept: int
    pair_operations: int


def _size(node: Node) -> int:
    return math.prod(node.shape) if node.shape is not None else 0


def _operations(program: Program, node: Node) -> int:
    """Count the operations of one row through a node."""
    size = _size(node)
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
            return 2 * _size(source) * weight[1] * taps
        return 2 * size * weight[1] * taps
    return size


def cost_of(program: Program, starts: Iterable[int] = (0,)) -> Cost:
    """Count.

    Args:
        program: the program.
        starts: the nodes where rows start.

    Returns:
        The counts.
    """
    nodes = program.graph.nodes
    wanted = program.curved_inputs()
    needed = program.ancestors(wanted)
    reached = set(starts)
    alive = {i: _size(nodes[i]) for i in reached}
    peak = sum(alive.values())
    operations = 0
    last = {i: index for index in program.rules if index in needed for i in program.rules[index].inputs}
    for index, rule in program.rules.items():
        if index not in needed or index in reached or not any(i in reached for i in rule.inputs):
            continue
        reached.add(index)
        operations += _operations(program, nodes[index])
        alive[index] = _size(nodes[index])
        peak = max(peak, sum(alive.values()))
        for i in set(rule.inputs):
            if last.get(i) == index and i not in wanted:
                alive.pop(i, None)
    kept = sum(_size(nodes[i]) for i in wanted if i in reached)
    pairs = sum(2 * _size(nodes[i]) for index in program.curved for i in program.rules[index].inputs)
    values = sum(_size(node) for node in nodes if node.per_item)
    derivatives = sum(_size(nodes[index]) for index, rule in program.rules.items() if rule.keeps_derivatives)
    return Cost(values + 2 * derivatives, operations, peak, kept, pairs)
