"""Relevance by the formulas of the papers, node by node and in full: the definition that the fast path must equal.

For each operation y = f(a) of a traced graph, the contribution of an input entry a_j to an output entry y_k is
J_kj a_j, with J the Jacobian at a; where f has weights W, J = W, and the rest of y is the bias b. The relevance R of
the outputs is shared by these numbers. A relevance that arrives at a value of zero ends there, as nothing contributes.

Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation", PLoS
ONE 2015; Montavon et al., "Explaining NonLinear Classification Decisions with Deep Taylor Decomposition", 2017, and
"Layer-Wise Relevance Propagation: An Overview", 2019; Ali et al., "XAI for Transformers: Better Explanations through
Conservative Propagation", 2022; Achtibat et al., "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for
Transformers", 2024.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai_fast.graph import Graph, Node, State
from xai_fast.graph.interpreter import complete
from xai_fast.graph.lift import aligned, lifted, summed_to
from xai_fast.graph.nodes import Ref
from xai_fast.relevance.composite import Composite, Position
from xai_fast.relevance.rules import AlphaBeta, Flat, Gamma, Rule, WSquare, ZBox, ZPlus

__all__ = ["relevance_reference"]

# Where the operation has a, W and b.
_LAYERS = {"convolution": (0, 1, 2), "addmm": (1, 2, 0), "mm": (0, 1, None), "bmm": (0, 1, None)}
_POOLS = ("mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")
_STOPS = ("rsqrt", "reciprocal")
_GATES = (*_STOPS, "sigmoid", "hardsigmoid", "hardtanh", "relu6")
_VIEWS = ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "clone", "alias", "expand", "permute", "transpose")
_VIEWS += ("where",)  # behind a softmax, for rows in which all is masked


def relevance_reference(
    graph: Graph,
    state: State,
    composite: Composite,
    seeds: Tensor,
    bias: str = "absorb",
    bounds: tuple[float, float] | None = None,
) -> dict[int, Tensor]:
    """Share the relevance of scores among all that they are computed from, one item at a time.

    Args:
        graph: of the score.
        state: its values for B items, float64.
        composite: the rules.
        seeds: (B,) the relevance of the scores.
        bias: see `xai_fast.attribution.lrp.LRP`.
        bounds: the smallest and the largest value of an input; None for those of each item.

    Returns:
        (B, *shape) the relevance of each node that has any in some item.
    """
    items = []
    for i, seed in enumerate(seeds):
        values = {
            n.index: _item(state.values[n.index], i) if n.per_item else state.values[n.index]
            for n in graph.nodes
            if n.index in state.values
        }
        items.append(_Item(graph, values, composite, bias, bounds).back(seed))
    reached = sorted(set().union(*items))
    return {
        i: torch.cat([found.get(i, torch.zeros(graph.nodes[i].shape or ()).unsqueeze(0)) for found in items])
        for i in reached
    }


def _item(value: object, i: int) -> object:
    """Cut out an item, with a leading dimension of size 1."""
    return value[i : i + 1] if isinstance(value, Tensor) else tuple(v[i : i + 1] for v in value)  # type: ignore[attr-defined]


def _name(node: Node) -> str:
    return getattr(getattr(node.target, "overloadpacket", None), "__name__", "")


def _stab(z: Tensor, eps: float = 1e-6) -> Tensor:
    return torch.where(z >= 0, z + eps, z - eps)


def _added(to: dict[int, Tensor], index: int, relevance: Tensor) -> None:
    to[index] = to[index] + relevance if index in to else relevance


@dataclass
class _Item:
    """One item: (1, *shape) by node."""

    graph: Graph
    values: dict[int, object]
    composite: Composite
    bias: str
    bounds: tuple[float, float] | None
    shared: dict[int, Tensor] = field(default_factory=dict)
    """Relevance that what a node reads gets by its contributions."""
    placed: dict[int, Tensor] = field(default_factory=dict)
    """Relevance of places, whatever their values are: that of the first layer by zB, w2 and flat."""

    def __post_init__(self) -> None:
        layers = [node for node in self.graph.nodes if self._has_weights(node)]
        after: set[int] = set()
        for node in self.graph.nodes:
            if node in layers or any(i in after for i in node.inputs):
                after.add(node.index)
        kinds = ["convolution" if _name(node) == "convolution" else "dense" for node in layers]
        self.positions = {
            node.index: Position(
                kinds[i], node.path, kinds[:i].count(kinds[i]), kinds.count(kinds[i]), self._source(node) not in after
            )
            for i, node in enumerate(layers)
        }

    def back(self, seed: Tensor) -> dict[int, Tensor]:
        found = {}
        self.shared[self.graph.output] = seed.reshape(1, 1)
        for node in reversed(self.graph.nodes):
            r, placed = self.shared.pop(node.index, None), self.placed.pop(node.index, None)
            if r is None and placed is None:
                continue
            found[node.index] = sum(part for part in (r, placed) if part is not None)
            if not node.inputs:
                continue
            if placed is not None and not self._move(node, placed):
                y = self._value(node.index)
                r = (0 if r is None else r) + placed * y / _stab(y)
            if r is not None and node.index in self.positions:
                self._layer(node, r)
            elif r is not None:
                self._operation(node, r)
        return found

    def _layer(self, node: Node, r: Tensor) -> None:
        """Share by the rule of a layer with weights."""
        source, position = self._source(node), self.positions[node.index]
        rule = self.composite.rule(position)
        a, z = self._value(source), self._value(node.index)
        w = self._jacobian(node, source)
        contributions = w * a.flatten()
        b = z.flatten() - contributions.sum(1)
        b = torch.zeros_like(b) if self.bias == "zero" else b
        if isinstance(rule, Flat):
            weight = node.args[_LAYERS[_name(node)][1]].index  # type: ignore[union-attr]
            w = self._jacobian(node, source, {weight: torch.ones_like(self._value(weight))})
        low, high = self._bounds(source) if position.is_first else (a.amin(), a.amax())
        low, high = (bound.expand(a.shape).flatten() for bound in (low, high))
        shares, taken = _shares(rule, w, contributions, b, z.flatten(), low, high)
        if self.bias == "keep":
            size = contributions.abs()
            shares = shares + taken[:, None] * size / _stab(size.sum(1, keepdim=True))
        into = self.placed if isinstance(rule, ZBox | WSquare) else self.shared
        _added(into, source, (shares * r.flatten()[:, None]).sum(0).reshape(a.shape))

    def _operation(self, node: Node, r: Tensor) -> None:
        """Share by what an operation without weights does."""
        name, y = _name(node), self._value(node.index)
        active = self._active(node)
        x = self._value(active[0])
        if name in _STOPS:
            return
        softmax = self._softmax(node)
        if softmax is not None:
            source, dims = softmax
            x = self._value(source)
            if self.composite.attention == "shared":  # Achtibat et al. 2024, Eq. 13
                _added(self.shared, source, torch.where(y == 0, 0, x * (r - y * r.sum(dims, keepdim=True))))
        elif name == "exp":
            source = self._unshifted(active[0])
            _added(self.shared, source, self._value(source) * r)  # x exp(x) / exp(x)
        elif name == "log":
            _added(self.shared, active[0], torch.where(y == 0, 0, r / y))  # x (1 / x) / log x
        elif len(factors := self._factors(node)) > 0:
            gates = [self._is_gate(i) for i in factors]
            for i, own, other in zip(factors, gates, reversed(gates), strict=True):
                _added(self.shared, i, self._by_contribution(node, r * (0.5 if own == other else float(other)), [i])[i])
        elif name in ("add", "sub", "rsub"):
            self._sum(node, r)
        elif self._is_pointwise(node) and name not in ("where", "mul", "clone"):
            _added(self.shared, active[0], torch.where(x == 0, 0, r))  # an activation
        else:
            r = r * y / _stab(y) if name in _POOLS else r
            for i, part in self._by_contribution(node, r, active).items():
                _added(self.shared, i, part)

    def _sum(self, node: Node, r: Tensor) -> None:
        """Share by the two terms of a sum, of which one may be a bias."""
        active, y = self._active(node), self._value(node.index)
        others = [o for o in node.args[:2] if not isinstance(o, Ref) or o.index not in active]
        is_bias = bool(others) and not (isinstance(others[0], Ref) and self.graph.nodes[others[0].index].per_item)
        if is_bias and self.bias != "absorb":
            sign = -1 if _name(node) == "rsub" else 1
            term = sign * aligned(self._value(active[0]), 1, y.ndim - 1).expand(y.shape)
            _added(self.shared, active[0], self._summed(r * term / _stab(term), active[0]))
            return
        for i, part in self._by_contribution(node, r if others else r * y / _stab(y), active).items():
            _added(self.shared, i, part)

    def _move(self, node: Node, r: Tensor) -> bool:
        """Move relevance of places through an operation on each entry, or one that copies entries; tell whether."""
        active = self._active(node)
        if self._is_pointwise(node) and len(active) == 1 and _name(node) != "where":
            _added(self.placed, active[0], self._summed(r, active[0]))
            return True
        jacobians = [self._jacobian(node, i) for i in active]
        entries = torch.cat(jacobians, 1)
        if ((entries != 0).sum(1) > 1).any() or ((entries != 0) & (entries != 1)).any():
            return False
        for i, copies in zip(active, jacobians, strict=True):
            _added(self.placed, i, (r.flatten() @ copies).reshape(self._value(i).shape))
        return True

    def _by_contribution(self, node: Node, r: Tensor, sources: Sequence[int]) -> dict[int, Tensor]:
        """Compute a_j times the sum over k of J_kj R_k / y_k."""
        y = self._value(node.index)
        points = [self._value(i).detach().requires_grad_() for i in sources]
        with torch.enable_grad():
            result = self._run(node, dict(zip(sources, points, strict=True)))
            found = torch.autograd.grad(result, points, torch.where(y == 0, 0, r / y))
        return {i: torch.where(g == 0, 0, self._value(i) * g) for i, g in zip(sources, found, strict=True)}

    def _jacobian(self, node: Node, source: int, given: dict[int, Tensor] | None = None) -> Tensor:
        """Compute (outputs, entries of the source)."""
        a = self._value(source)
        j = torch.func.jacrev(lambda a: self._run(node, {**(given or {}), source: a}))(a)
        return j.reshape(-1, a.numel())

    def _run(self, node: Node, given: dict[int, Tensor]) -> Tensor:
        """Compute a node with other values of what it reads."""
        operation = self.graph.nodes[node.inputs[0]] if node.target is operator.getitem else node
        values = [given.get(i, self.values[i]) for i in operation.inputs]
        result = lifted(operation, values, [self.graph.nodes[i].per_item for i in operation.inputs])
        return result if operation is node else result[node.args[1]]  # type: ignore[index, return-value]

    def _bounds(self, source: int) -> tuple[Tensor, Tensor]:
        """Compute what a first layer reads at the bounds of the input."""
        x = self._value(0)
        found = []
        for bound in self.bounds or (x.amin(), x.amax()):
            values = {i: value for i, value in self.values.items() if not self.graph.nodes[i].active}
            values[0] = torch.full_like(x, float(bound))
            complete(self.graph, values)
            found.append(values[source])
        return torch.minimum(*found), torch.maximum(*found)

    def _value(self, index: int) -> Tensor:
        value = self.values[index]
        assert isinstance(value, Tensor)
        return value

    def _summed(self, r: Tensor, index: int) -> Tensor:
        return summed_to(r, 1, self.graph.nodes[index].shape or ())

    def _active(self, node: Node) -> list[int]:
        """Find what a node reads that depends on the input; of an entry of several outputs, what the operation reads."""
        inputs = self.graph.nodes[node.inputs[0]].inputs if node.target is operator.getitem else node.inputs
        return [i for i in dict.fromkeys(inputs) if self.graph.nodes[i].active]

    def _has_weights(self, node: Node) -> bool:
        if _name(node) not in _LAYERS or not node.active:
            return False
        a, w, _ = _LAYERS[_name(node)]
        return self.graph.nodes[node.args[a].index].active and not self.graph.nodes[node.args[w].index].per_item

    def _source(self, node: Node) -> int:
        return node.args[_LAYERS[_name(node)][0]].index

    def _factors(self, node: Node) -> list[int]:
        """Find the two factors of a product that both depend on the input; one for a square."""
        factors = [a.index for a in node.args if isinstance(a, Ref) and self.graph.nodes[a.index].active]
        return list(dict.fromkeys(factors)) if _name(node) in ("mul", "mm", "bmm", "addmm") and len(factors) == 2 else []

    def _is_pointwise(self, node: Node) -> bool:
        return torch.Tag.pointwise in getattr(node.target, "tags", ()) or _name(node) in ("hardswish", "_prelu_kernel")

    def _is_gate(self, index: int) -> bool:
        node = self.graph.nodes[index]
        while _name(node) in _VIEWS and len(self._active(node)) == 1:
            node = self.graph.nodes[self._active(node)[0]]
        return _name(node) in _GATES or (self.composite.attention == "constant" and self._softmax(node) is not None)

    def _softmax(self, node: Node) -> tuple[int, list[int]] | None:
        """Find the source and the dimensions, counted from the end, of exp(x) times the reciprocal of its sum."""
        nodes = self.graph.nodes
        factors = [nodes[a.index] for a in node.args if isinstance(a, Ref)]
        if _name(node) != "mul" or [_name(f) for f in factors] != ["exp", "reciprocal"]:
            return None
        total = nodes[factors[1].inputs[0]]
        if _name(total) != "sum" or total.inputs != (factors[0].index,):
            return None
        rank = len(node.shape or ())
        return self._unshifted(factors[0].inputs[0]), [d % rank - rank for d in total.args[1]]

    def _unshifted(self, index: int) -> int:
        """Find x of x - max x, in which the maximum is detached."""
        node = self.graph.nodes[index]
        others = [self.graph.nodes[i] for i in node.inputs[1:]]
        is_shift = _name(node) == "sub" and len(others) == 1 and others[0].per_item and not others[0].active
        return node.inputs[0] if is_shift else index


def _shares(
    rule: Rule, w: Tensor, contributions: Tensor, b: Tensor, z: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute what each input gets of the relevance of each unit, (outputs, inputs), and what the bias takes."""

    def of(part: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        whole = _stab(part.sum(1) + bias, rule.eps)
        return part / whole[:, None], bias / whole

    signs = [(contributions.clamp(min=0), b.clamp(min=0)), (contributions.clamp(max=0), b.clamp(max=0))]
    none = torch.zeros_like(b)
    if isinstance(rule, ZBox):  # Montavon et al. 2017, Eq. 18
        return of(contributions - low * w.clamp(min=0) - high * w.clamp(max=0), none)
    if isinstance(rule, Flat):
        return of(w, none)
    if isinstance(rule, WSquare):  # Montavon et al. 2017, Eq. 12
        return of(w.square(), b.square())
    if isinstance(rule, ZPlus):  # Montavon et al. 2017, Eq. 17
        return of(*signs[0])
    if isinstance(rule, AlphaBeta):  # Bach et al. 2015, Eq. 60
        (plus, plus_taken), (minus, minus_taken) = of(*signs[0]), of(*signs[1])
        return rule.alpha * plus - rule.beta * minus, rule.alpha * plus_taken - rule.beta * minus_taken
    if isinstance(rule, Gamma):  # Montavon et al. 2019, Table 1
        above = z > 0
        more = torch.where(above[:, None], signs[0][0], signs[1][0])
        return of(contributions + rule.gamma * more, b + rule.gamma * torch.where(above, signs[0][1], signs[1][1]))
    return of(contributions, b)  # Bach et al. 2015, Eq. 58
