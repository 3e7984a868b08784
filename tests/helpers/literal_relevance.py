"""LRP beside its literal reference, item by item."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from xai_fast import Explanation
from xai_fast.attribution.lrp import LRP
from xai_fast.engine.call import Call
from xai_fast.graph import State
from xai_fast.graph.function import TracedFunction
from xai_fast.graph.whole import Values, WholeModel
from xai_fast.relevance.composite import COMPOSITES, Composite
from xai_fast.relevance.ledger import Relevance
from xai_fast.relevance.reference import LiteralRelevance
from xai_fast.relevance.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, ZPlus
from xai_fast.relevance.walk import Layers


def everywhere(rule: Rule, first: Rule | None = None) -> Composite:
    return Composite({"first": first or rule, "convolution": rule, "dense": rule})


RULES: dict[str, Composite] = {
    "epsilon": everywhere(Epsilon()),
    "z+": everywhere(ZPlus()),
    "alpha-beta": everywhere(AlphaBeta(alpha=3.0, beta=2.0)),
    "gamma": everywhere(Gamma(gamma=0.3)),
    "zB": everywhere(Gamma(), ZBox()),
    "zB everywhere": everywhere(ZBox()),
    "w2": everywhere(ZPlus(), WSquare()),
    "flat": everywhere(AlphaBeta(), Flat()),
    "epsilon, attention constant": COMPOSITES["cp_lrp"],
}


_WHOLE: weakref.WeakKeyDictionary[Callable[..., object], tuple[WholeModel, WholeModel]] = weakref.WeakKeyDictionary()
"""By model, so that all rules share its traces: that of the method, and one with all operations written out."""


class SeenLRP(LRP):
    """LRP that keeps the values of the last chunk, and the nodes of its layers, all operations written out."""

    seen: Values
    nodes: list[int]

    def __init__(self, model: Callable[..., object], **options: Any) -> None:
        super().__init__(model, **options)
        self._whole, self._written_out = _WHOLE.setdefault(model, (self._whole, WholeModel(model)))

    def _relevance(self, call: Call, chunk: range) -> Relevance:
        self.seen = self._written_out.values(call, chunk)
        self.nodes = [self._written_out.node(call, self.seen, name) for name in self.layer]
        return super()._relevance(call, chunk)


@dataclass
class _Known:
    """What rules share of a graph: what its operations are, and their Jacobians by node, source and values read."""

    kinds: Mapping[int, Any]
    names: list[str]
    jacobians: dict[object, Tensor] = field(default_factory=dict)


_KNOWN: weakref.WeakKeyDictionary[TracedFunction, _Known] = weakref.WeakKeyDictionary()


@dataclass
class _Remembering(LiteralRelevance):
    """The literal reference, which computes each Jacobian once."""

    known: _Known | None = None

    def __post_init__(self) -> None:
        if self.known is None:
            super().__post_init__()
            self.known = _Known(self.kinds, self.names)
        self.kinds, self.names = self.known.kinds, self.known.names

    def _jacobian(self, node: int, source: int, given: Mapping[int, Tensor] | None = None) -> Tensor:
        nodes = self.graph.nodes
        operation = nodes[node] if self.names[node] else nodes[nodes[node].inputs[0]]
        read = [self.values[i].contiguous().numpy().tobytes() for i in operation.inputs if nodes[i].per_item]
        key = (node, source, tuple(given or ()), *read)
        if key not in self.known.jacobians:
            self.known.jacobians[key] = super()._jacobian(node, source, given)
        return self.known.jacobians[key]


def literal(method: SeenLRP, index: int | None = None) -> dict[int, Tensor]:
    """Compute the relevance of all nodes, (B, *shape), of the values that were seen last, or of another class."""
    values = method.seen
    graph, state = values.graph, values.state if index is None else values.of_class(index)
    composite = COMPOSITES[method.composite] if isinstance(method.composite, str) else method.composite
    rules = {i: composite.rule(position) for i, position in values.traced.derived(Layers).positions.items()}
    bounds = None if method.low is None or method.high is None else (method.low, method.high)
    found = []
    with torch.no_grad():
        for i in range(state.items):
            options = (method.bias, bounds, composite.attention, composite.eps)
            item = _Remembering(graph, _item(graph, state, i), rules, *options, known=_KNOWN.get(values.traced))
            _KNOWN[values.traced] = item.known
            score = state.tensor(graph.output)[i, 0]
            found.append(item.of(score if method.start == "score" else torch.ones_like(score)))
    return {i: torch.cat([item[i] for item in found]) for i in found[0]}


def _item(graph: Any, state: State, i: int) -> dict[int, Any]:
    return {
        n: tree_map(lambda v: v[i : i + 1], value) if graph.nodes[n].per_item else value
        for n, value in state.values.items()
    }


def joined(found: Explanation) -> Tensor:
    """Lay the attributions side by side: (B, N)."""
    parts = found.attributions if isinstance(found.attributions, tuple) else (found.attributions,)
    return torch.cat([part.flatten(1) for part in parts], 1)


def relative(got: Tensor, expected: Tensor) -> float:
    """Give the largest difference, relative to the largest entry; nodes have a dimension of size 1 more than items."""
    expected = expected.reshape(got.shape)
    assert expected.isfinite().all()
    largest = float(expected.abs().max())
    return float((got - expected).abs().max()) / (largest or 1.0)
