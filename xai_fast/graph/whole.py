"""A whole model traced for the items of a call: what comes of an item's inputs, targets and score in one pass."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from xai_fast.engine.call import Call
from xai_fast.errors import bad_argument
from xai_fast.graph.cut import Downstream
from xai_fast.graph.function import ScoreFunction, TracedFunction, traced
from xai_fast.graph.interpreter import State, complete
from xai_fast.graph.nodes import Graph
from xai_fast.graph.trace import SCORE

__all__ = ["Values", "WholeModel", "side_by_side"]


@dataclass(frozen=True, eq=False)
class Values:
    """The items of a chunk in a traced model.

    Attributes:
        traced: the graph of the score. Its input is what `WholeModel.inputs` undoes.
        state: the values of all nodes.
        targets: (B,) int64, or None where the score has no classes.
        scores: (B,).
    """

    traced: TracedFunction
    state: State
    targets: Tensor | None
    scores: Tensor

    @property
    def graph(self) -> Graph:
        """The operations."""
        return self.traced.graph

    def of_class(self, index: int) -> State:
        """Compute what depends on the class for another class than the target, the same for all items."""
        graph, node = self.graph, self.graph.extras
        depends = _following(graph, node)
        values = {i: value for i, value in self.state.values.items() if i not in depends}
        assert self.targets is not None
        values[node] = torch.full_like(self.targets, index).unsqueeze(1)
        complete(graph, values)
        return State(values, self.state.items)

    def at(self, x: Tensor, item: Tensor, point: Tensor | None = None) -> State:
        """Return the values of rows at other inputs (P, *shape), as `side_by_side` gives them, of items (R,) int64.

        The item's class and other arguments go with each row. ``point`` (R,) int64 is the input of each row, so that
        what they share is computed once; None where P = R.
        """
        graph = self.graph
        values: dict[int, object] = {**graph.constants, 0: x.unsqueeze(1)}
        if point is not None:
            complete(graph, values)  # what depends on an item is missing yet
            values = self._taken(values, point)
        values |= {i: self.state.tensor(i)[item] for i in range(1, 1 + graph.extras)}
        complete(graph, values)
        return State(values, len(item))

    def of_items(self, item: Tensor) -> State:
        """Give the values of some items, (R,) int64, each as often as it is named."""
        return State(self._taken(self.state.values, item), len(item))

    def _taken(self, values: Mapping[int, object], rows: Tensor) -> dict[int, object]:
        nodes = self.graph.nodes
        return {i: tree_map(lambda v: v[rows], v) if nodes[i].per_item else v for i, v in values.items()}

    @property
    def class_nodes(self) -> frozenset[int]:
        """The nodes that depend on the class."""
        return _following(self.graph, self.graph.extras) if self.targets is not None else frozenset()


class WholeModel:
    """A model as a function of one tensor, for methods that go through its operations.

    Several inputs lie side by side in that tensor, (B, N); a single one is itself. One object belongs to a method, so
    that the model is traced once.

    Args:
        model: the method's.
        fused: see `xai_fast.graph.decompositions.fusing`.
    """

    def __init__(self, model: Callable[..., object], fused: tuple[str, ...] = ()) -> None:
        self.model, self.fused = model, fused
        self._functions: dict[object, Callable[..., object]] = {}
        self._has_classes: dict[object, bool] = {}
        self._nodes: weakref.WeakKeyDictionary[TracedFunction, dict[str, int]] = weakref.WeakKeyDictionary()

    def values(self, call: Call, chunk: range) -> Values:
        """Return the values of a chunk's items, in the context of their call, with predicted targets if none is named.

        A `ModelError` says that the model cannot be traced, an `UnsupportedOperation` that an operation cannot, an
        `InputError` that parameters are in half precision, or that a target does not fit.
        """
        if call.narrow is not None:
            raise bad_argument("model", "parameters in float32 or float64", str(call.narrow))
        inputs, rows = call.take(chunk), call.extra.rows(call.positions(chunk))
        x = side_by_side(inputs)
        classes = None
        if self._classes(call):
            classes = torch.zeros(len(chunk), dtype=torch.int64, device=call.device)
        function = replace(ScoreFunction.of_call(self._function(call), call, rows, classes), fused=self.fused)
        found = traced(function, x)
        graph = found.graph
        values: dict[int, object] = {**graph.constants, 0: x.unsqueeze(1)}
        values |= {i: extra.unsqueeze(1) for i, extra in enumerate(function.extras, 1)}
        complete(graph, values)  # what depends on the class is missing yet
        targets = self._targets(call, chunk, found, values)
        if targets is not None:
            values[graph.extras] = targets.unsqueeze(1)
            complete(graph, values)
        state = State(values, len(chunk))
        return Values(found, state, targets, state.tensor(graph.output)[:, 0])

    def node(self, call: Call, values: Values, layer: str) -> int:
        """Return the node that is the output of a layer, by its value for the first item of a call.

        The layer is a dotted name; "name#k" is its k-th run. That there is none, or its output is not in the graph, is
        an `InputError`.
        """
        known = self._nodes.setdefault(values.traced, {})
        if layer not in known:
            cut = Downstream(self.model, layer, keywords=call.extra.keywords)
            first = call.positions(range(1))
            output, _ = cut.split(*call.take(range(1)), *call.extra.rows(first))
            name = layer.partition("#")[0]
            found = [
                (node.path == name or node.path.startswith(f"{name}."), node.index)
                for node in values.graph.nodes
                if node.active and node.shape == output.shape and _is_close(values.state.tensor(node.index)[0], output)
            ]
            if not found:
                expected = (
                    "a layer whose output the score depends on; a batch norm is one with the convolution before it"
                )
                raise bad_argument("layer", expected, layer)
            known[layer] = max(found)[1]
        return known[layer]

    def inputs(self, call: Call, rows: Tensor, leading: int = 1) -> Tensor | tuple[Tensor, ...]:
        """Give rows (..., *shape of the graph's input), with so many leading dimensions, the shapes of the inputs."""
        shapes = [tuple(value.shape[1:]) for value in call.values]
        if len(shapes) > 1:
            parts = torch.split(rows, [math.prod(shape) for shape in shapes], leading)
            return tuple(p.reshape(*p.shape[:leading], *s) for p, s in zip(parts, shapes, strict=True))
        return (rows,) if call.several else rows

    def _function(self, call: Call) -> Callable[..., object]:
        shapes = tuple(tuple(value.shape[1:]) for value in call.values)
        if call.at is not None or (len(shapes) == 1 and not call.extra.keywords):
            model = call.at or self.model
            if not isinstance(model, Downstream):
                return model
            # A call has one of its own each time.
            return self._functions.setdefault((model.name, model.keywords, model.batch_axis), model)
        key = (shapes, call.extra.keywords)
        return self._functions.setdefault(key, _SideBySide(self.model, *key))

    def _classes(self, call: Call) -> bool:
        """Tell whether scores have classes: not those of a callable target, nor a single output without one."""
        objective = call.objective
        if callable(objective.target) or objective.target is not None:
            return not callable(objective.target)
        key = tuple((value.shape[1:], value.dtype) for value in call.values)
        if key not in self._has_classes:
            outputs = call.run(call.take(range(1)), call.positions(range(1)))
            self._has_classes[key] = objective.targets(outputs, start=0, batch=1) is not None
        return self._has_classes[key]

    def _targets(self, call: Call, chunk: range, found: TracedFunction, values: dict[int, object]) -> Tensor | None:
        """Resolve the targets by the model's outputs, where these are a node; else by another pass."""
        if callable(call.objective.target):
            return call.targets(None, chunk)
        nodes = found.graph.nodes
        read = {i for node in nodes if node.path == SCORE for i in node.inputs}
        read = {i for i in read if nodes[i].path != SCORE and nodes[i].active}
        value = values.get(read.pop()) if len(read) == 1 else None
        if isinstance(value, Tensor) and value.ndim <= 3:
            return call.targets(value[:, 0], chunk)
        return call.targets(call.run(call.take(chunk), call.positions(chunk)), chunk)


def side_by_side(inputs: Sequence[Tensor]) -> Tensor:
    """Give the input of the graph, from those of the model: (B, N) for several, and a single one as it is."""
    x = inputs[0] if len(inputs) == 1 else torch.cat([value.flatten(1) for value in inputs], 1)
    return x.contiguous()  # rows of all kinds lie flat on the way back


class _SideBySide:
    """A model whose inputs lie side by side in one tensor, and whose last arguments have names."""

    def __init__(
        self, model: Callable[..., object], shapes: Sequence[tuple[int, ...]], keywords: Sequence[str]
    ) -> None:
        self.model = getattr(model, "_orig_mod", model)  # what torch.compile has made of a module cannot be traced
        self._shapes = tuple(shapes)
        self._keywords = tuple(keywords)

    def __call__(self, x: Tensor, *values: object) -> object:
        inputs: tuple[Tensor, ...] = (x,)
        if len(self._shapes) > 1:
            parts = torch.split(x, [math.prod(shape) for shape in self._shapes], 1)
            inputs = tuple(p.reshape(-1, *s) for p, s in zip(parts, self._shapes, strict=True))
        first = len(values) - len(self._keywords)
        return self.model(*inputs, *values[:first], **dict(zip(self._keywords, values[first:], strict=True)))


def _is_close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e3 * torch.finfo(b.dtype).eps * b.abs().max())


def _following(graph: Graph, index: int) -> frozenset[int]:
    found = {index}
    for node in graph.nodes[index + 1 :]:
        if any(i in found for i in node.inputs):
            found.add(node.index)
    return frozenset(found)
