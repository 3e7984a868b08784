"""Piecewise linear operations of a score: what they relate has no curvature, so mixed derivatives do not show it."""

from __future__ import annotations

import torch

from xai_fast.graph.nodes import Graph, Node, Ref
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules.choice import Choice, Extremum, Picked
from xai_fast.taylor.rules.elementwise import Selection

__all__ = ["kinks"]

aten = torch.ops.aten

_GUARD = 1e-6
"""A lower bound so close above zero keeps a division from zero, as in functional.normalize; it is no kink in practice.
"""

_ORDERED = ("lt", "le", "gt", "ge")


def kinks(program: Program) -> tuple[str, ...]:
    """Name the piecewise linear operations, such as "relu", through which the score depends on the features."""
    found: set[str] = set()
    waiting, seen = [program.graph.output], set()
    while waiting:
        index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        node = program.graph.nodes[index]
        rule = program.rules.get(index)
        if isinstance(rule, Selection | Choice | Extremum | Picked) and _bends(program.graph, node):
            operation = rule.operation if isinstance(rule, Picked) else node
            found.add(_name(operation))
        waiting.extend(i for i in (node.inputs if rule is None else rule.inputs) if program.graph.nodes[i].active)
    return tuple(sorted(found))


def _name(node: Node) -> str:
    return str(getattr(node.target, "_opname", node.name))


def _bends(graph: Graph, node: Node) -> bool:
    if node.target in (aten.clamp_min.default, aten.clamp.default):
        low, high = (
            node.args[at] if len(node.args) > at else node.kwargs.get(name) for at, name in ((1, "min"), (2, "max"))
        )
        return not (isinstance(low, float) and 0 < low <= _GUARD and high is None)
    if node.target is aten.where.self:
        return _compares(graph, node.args[0])
    return True


def _compares(graph: Graph, condition: object) -> bool:
    """Whether a condition is about the order of values; a mask is constant, and equality holds almost nowhere."""
    waiting = [condition.index] if isinstance(condition, Ref) else []
    while waiting:
        node = graph.nodes[waiting.pop()]
        if not node.per_item or node.active:
            continue
        if _name(node) in _ORDERED:
            return True
        waiting.extend(node.inputs)
    return False
