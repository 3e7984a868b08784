"""The traced graph: operations on the tensors of one item, in an order in which they can be run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

__all__ = ["Graph", "Node", "Ref", "filled", "pruned"]


@dataclass(frozen=True)
class Ref:
    """An argument that is the value of another node."""

    index: int


@dataclass(frozen=True)
class Node:
    """One operation on the tensors of one item.

    Attributes:
        index: its place in `Graph.nodes`.
        name: for error messages.
        target: the ATen overload; None for inputs and constants; `operator.getitem` picks from several outputs.
        args: positional arguments, with `Ref` in the place of tensors.
        kwargs: keyword arguments, likewise.
        inputs: the nodes it reads, in the order of the arguments.
        shape: of its value for one item, the batch dimension of size 1 included; None for several outputs.
        per_item: whether the value depends on the item; else it is a constant, kept in `Graph.constants`.
        active: whether the value depends differentiably on the input.
        path: the dotted name of the innermost module in whose forward pass the operation ran; "" for the model itself.
    """

    index: int
    name: str
    target: Callable[..., object] | None
    args: tuple[object, ...]
    kwargs: dict[str, object]
    inputs: tuple[int, ...]
    shape: tuple[int, ...] | None
    per_item: bool
    active: bool
    path: str = ""

    @property
    def size(self) -> int:
        """The entries of its value for one item; 0 for several outputs."""
        return 0 if self.shape is None else math.prod(self.shape)


@dataclass(frozen=True)
class Graph:
    """The operations between an input and a score, in an order in which they can be run.

    Attributes:
        nodes: all of them; the first is the input, the next ``extras`` are other tensors with one row per item.
        constants: values that do not depend on the item, by node.
        extras: how many other inputs there are.
        output: the node of the score, shape (1,).
        reads: the tensors that the function takes from elsewhere: parameters, buffers, whatever a closure holds.
        users: the nodes that read each node.
    """

    nodes: tuple[Node, ...]
    constants: dict[int, object]
    extras: int
    output: int
    reads: tuple[Tensor, ...] = ()
    users: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one item of the input, with its batch dimension of size 1."""
        shape = self.nodes[0].shape
        return () if shape is None else shape


def filled(value: object, values: Mapping[int, object]) -> Any:
    """Replace every `Ref` in an argument, or a container of some, by its value."""
    if isinstance(value, Ref):
        return values[value.index]
    if isinstance(value, tuple | list):
        return type(value)(filled(v, values) for v in value)
    if isinstance(value, dict):
        return {k: filled(v, values) for k, v in value.items()}
    return value


def pruned(graph: Graph) -> Graph:
    """Leave out what the score does not need; the inputs stay."""
    needed = {graph.output} | set(range(1 + graph.extras))
    for node in reversed(graph.nodes):
        if node.index in needed and node.per_item:
            needed.update(node.inputs)
    kept = [node for node in graph.nodes if node.index in needed]
    place = {node.index: at for at, node in enumerate(kept)}

    def moved(value: object) -> object:
        if isinstance(value, Ref):
            return Ref(place[value.index])
        if isinstance(value, tuple | list):
            return type(value)(moved(v) for v in value)
        if isinstance(value, dict):
            return {k: moved(v) for k, v in value.items()}
        return value

    nodes = []
    users: dict[int, list[int]] = {}
    for at, node in enumerate(kept):
        if node.per_item:
            args: Any = moved(node.args)
            kwargs: Any = moved(node.kwargs)
            inputs = tuple(place[i] for i in node.inputs)
            nodes.append(replace(node, index=at, args=args, kwargs=kwargs, inputs=inputs))
        else:
            nodes.append(replace(node, index=at, args=(), kwargs={}, inputs=()))
        for i in nodes[-1].inputs:
            users.setdefault(i, []).append(at)
    constants = {place[i]: value for i, value in graph.constants.items() if i in place}
    return replace(
        graph,
        nodes=tuple(nodes),
        constants=constants,
        output=place[graph.output],
        users={i: tuple(u) for i, u in users.items()},
    )
