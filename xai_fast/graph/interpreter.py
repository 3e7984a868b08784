"""The interpreter: the values of a traced graph's nodes for many items at once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Sequence

from torch import Tensor

from xai_fast.graph.lift import lifted
from xai_fast.graph.nodes import Graph

__all__ = ["State", "complete", "run"]


class State:
    """The values of all nodes for some items: (B, *shape) what depends on the item, constants as they are.

    Args:
        values: by node.
        items: B.
    """

    def __init__(self, values: dict[int, object], items: int) -> None:
        self.values = values
        self.items = items
        self._derivatives: dict[int, list[Tensor]] = {}

    def tensor(self, index: int) -> Tensor:
        """Return the value of a node that has one output."""
        value = self.values[index]
        if not isinstance(value, Tensor):
            raise TypeError(f"node {index} has several outputs")
        return value

    def derivatives(self, node: int, compute: Callable[[int], list[Tensor]], order: int) -> Tensor:
        """Return the derivative of that order of an elementwise node, computed once."""
        if len(self._derivatives.get(node, ())) <= order:
            self._derivatives[node] = compute(max(order, 2))
        return self._derivatives[node][order]


def run(graph: Graph, x: Tensor, extras: Sequence[Tensor] = (), start: int = 0) -> State:
    """Compute the values of all nodes.

    Args:
        graph: what `xai_fast.graph.trace` gave.
        x: (B, *shape), the shape of an item without the batch dimension of the graph's input.
        extras: (B, ...) each.
        start: a node of which ``x`` is the value, in the place of the input; only what follows from it and from the
            extras is computed then.

    Returns:
        The values.
    """
    values: dict[int, object] = dict(graph.constants)
    values[start] = x.unsqueeze(1)
    for index, given in enumerate(extras, 1):
        values[index] = given.unsqueeze(1)
    complete(graph, values)
    return State(values, x.shape[0])


def complete(graph: Graph, values: dict[int, object], only: Container[int] | None = None) -> None:
    """Compute the values that are missing, and follow from those that are there.

    Args:
        graph: the graph.
        values: by node, each with the dimension of items in front; what is computed is added.
        only: the nodes to compute; None for all.
    """
    nodes = graph.nodes
    for node in nodes[1:]:
        if node.index in values or (only is not None and node.index not in only):
            continue
        if not all(i in values for i in node.inputs) or node.target is None:
            continue
        if node.target is operator.getitem:
            values[node.index] = values[node.args[0].index][node.args[1]]  # type: ignore[attr-defined, index]
            continue
        values[node.index] = lifted(node, [values[i] for i in node.inputs], [nodes[i].per_item for i in node.inputs])
