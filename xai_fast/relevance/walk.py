"""The walk back: from a score's relevance to that of the input, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.graph import Graph, State
from xai_fast.graph.lift import aligned
from xai_fast.relevance.facts import is_rectified, nonnegative_nodes
from xai_fast.relevance.rules import Pulled, Rule, stabilised
from xai_fast.relevance.weighted import Weighted, weighted
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules.bilinear import Bilinear, MatrixProduct, Product
from xai_fast.taylor.rules.elementwise import Elementwise, Selection, Softmax
from xai_fast.taylor.rules.linear import RESHAPES, Structural, Sum

aten = torch.ops.aten

__all__ = ["Layers", "propagate"]

_STOPS = (aten.rsqrt.default, aten.reciprocal.default)
_GATES = (aten.sigmoid.default, aten.hardsigmoid.default, aten.hardtanh.default, aten.relu6.default, *_STOPS)
_SHAPED = RESHAPES | frozenset((aten.expand.default, aten.permute.default, aten.transpose.int))
_POOLS = frozenset(
    (aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default, aten._adaptive_avg_pool2d.default,
     aten.mean.dim, aten.mean.default, aten.sum.dim_IntList, aten.sum.default)
)  # fmt: skip


class Layers:
    """A graph as relevance sees it, made once per trace."""

    def __init__(self, graph: Graph) -> None:
        self.program = Program(graph, 2)
        self.graph = graph
        positive = nonnegative_nodes(graph)
        found = [weighted(graph, node, positive, is_rectified(graph, node)) for node in graph.nodes]
        self.weighted: dict[int, Weighted] = {w.node.index: w for w in found if w is not None}
        self.before_weights = _before(graph, self.weighted)


def _before(graph: Graph, layers: Mapping[int, Weighted]) -> frozenset[int]:
    """Find the nodes that no weights come before: the input, and what is padded, shifted or scaled of it."""
    after: set[int] = set()
    for node in graph.nodes:
        if node.index in layers or any(i in after for i in node.inputs):
            after.add(node.index)
    return frozenset(n.index for n in graph.nodes if n.index not in after and n.active)


def propagate(
    layers: Layers,
    state: State,
    seeds: Mapping[int, Tensor],
    rules: Mapping[int, Rule],
    *,
    bias: bool = True,
    attention: str = "shared",
    eps: float = 1e-6,
) -> Tensor:
    """Carry relevance back to the input.

    Args:
        layers: the graph.
        state: its values.
        seeds: (T, B, *shape) coefficients where the walk starts, by node.
        rules: of the layers with weights, by node.
        bias: whether biases take their share.
        attention: see `xai_fast.relevance.composite.Composite`.
        eps: for sums and pools.

    Returns:
        (T, B, *shape of the input).
    """
    program, graph = layers.program, layers.graph
    coefficients: dict[int, Tensor] = dict(seeds)
    relevance: dict[int, Tensor] = {}
    for index in range(len(graph.nodes) - 1, 0, -1):
        c, r = coefficients.pop(index, None), relevance.pop(index, None)
        rule = program.rules.get(index)
        if rule is None:
            continue
        if r is not None:  # before the first weights: what is padded, shifted or scaled
            for source, part in rule.pull(state, r).items() if isinstance(rule, Structural) else _whole(rule, r).items():
                relevance[source] = relevance[source] + part if source in relevance else part
        if c is None:
            continue
        if index in layers.weighted:
            layer = layers.weighted[index]
            pulled = rules[index].pull(layer, state.tensor(layer.source), state.tensor(index), c, bias)
            if pulled.relevance is not None:
                known = relevance.get(layer.source)
                relevance[layer.source] = pulled.relevance if known is None else known + pulled.relevance
            parts = {} if pulled.coefficient is None else {layer.source: pulled.coefficient}
        else:
            parts = _pull(program, state, rule, c, eps, attention)
        for source, part in parts.items():
            coefficients[source] = coefficients[source] + part if source in coefficients else part
    x = state.tensor(0)
    total = relevance.get(0)
    if 0 in coefficients:
        own = x * coefficients[0]
        total = own if total is None else total + own
    if total is None:
        total = torch.zeros_like(x).unsqueeze(0)
    return total


def _whole(rule: object, r: Tensor) -> dict[int, Tensor]:
    inputs = rule.inputs  # type: ignore[attr-defined]
    if len(inputs) != 1:
        raise NotImplementedError
    return {inputs[0]: r}


def _pull(program: Program, state: State, rule: object, c: Tensor, eps: float, attention: str) -> dict[int, Tensor]:
    node = rule.node  # type: ignore[attr-defined]
    if node.target in _STOPS:
        return {}
    if isinstance(rule, Elementwise | Selection):
        x, y = state.tensor(rule.source), state.tensor(node.index)
        if node.target is aten.relu.default:
            return {rule.source: c * (x > 0)}
        return {rule.source: c * torch.where(x == 0, 0, y / x)}
    if isinstance(rule, Softmax) and attention == "constant":
        return {}
    if isinstance(rule, Product | MatrixProduct) and rule.curved:
        return _shared_by_factors(program, state, rule, c, attention)
    if (isinstance(rule, Sum) and len(rule.terms) == 2) or node.target in _POOLS:
        z = state.tensor(node.index)
        c = c * (z / stabilised(z, eps))
    return rule.pull(state, c)  # type: ignore[attr-defined]


def _shared_by_factors(program: Program, state: State, rule: Bilinear, c: Tensor, attention: str) -> dict[int, Tensor]:
    """Give both factors half the relevance, or all to one where the other is a gate, or attention that is constant."""
    places = [operand.index for operand in rule.operands]  # type: ignore[attr-defined]
    gates = [_opens(program.graph, i) or (attention == "constant" and _is_attention(program, i)) for i in places]
    shares = (0.5, 0.5) if gates[0] == gates[1] else (float(gates[1]), float(gates[0]))
    pulls = rule.pull_first, rule.pull_second
    pulled: dict[int, Tensor] = {}
    for which, (share, pull) in enumerate(zip(shares, pulls, strict=True)):
        if share:
            part = share * pull(c, rule.operand(state, 1 - which))
            pulled[places[which]] = pulled[places[which]] + part if places[which] in pulled else part
    return pulled


def _opens(graph: Graph, index: int) -> bool:
    """Tell whether a node is a gate: a bounded activation that is never negative, or the divisor of a norm."""
    node = graph.nodes[index]
    while node.target in _SHAPED:
        node = graph.nodes[node.inputs[0]]
    return node.target in _GATES


def _is_attention(program: Program, index: int) -> bool:
    """Tell whether a node is a softmax, but for its shape."""
    node = program.graph.nodes[index]
    while node.target in _SHAPED:
        node = program.graph.nodes[node.inputs[0]]
    return isinstance(program.rules.get(node.index), Softmax)
