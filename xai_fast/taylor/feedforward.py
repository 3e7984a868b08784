"""Feed-forward networks in a traced graph: a chain of linear maps and elementwise functions.

Whatever is linear in the item between two elementwise functions (products with weights, standardisation, batch norm in
evaluation mode, views, the choice of an output) is one matrix here, found by carrying the unit vectors through it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast import backends
from xai_fast.graph import Graph, State, run
from xai_fast.graph.lift import lifted
from xai_fast.kernels.feed_forward_values import PARAMETERS
from xai_fast.kernels.partition_sum import derivatives
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules.bilinear import MatrixProduct, Product
from xai_fast.taylor.rules.elementwise import Elementwise, Selection
from xai_fast.taylor.rules.linear import Structural, Sum

__all__ = ["Chain", "Layer", "chain_of"]


@dataclass(frozen=True)
class Layer:
    """y = s(W y_before + b).

    Attributes:
        weight: (U, U_before) W.
        bias: (U,) b.
        rule: of s.
        constants: of the graph, by node.
    """

    weight: Tensor
    bias: Tensor
    rule: Elementwise | Selection
    constants: Mapping[int, object]

    def derivatives(self, z: Tensor, orders: int) -> list[Tensor]:
        """Compute s and its derivatives at z (B, U), (B, U) each."""
        if isinstance(self.rule, Elementwise):
            return derivatives(self.rule.activation, self.rule.parameters, z, orders)
        node = self.rule.node
        value = z.reshape(z.shape[0], *(node.shape or ()))
        moves = [i == self.rule.source for i in node.inputs]
        inputs = [value if moved else self.constants[i] for i, moved in zip(node.inputs, moves, strict=True)]
        y = lifted(node, inputs, moves)
        if not isinstance(y, Tensor):
            raise TypeError(f"{node.name} has several outputs")
        slope = self.rule.slope(value).to(z.dtype).expand_as(value)
        return [y.flatten(1), slope.flatten(1), *[torch.zeros_like(z)] * (orders - 1)][: orders + 1]


@dataclass(frozen=True)
class Chain:
    """Layers with which a score begins.

    Attributes:
        program: in which the layers were found.
        layers: the first one reads the item's entries.
        nodes: of the layers' values.
        is_whole: whether the score is linear in the values of the last layer.
        weight: (1, U_last) of that linear map; None where it depends on the item, or is none.
    """

    program: Program
    layers: tuple[Layer, ...]
    nodes: tuple[int, ...]
    is_whole: bool
    weight: Tensor | None

    @property
    def last(self) -> int:
        """The node of the last layer's values."""
        return self.nodes[-1]

    @functools.cached_property
    def widths(self) -> list[int]:
        """The units of each layer."""
        return [layer.weight.shape[0] for layer in self.layers]

    @functools.cached_property
    def columns(self) -> list[slice]:
        """Where each layer lies among the units of all."""
        return [
            slice(end - width, end) for width, end in zip(self.widths, itertools.accumulate(self.widths), strict=True)
        ]

    @functools.cached_property
    def weights(self) -> Tensor:
        """The matrices behind the first layer, one after the other."""
        return torch.cat([self.layers[0].weight.new_empty(0), *(layer.weight.flatten() for layer in self.layers[1:])])

    @functools.cached_property
    def transposed(self) -> Tensor:
        """The transposes of all matrices, one after the other."""
        return torch.cat([layer.weight.T.flatten() for layer in self.layers])

    @functools.cached_property
    def transposed_behind_first(self) -> Tensor:
        """Those of ``weights``."""
        return self.transposed[self.layers[0].weight.numel() :]

    @functools.cached_property
    def units(self) -> int:
        """The units of all layers."""
        return sum(self.widths)

    @functools.cached_property
    def biases(self) -> Tensor:
        """The biases of all layers, one after the other."""
        return torch.cat([layer.bias for layer in self.layers])

    @functools.cached_property
    def functions(self) -> tuple[list[str], list[float]] | None:
        """The names of the elementwise functions and their parameters; None where some are piecewise linear."""
        names: list[str] = []
        parameters: list[float] = []
        for layer in self.layers:
            if not isinstance(layer.rule, Elementwise):
                return None
            names.append(layer.rule.activation)
            parameters += [*map(float, layer.rule.parameters), *[0.0] * PARAMETERS][:PARAMETERS]
        return names, parameters

    @functools.cached_property
    def is_piecewise_linear(self) -> bool:
        """Whether no layer has a second derivative."""
        return not any(isinstance(layer.rule, Elementwise) for layer in self.layers)

    def derivatives(self, x: Tensor, orders: int, run: Callable[..., None] | None = None) -> Tensor:
        """Return s and its derivatives at the values of all units, (B, orders + 1, U), of items (B, ...).

        ``orders`` is the highest derivative, 0 to 6, ``run`` the backend of `xai_fast.kernels.feed_forward_values`;
        None for the best.
        """
        s = x.new_empty(x.shape[0], orders + 1, self.units)
        y = x.flatten(1).contiguous()
        if self.functions is not None:
            # Past the operator's dispatch, which takes longer than a small network.
            run = run or backends.select("feed_forward_values", (s,)).run
            run(s, y, self.transposed, self.biases, self.widths, *self.functions)
            return s
        for layer, columns in zip(self.layers, self.columns, strict=True):
            # By a product for each item, so that no item's values depend on how many others there are.
            weight = layer.weight.expand(x.shape[0], *layer.weight.shape)
            z = torch.baddbmm(layer.bias.unsqueeze(1), weight, y.unsqueeze(2)).squeeze(2)
            of_layer = layer.derivatives(z, orders)
            s[:, :, columns] = torch.stack(of_layer, 1)
            y = of_layer[0]
        return s

    def state(self, derivatives: Tensor, extras: Sequence[Tensor]) -> State:
        """Return the values behind the chain; of the chain itself there are only the derivatives, of orders 0 to 2.

        These are (B, 3, U), see `derivatives`; ``extras`` (B, ...) are the other inputs of the graph.
        """
        parts = [derivatives[:, :, columns] for columns in self.columns]
        state = run(self.program.graph, parts[-1][:, 0].reshape(-1, *self._shape(self.last)[1:]), extras, self.last)
        for node, part in zip(self.nodes, parts, strict=True):
            known = [part[:, order].reshape(-1, *self._shape(node)) for order in range(3)]
            state.derivatives(node, lambda _, known=known: known, 2)  # type: ignore[misc]
        return state

    def _shape(self, node: int) -> tuple[int, ...]:
        return self.program.graph.nodes[node].shape or ()


