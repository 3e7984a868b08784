"""The interpreter: the values of a traced graph's nodes for many items at once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Sequence

from torch import Tensor

from xai_fast.graph.lift import lifted
from xai_fast.graph.nodes import Graph

__all__ = ["ItemScores", "State", "complete", "run"]


class State:
    """The values of all nodes for some items: ``(B, *shape)`` what depends on the item, constants as they are.

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
    """Return the values of all nodes, for items ``(B, *shape)`` of the graph's input and ``extras`` (B, ...) each.

    With ``start``, ``x`` is the value of this node, in the place of the input; only what follows from it and from the
    extras is computed then.
    """
    values: dict[int, object] = dict(graph.constants)
    values[start] = x.unsqueeze(1)
    for index, given in enumerate(extras, 1):
        values[index] = given.unsqueeze(1)
    complete(graph, values)
    return State(values, x.shape[0])


class ItemScores:
    """A traced score at many inputs of each item.

    What does not depend on the input, such as another branch of a model, is computed once per item.

    Args:
        graph: of the score.
        extras: (B, ...) each.
    """

    def __init__(self, graph: Graph, extras: Sequence[Tensor]) -> None:
        self._graph = graph
        known: dict[int, object] = dict(graph.constants)
        known |= {index: extra.unsqueeze(1) for index, extra in enumerate(extras, 1)}
        complete(graph, known)
        self._missing = {node.index for node in graph.nodes if node.index not in known}
        read = {i for index in self._missing for i in graph.nodes[index].inputs}
        self._known = {i: value for i, value in known.items() if i in read}

    def __call__(self, x: Tensor, item: Tensor) -> Tensor:
        """Compute scores (R,) of inputs ``(R, *shape)`` of items (R,) int64."""
        nodes = self._graph.nodes
        values: dict[int, object] = {
            i: value[item] if nodes[i].per_item and isinstance(value, Tensor) else value
            for i, value in self._known.items()
        }
        values[0] = x.unsqueeze(1)
        complete(self._graph, values, self._missing, free=True)
        scores = values[self._graph.output]
        assert isinstance(scores, Tensor)
        return scores[:, 0]


def complete(
    graph: Graph, values: dict[int, object], only: Container[int] | None = None, *, free: bool = False
) -> None:
    """Compute the values, of ``only`` these nodes, that are missing, and add them to those that are there, by node.

    Each has the dimension of items in front. With ``free`` a value is taken out after the last node that reads it.
    """
    nodes = graph.nodes
    for node in nodes[1:]:
        if node.index in values or (only is not None and node.index not in only):
            continue
        if not all(i in values for i in node.inputs) or node.target is None:
            continue
        if node.target is operator.getitem:
            values[node.index] = values[node.args[0].index][node.args[1]]  # type: ignore[attr-defined, index]
        else:
            leads = [nodes[i].per_item for i in node.inputs]
            values[node.index] = lifted(node, [values[i] for i in node.inputs], leads)
        for i in set(node.inputs) if free else ():
            if graph.users[i][-1] == node.index:
                del values[i]
