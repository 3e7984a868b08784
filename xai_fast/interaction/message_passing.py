"""Message passing in the traced graph of a graph network: products with adjacencies, and what lies between them.

Every tensor with a row per node has an axis of nodes. Operations that leave rows apart keep it; a product over it, or
messages that are gathered along edges and added where these end, is a step of message passing. So a network is levels
of maps that act on rows, and adjacencies between them; what comes after the rows are mixed otherwise is the readout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xai_fast.errors import ModelError, UnsupportedOperation
from xai_fast.graph import Graph, Node, Ref, State
from xai_fast.relevance.rules import Local
from xai_fast.relevance.walk import Layers, Walk
from xai_fast.relevance.weighted import Weighted
from xai_fast.taylor.rules import Rule
from xai_fast.taylor.rules.bilinear import MatrixProduct, Product
from xai_fast.taylor.rules.choice import Choice
from xai_fast.taylor.rules.elementwise import Elementwise, Selection, Softmax
from xai_fast.taylor.rules.linear import Concatenation, Structural, Sum

__all__ = ["MessagePassing", "Passing", "Term"]

aten = torch.ops.aten

_GATHERS = (aten.index_select.default, aten.index.Tensor, aten.gather.default)
_ADDS = (aten.index_add.default, aten.scatter_add.default, aten.index_put.default)
_ENTRIES = 1 << 22  # of rows that are sent through a product at once


class Term(NamedTuple):
    """A part of the transitions from a level m >= 1 to the level below.

    Attributes:
        level: m.
        adjacency: (B, n, n), row k has what node k takes from each node.
        maps: (B, n, D_m, D_(m-1)), what of a coefficient at node k goes to what it takes.
    """

    level: int
    adjacency: Tensor
    maps: Tensor


@dataclass(frozen=True)
class Passing:
    """A product with an adjacency.

    Attributes:
        chain: the operations of which it is made; the last one has a row per node again.
        factor: what is multiplied.
        layer: the layer before it, if both are one linear map, with the bias that is added to the product.
    """

    chain: tuple[Rule, ...]
    factor: int
    layer: Weighted | None = None

    @property
    def source(self) -> int:
        """What is multiplied, or what the layer reads."""
        return self.factor if self.layer is None else self.layer.source


class MessagePassing:
    """The levels of a graph network.

    Args:
        graph: of a score; its input is (1, n, d), n >= 2, its first extra the adjacency or the edges.

    Attributes:
        layers: the graph as relevance sees it.
        axes: of the nodes, by node of the graph, counted from the end.
        passings: the products, by the node of their result.
        steps: L, how many there are on the longest way.
        states: L + 1 tuples of nodes: what is known of a node at each level.
        attends: whether one of the adjacencies depends on the features.

    Raises:
        UnsupportedOperation: something is no such network; the operation is named.
        ModelError: there is no message passing.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.layers = graph, Layers(graph)
        self.rules = self.layers.program.rules
        self.nodes = graph.input_shape[1]
        self.axes = {0: -2}
        for index, rule in self.rules.items():
            axis = self._axis(rule)
            if axis is not None and len(rule.shape) >= -axis and rule.shape[axis] == self.nodes:
                self.axes[index] = axis
        # The adjacency, or the edges and their weights; nothing where these are constants. Classes have one axis.
        self._given = {node.index for node in graph.nodes[1 : 1 + graph.extras] if len(node.shape or ()) > 1}
        for node in graph.nodes:
            if not node.active and any(i in self._given for i in node.inputs):
                self._given.add(node.index)
        self.passings: dict[int, Passing] = {}
        sources: dict[int, tuple[int, ...]] = {0: ()}
        todo = [graph.output]
        while todo:
            index = todo.pop()
            if index not in sources:
                sources[index] = self._sources(index)
                todo += sources[index]
        self.levels: dict[int, int] = {}
        for index in sorted(sources):
            if index in self.axes:
                self.levels[index] = max((self.levels[i] for i in sources[index]), default=0) + (index in self.passings)
        last: dict[int, int] = {}
        for reader, read in sources.items():
            for i in read:
                last[i] = max(last.get(i, 0), self.levels.get(reader, len(graph.nodes)))
        self.steps = max(self.levels.values(), default=0)
        if not self.steps:
            raise ModelError("model: expected message passing, products of features with the adjacency, got none")
        self.states = [
            tuple(i for i, level in self.levels.items() if level <= m < last[i]) for m in range(self.steps + 1)
        ]
        self.attends = any(rule.curved for passing in self.passings.values() for rule in passing.chain)

    def _axis(self, rule: Rule) -> int | None:
        """Find the axis of nodes of a result, if it has one."""
        node = rule.node
        if node.target in _ADDS:
            place: Any = node.args[1]
            if isinstance(place, list | tuple):
                return -len(rule.shape) if isinstance(place[0], Ref) else None
            return int(place) % len(rule.shape) - len(rule.shape)
        known = [self.axes.get(i) for i in rule.inputs]
        if isinstance(rule, MatrixProduct):
            return self._axis_of_product(rule)
        if None in known or len(set(known)) != 1:
            return None
        (axis,) = set(known)
        assert axis is not None
        if isinstance(rule, Softmax):
            return None if axis % len(rule.shape) in [d % len(rule.shape) for d in rule.dims] else axis
        if isinstance(rule, Concatenation):
            return None if rule.dim - 2 == axis % len(rule.shape) else axis
        if isinstance(rule, Elementwise | Selection | Sum | Product | Choice):
            return axis
        if isinstance(rule, Structural) and rule.operation.inputs == (rule.source,):
            return self._axis_of_view(rule)
        return None

    def _axis_of_product(self, rule: MatrixProduct) -> int | None:
        axes = [self.axes.get(o.index) if isinstance(o, Ref) else None for o in rule.operands]
        if (axes[0] is None) == (axes[1] is None):
            return None
        which, axis = (0, axes[0]) if axes[0] is not None else (1, axes[1])
        other = (-1, -2)[which]  # the contracted axis
        return axis if axis != other or rule.node.index not in self.layers.weighted else None

    def _sent(self, rule: Structural, rows: Tensor) -> Tensor:
        """Send rows (n, F) through an operation that moves entries."""
        given = _unrows(rows, self.graph.nodes[rule.source].shape or (), self.axes[rule.source])
        return rule.tangent(State({}, 1), {rule.source: given[None, None]})[0, 0]

    def _axis_of_view(self, rule: Structural) -> int | None:
        """Send the numbers of the nodes, and look along which axis they come out."""
        numbers = torch.arange(1.0, 1 + self.nodes, dtype=torch.float64)[:, None]
        found = self._sent(rule, numbers.expand(-1, self._features(rule.source)))
        for place in range(-1, -found.ndim - 1, -1):
            if found.shape[place] == self.nodes:
                rows = found.movedim(place, 0).reshape(self.nodes, -1)
                if bool((rows[0] != 0).all()) and torch.allclose(rows, numbers * rows[0]):
                    return place
        return None

    def _sources(self, index: int) -> tuple[int, ...]:
        """Tell what a node reads, a product with an adjacency as one step."""
        rule = self.rules[index]
        node = rule.operation if isinstance(rule, Structural) else rule.node
        if index not in self.axes:
            if self._given.intersection(node.inputs) or (not self._given and node.target in _GATHERS[:2]):
                while not any(i in self.axes for i in rule.inputs):  # where the rows were mixed
                    rule = self.rules[rule.inputs[0]]
                raise self._refused(rule.node)
            return rule.inputs
        passing = self._passing(rule)
        if passing is not None:
            self.passings[index] = passing
            return (passing.source,)
        size = max(self.graph.nodes[i].size for i in rule.inputs)
        if any(i not in self.axes for i in rule.inputs) or (node.size > size and set(node.inputs) & self._given):
            raise self._refused(node)
        return rule.inputs

    def _passing(self, rule: Rule) -> Passing | None:
        """Recognise a product with an adjacency, with the layer before and the bias behind it."""
        bias, below = None, rule
        if rule.node.target is aten.add.Tensor and not rule.node.kwargs and len(rule.inputs) == 1:
            sizes = ((self._features(rule.node.index),), -2)
            constants = [self.graph.constants.get(i) for i in rule.node.inputs]
            vectors = [c for c in constants if isinstance(c, Tensor) and (c.shape, self.axes[rule.node.index]) == sizes]
            index = self._below(rule.inputs[0], lambda index: len(self.graph.users[index]) == 1)
            if vectors and index in self.rules:
                bias, below = vectors[0], self.rules[index]
        found = self._product(below)
        layer = None if found is None else self._layer(found.factor)
        if found is None or layer is None:
            return found if below is rule else None
        return replace(found, layer=replace(layer, bias=bias, is_nonnegative=False))

    def _product(self, rule: Rule) -> Passing | None:
        if isinstance(rule, MatrixProduct):
            for factor, contracted in zip(rule.operands, (-1, -2), strict=True):
                if isinstance(factor, Ref) and self.axes.get(factor.index) == contracted:
                    return Passing((rule,), factor.index)
        if rule.node.target not in _ADDS:
            return None
        chain = self._messages(rule.inputs[0]) if len(rule.inputs) == 1 else None
        if chain is None:
            raise self._refused(rule.node)
        return Passing((*chain, rule), chain[0].inputs[0])

    def _messages(self, index: int) -> tuple[Rule, ...] | None:
        """Follow messages back to where rows are gathered; None where they are more than that times numbers."""
        rule = self.rules.get(index)
        if rule is None or index in self.axes:
            return None
        if rule.node.target in _GATHERS and rule.inputs[0] in self.axes:
            return (rule,)
        # Of two factors that depend on the input, one is attention.
        sources = rule.inputs if isinstance(rule, Structural | Product) else ()
        found = [chain for i in sources if (chain := self._messages(i)) is not None]
        return (*found[0], rule) if len(found) == 1 else None

    def _layer(self, index: int) -> Weighted | None:
        """Find the layer without bias whose output, but for its shape, is multiplied."""
        index = self._below(index, lambda index: index not in self.layers.weighted)
        layer = self.layers.weighted.get(index)
        if layer is None or layer.kind != "dense" or layer.bias is not None:
            return None
        return layer if self.axes.get(index) == self.axes.get(layer.source) == -2 else None

    def _below(self, index: int, goes_on: Callable[[int], bool]) -> int:
        """Go down through operations that keep the rows as they are, the features in the same order."""
        rule = self.rules.get(index)
        while goes_on(index) and isinstance(rule, Structural) and rule.operation.inputs == (rule.source,):
            numbers = torch.arange(1.0, 1 + self._features(rule.source), dtype=torch.float64).expand(self.nodes, -1)
            if not torch.equal(_rows(self._sent(rule, numbers), self.axes[index], 0), numbers):
                break
            index, rule = rule.source, self.rules.get(rule.source)
        return index

    def _refused(self, node: Node) -> UnsupportedOperation:
        return UnsupportedOperation(
            "model: expected message passing that is a product of features with an adjacency, and operations on the "
            f"rows of nodes between such products, got {node.target} (at {node.name})"
        )

    def adjacencies(self, passing: Passing, state: State) -> list[tuple[Tensor, Tensor]]:
        """Return what a product multiplies by: what it makes of rows that are 1 at one node.

        There is an adjacency (B, n, n) for each head, with the features (F,) that it multiplies, 1 or 0. That other
        rows show something else is an `UnsupportedOperation`.
        """
        items, shape, axis = state.items, self.graph.nodes[passing.factor].shape or (), self.axes[passing.factor]
        like = _rows(state.tensor(passing.factor), axis, 1)
        rule, which = passing.chain[0], 0 if axis == -1 else 1
        if isinstance(rule, MatrixProduct):
            other = rule.operands[1 - which]
            if isinstance(other, Ref) and self.graph.nodes[other.index].size == self.nodes**2:  # of one head
                matrix = state.tensor(other.index).reshape(-1, self.nodes, self.nodes).expand(items, -1, -1)
                return [((matrix if which else matrix.mT).clone(), torch.ones_like(like[0, 0]))]

        def through(rows: Tensor) -> Tensor:
            """Multiply rows (T, B, n, F)."""
            start, values = passing.factor, _unrows(rows, shape, axis)
            for rule in passing.chain:
                values = rule.tangent(state, {start: values})
                start = rule.node.index
            return _rows(values, self.axes[start], 2)

        numbers = torch.arange(like.numel(), dtype=like.dtype, device=like.device).add(1).sin().reshape(like.shape)
        products = through(numbers[None, :, :, :1].expand(1, *like.shape))[0].flatten(0, 1)
        heads: list[Tensor] = []
        while (rest := ~torch.stack([*heads, torch.zeros_like(products[0], dtype=torch.bool)]).any(0)).any():
            first = products[:, int(rest.nonzero()[0])]
            heads.append(rest & torch.isclose(products, first[:, None], 1e-4, 1e-6, equal_nan=True).all(0))
        columns = []
        ones = torch.eye(self.nodes, dtype=like.dtype, device=like.device)
        for part in torch.split(ones, max(1, _ENTRIES // like.numel())):
            rows = through(part[:, None, :, None].expand(-1, items, -1, like.shape[2]))
            columns.append(torch.stack([rows[..., int(head.nonzero()[0])] for head in heads]))
        matrices = torch.cat(columns, 1).permute(0, 2, 3, 1)
        found = [(matrix, head.to(like)) for matrix, head in zip(matrices, heads, strict=True)]
        rest = through(numbers[None])[0] - sum(matrix @ (numbers * head) for matrix, head in found)
        if not float(rest.abs().max()) <= 1e-4 * max(1.0, float(matrices.abs().max())):
            raise self._refused(passing.chain[-1].node)
        return found

    def _features(self, index: int) -> int:
        return self.graph.nodes[index].size // self.nodes

    def transitions(self, walk: Walk) -> tuple[Tensor, list[Term], Tensor]:
        """Return what all walks are made of, from the values of B graphs and the rules; the walk is used up.

        These are the coefficients (B, n, D_L) of the last level, the terms from the last level to the first one, and
        the relevance (B, n, D_0) that a coefficient of 1 in the first level gives to the input of a node.
        """
        state, output = walk.state, self.graph.output
        seed = torch.ones_like(state.tensor(output))[None]
        top = self._matrix(walk.back({output: seed}, until=self.states[-1].__contains__), self.states[-1], state)
        terms: list[Term] = []
        for level in range(self.steps, 0, -1):
            terms += self._terms(walk, level)
        below = walk.back(self._seeds(self.states[0], state), (0,))
        inputs = self._matrix(below, (0,), state).sum(3, keepdim=True)
        return top[:, :, 0], terms, inputs[..., 0]

    def _terms(self, walk: Walk, level: int) -> list[Term]:
        state, upper, lower = walk.state, self.states[level], self.states[level - 1]
        results = [i for i in self.passings if self.levels[i] == level]
        own = [i for i in upper if self.levels[i] == level]
        found = walk.back(self._seeds(upper, state, own), until={*lower, *results}.__contains__)
        terms = []
        stays = {i: rows for i, rows in found.items() if i in lower}
        stays |= self._seeds(upper, state, [i for i in upper if i not in own])
        if stays:
            same = torch.eye(self.nodes, dtype=state.tensor(0).dtype, device=state.tensor(0).device)
            terms.append(Term(level, same.expand(state.items, -1, -1), self._matrix(stays, lower, state)))
        for index in results:
            passing, rows = self.passings[index], _rows(found[index], self.axes[index], 2)
            for matrix, mask in self.adjacencies(passing, state):
                pulled = self._through(walk, passing, index, matrix, rows * mask)
                terms.append(Term(level, matrix, self._matrix({passing.source: pulled}, lower, state)))
        return terms

    def _through(self, walk: Walk, passing: Passing, index: int, matrix: Tensor, rows: Tensor) -> Tensor:
        """Take coefficients (T, B, n, F) of a product to what is multiplied, or what the layer before it reads."""
        state, layer, source = walk.state, passing.layer, passing.source
        if layer is None:
            return _unrows(rows, self.graph.nodes[source].shape or (), self.axes[source])
        shape = layer.node.shape or ()
        a = (matrix @ _rows(state.tensor(source), self.axes[source], 1)).reshape(-1, *layer.shape)
        z = _rows(state.tensor(index), self.axes[index], 1).reshape(-1, *shape)
        rule = walk.composite.rule(self.layers.positions[layer.node.index])
        return rule.share(Local(layer, a, z, layer.bias)).pull(rows.reshape(*rows.shape[:2], *shape).contiguous())

    def _seeds(self, nodes: tuple[int, ...], state: State, only: Sequence[int] | None = None) -> dict[int, Tensor]:
        """Give a row for each feature of some tensors of a level, T in all: (T, B, *shape), 1 at this feature."""
        sizes = [self._features(i) for i in nodes]
        ones = torch.eye(sum(sizes), dtype=state.tensor(0).dtype, device=state.tensor(0).device)
        seeds = {}
        for index, part in zip(nodes, torch.split(ones, sizes, 1), strict=True):
            rows = part[:, None, None].expand(-1, state.items, self.nodes, -1)
            if only is None or index in only:
                seeds[index] = _unrows(rows, self.graph.nodes[index].shape or (), self.axes[index])
        return seeds

    def _matrix(self, rows: Mapping[int, Tensor], nodes: Sequence[int], state: State) -> Tensor:
        """Put rows (T, B, *shape) side by side: (B, n, T, features of all ``nodes``); zero where there are none."""
        (count,) = {len(part) for part in rows.values()} or {1}
        parts = [
            _rows(rows[i], self.axes[i], 2)
            if i in rows
            else state.tensor(0).new_zeros(count, state.items, self.nodes, self._features(i))
            for i in nodes
        ]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, 3)).permute(1, 2, 0, 3).contiguous()


def _rows(values: Tensor, axis: int, leading: int) -> Tensor:
    """Give values (*leading, *shape) as (*leading, n, F)."""
    rows = values.movedim(axis, leading)
    return rows.unsqueeze(-1) if rows.ndim == leading + 1 else rows.flatten(leading + 1)


def _unrows(rows: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    """Undo `_rows`."""
    rest = [size for place, size in enumerate(shape) if place != axis % len(shape)]
    return rows.reshape(*rows.shape[:-1], *rest).movedim(rows.ndim - 2, axis)