def chain_of(program: Program, like: Tensor, most_weights: int) -> Chain | None:
    """Recognise a chain; None where the score begins otherwise, is linear, or a matrix has too many entries."""
    path = _path(program)
    found: list[tuple[int, list[int]]] = []
    before, segment = 0, list[int]()
    for index in path:
        segment.append(index)
        if not isinstance(program.rules[index], Elementwise | Selection):
            continue
        sizes = [program.graph.nodes[before].size, program.graph.nodes[index].size]
        if sizes[0] * max(sizes) > most_weights or any(_depends_on_item(program.graph, i) for i in segment[:-1]):
            return None
        found.append((before, segment))
        before, segment = index, []
    if not found:
        return None
    constants = State(dict(program.graph.constants), 1)
    layers = tuple(_layer(program, constants, like, start, nodes) for start, nodes in found)
    if any(layer.weight.dtype != like.dtype for layer in layers):  # the score changes it on the way
        return None
    is_whole = path[-1] == program.graph.output
    fixed = is_whole and not any(_depends_on_item(program.graph, i) for i in segment)
    last = _matrix(program, constants, like, before, program.graph.output) if fixed else None
    return Chain(program, layers, tuple(nodes[-1] for _, nodes in found), is_whole, last)


def _layer(program: Program, constants: State, like: Tensor, start: int, segment: Sequence[int]) -> Layer:
    rule = program.rules[segment[-1]]
    if not isinstance(rule, Elementwise | Selection):
        raise TypeError(f"expected an elementwise function at {rule.node.name}")
    weight = _matrix(program, constants, like, start, rule.source)
    bias = _offset(program, constants, like, start, segment[:-1])
    return Layer(weight, bias, rule, program.graph.constants)


def _path(program: Program) -> list[int]:
    """List the nodes behind the input as long as each is the only reader of the one before, linear or elementwise."""
    path: list[int] = []
    index = 0
    while index != program.graph.output:
        readers = program.graph.users.get(index, ())
        rule = program.rules.get(readers[0]) if len(readers) == 1 else None
        linear = isinstance(rule, Structural | Sum | Product | MatrixProduct) and not rule.curved
        if rule is None or len(rule.inputs) != 1 or not (linear or isinstance(rule, Elementwise | Selection)):
            break
        path.append(readers[0])
        index = readers[0]
    return path


def _depends_on_item(graph: Graph, index: int) -> bool:
    """Tell whether a linear node reads other tensors of the item, as the class that is picked is one."""
    return any(graph.nodes[i].per_item and not graph.nodes[i].active for i in graph.nodes[index].inputs)


def _matrix(program: Program, constants: State, like: Tensor, start: int, end: int) -> Tensor:
    """Write out a linear part of the graph: (entries of the end, entries of the start)."""
    count = program.graph.nodes[start].size
    eye = torch.eye(count, dtype=like.dtype, device=like.device)
    if start == end:
        return eye
    rows = eye.reshape(count, 1, *(program.graph.nodes[start].shape or ()))
    with torch.no_grad():
        return program.tangents(constants, {start: rows}, {end})[end].reshape(count, -1).T.contiguous()


def _offset(program: Program, constants: State, like: Tensor, start: int, segment: Sequence[int]) -> Tensor:
    """Compute what a linear part of the graph adds: its value at zero."""
    nodes = program.graph.nodes
    values = {**constants.values, start: like.new_zeros(1, *(nodes[start].shape or ()))}
    end = start
    with torch.no_grad():
        for end in segment:
            node = nodes[end]
            values[end] = lifted(node, [values[i] for i in node.inputs], [nodes[i].per_item for i in node.inputs])
    offset = values[end]
    if not isinstance(offset, Tensor):
        raise TypeError(f"node {end} has several outputs")
    return offset.flatten()
