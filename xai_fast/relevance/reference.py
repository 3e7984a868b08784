"""Relevance by the formulas of the papers, node by node for one item: the definition that the fast path must equal.

An input entry a_j of an operation contributes J_kj a_j to its output entry y_k, with J the Jacobian at a. In a layer
with weights J is W, and the rest of y is the bias b. Outputs share their relevance R by these numbers. Relevance that
arrives at zero ends there, as nothing contributes to it.

Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation", PLoS
ONE 2015; Montavon et al., "Explaining NonLinear Classification Decisions with Deep Taylor Decomposition", 2017, and
"Layer-Wise Relevance Propagation: An Overview", 2019; Achtibat et al., "AttnLRP", 2024.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from xai_fast.graph import Graph, Node, State
from xai_fast.graph.interpreter import complete
from xai_fast.graph.lift import lifted, summed_to
from xai_fast.graph.nodes import Ref
from xai_fast.relevance.composite import Composite, Position
from xai_fast.relevance.rules import AlphaBeta, Flat, Gamma, Rule, WSquare, ZBox, ZPlus

__all__ = ["relevance_reference"]

_LAYERS = {"convolution": (0, 1), "addmm": (1, 2), "mm": (0, 1), "bmm": (0, 1)}  # where a and W are
_PRODUCTS = ("mul", "mm", "bmm", "addmm")
_POOLS = ("mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")
_STOPS = ("rsqrt", "reciprocal")
_GATES = (*_STOPS, "sigmoid", "hardsigmoid", "hardtanh", "relu6")
_VIEWS = ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "clone", "alias", "expand", "permute", "transpose")


def relevance_reference(
    graph: Graph,
    state: State,
    composite: Composite,
    seeds: Tensor,
    bias: str = "absorb",
    bounds: tuple[float, float] | None = None,
) -> dict[int, Tensor]:
    """Share the relevance of scores among all that they are computed from.

    Args:
        graph: of the score.
        state: its values for B items, float64.
        composite: the rules.
        seeds: (B,) the relevance of the scores.
        bias: see `xai_fast.attribution.lrp.LRP`.
        bounds: the smallest and the largest value of an input; None for those of each item.

    Returns:
        (B, *shape) the relevance of each node that has any.
    """
    items = []
    for at, seed in enumerate(seeds):
        cut = {
            i: tree_map(lambda v, at=at: v[at : at + 1], value) if graph.nodes[i].per_item else value
            for i, value in state.values.items()
        }
        items.append(_Item(graph, cut, composite, bias, bounds).back(seed))
    return {i: torch.cat([found[i] for found in items]) for i in items[0]}


@dataclass
class _Item:
    """The values of an item by node, (1, *shape), and the relevance that has come to nodes from above.

    ``shared`` goes on by contributions; ``placed`` belongs to places, whatever their values: below zB, w2 and flat.
    """

    graph: Graph
    values: dict[int, Any]
    composite: Composite
    bias: str
    bounds: tuple[float, float] | None
    shared: dict[int, Tensor] = field(default_factory=dict)
    placed: dict[int, Tensor] = field(default_factory=dict)

    def back(self, seed: Tensor) -> dict[int, Tensor]:
        found: dict[int, Tensor] = {}
        positions = self._positions()
        self.shared[self.graph.output] = seed.reshape(1, 1)
        for node in reversed(self.graph.nodes):
            shared, placed = self.shared.pop(node.index, None), self.placed.pop(node.index, None)
            for part in (shared, placed):
                if part is not None:
                    found[node.index] = found.get(node.index, 0) + part
            if not node.inputs:
                continue
            if placed is not None and not self._move(node, placed):
                y = self.values[node.index]
                shared = (0 if shared is None else shared) + placed * y / _stab(y)
            if shared is not None and node.index in positions:
                self._layer(node, shared, positions[node.index])
            elif shared is not None:
                for source, part in self._operation(node, shared).items():
                    self.shared[source] = self.shared.get(source, 0) + part
        return found

    def _layer(self, node: Node, r: Tensor, position: Position) -> None:
        """Share by the rule of a layer with weights."""
        rule, (source, weight) = self.composite.rule(position), self._weighted(node)
        a, z = self.values[source], self.values[node.index].flatten()
        w = self._jacobian(node, source)
        contributions = w * a.flatten()
        b = torch.zeros_like(z) if self.bias == "zero" else z - contributions.sum(1)
        if isinstance(rule, Flat):
            w = self._jacobian(node, source, {weight: torch.ones_like(self.values[weight])})
        bounds = self._bounds(source) if position.is_first else (a.amin(), a.amax())
        low, high = (bound.expand(a.shape).flatten() for bound in bounds)
        shares, taken = _shares(rule, w, contributions, b, z, low, high)
        if self.bias == "keep":
            size = contributions.abs()
            shares = shares + taken[:, None] * size / _stab(size.sum(1, keepdim=True))
        into = self.placed if isinstance(rule, ZBox | WSquare) else self.shared
        into[source] = into.get(source, 0) + (r.flatten() @ shares).reshape(a.shape)

    def _operation(self, node: Node, r: Tensor) -> dict[int, Tensor]:
        """Share by what an operation without weights does."""
        name, y, active, factors = _name(node), self.values[node.index], self._active(node), self._factors(node)
        x = self.values[active[0]]
        softmax = self._softmax(node)
        if name in _STOPS or (softmax and self.composite.attention == "constant"):
            return {}
        if softmax:  # Achtibat et al. 2024, Eq. 13
            source, dims = softmax
            return {source: torch.where(y == 0, 0, self.values[source] * (r - y * r.sum(dims, keepdim=True)))}
        if name == "exp":
            source = self._unshifted(active[0])
            return {source: self.values[source] * r}
        if name == "log":
            return {active[0]: torch.where(y == 0, 0, r / y)}
        if factors:
            gates = [self._is_gate(i) for i in factors]
            parts = [0.5 if gates[0] == gates[-1] else float(other) for other in reversed(gates)]
            return {i: self._by_contribution(node, r * part, [i])[i] for i, part in zip(factors, parts, strict=True)}
        if name in ("add", "sub", "rsub"):
            terms = [self.graph.nodes[o.index] if isinstance(o, Ref) else None for o in node.args[:2]]
            if all(term and term.active for term in terms):
                r = r * y / _stab(y)
            elif self.bias != "absorb" and not all(term and term.per_item for term in terms):
                return {active[0]: x / _stab(x) * self._summed(r, active[0])}
        elif self._is_entrywise(node):
            return {active[0]: torch.where(x == 0, 0, self._summed(r, active[0]))}
        return self._by_contribution(node, r * y / _stab(y) if name in _POOLS else r, active)

    def _move(self, node: Node, r: Tensor) -> bool:
        """Move relevance of places through an operation on each entry, or one that copies entries; tell whether."""
        active = self._active(node)
        if self._is_entrywise(node):
            moved = [self._summed(r, active[0])]
        else:
            copies = [self._jacobian(node, i) for i in active]
            entries = torch.cat(copies, 1)
            if ((entries != 0) & (entries != 1)).any() or (entries.sum(1) > 1).any():
                return False
            moved = [(r.flatten() @ j).reshape(self.values[i].shape) for i, j in zip(active, copies, strict=True)]
        for i, part in zip(active, moved, strict=True):
            self.placed[i] = self.placed.get(i, 0) + part
        return True

    def _by_contribution(self, node: Node, r: Tensor, sources: Sequence[int]) -> dict[int, Tensor]:
        """Compute a_j times the sum over k of J_kj R_k / y_k."""
        y = self.values[node.index]
        points = [self.values[i].detach().requires_grad_() for i in sources]
        with torch.enable_grad():
            result = self._run(node, dict(zip(sources, points, strict=True)))
            found = torch.autograd.grad(result, points, torch.where(y == 0, 0, r / y))
        return {i: torch.where(g == 0, 0, self.values[i] * g) for i, g in zip(sources, found, strict=True)}

    def _jacobian(self, node: Node, source: int, given: dict[int, Tensor] | None = None) -> Tensor:
        """Compute J, (outputs, entries of the source)."""
        j: Tensor = torch.func.jacrev(lambda a: self._run(node, {**(given or {}), source: a}))(self.values[source])
        return j.reshape(-1, self.values[source].numel())

    def _run(self, node: Node, given: dict[int, Tensor]) -> Any:
        """Compute a node with other values of what it reads."""
        operation = self.graph.nodes[node.inputs[0]] if node.target is operator.getitem else node
        values = [given.get(i, self.values[i]) for i in operation.inputs]
        result: Any = lifted(operation, values, [self.graph.nodes[i].per_item for i in operation.inputs])
        return result if operation is node else result[node.args[1]]

    def _bounds(self, source: int) -> tuple[Tensor, Tensor]:
        """Compute what a first layer reads at the bounds of the input."""
        found = []
        for bound in self.bounds or (self.values[0].amin(), self.values[0].amax()):
            values = {i: value for i, value in self.values.items() if not self.graph.nodes[i].active}
            values[0] = torch.full_like(self.values[0], float(bound))
            complete(self.graph, values)
            found.append(values[source])
        return torch.minimum(*found), torch.maximum(*found)

    def _positions(self) -> dict[int, Position]:
        layers = [node for node in self.graph.nodes if self._weighted(node)]
        after: set[int] = set()
        for node in self.graph.nodes:
            if node in layers or any(i in after for i in node.inputs):
                after.add(node.index)
        kinds = ["convolution" if _name(node) == "convolution" else "dense" for node in layers]
        return {
            n.index: Position(k, n.path, kinds[:at].count(k), kinds.count(k), self._weighted(n)[0] not in after)
            for at, (n, k) in enumerate(zip(layers, kinds, strict=True))
        }

    def _weighted(self, node: Node) -> tuple[int, ...]:
        """Find a and W of a product with constant weights."""
        args: Any = node.args
        a, w = (args[at].index for at in _LAYERS[_name(node)]) if _name(node) in _LAYERS and node.active else (0, 0)
        return (a, w) if self.graph.nodes[a].active and not self.graph.nodes[w].per_item else ()

    def _summed(self, r: Tensor, index: int) -> Tensor:
        return summed_to(r, 1, self.graph.nodes[index].shape or ())

    def _active(self, node: Node) -> list[int]:
        """Find what a node reads that depends on the input; the reads of the operation where it picks an output."""
        inputs = self.graph.nodes[node.inputs[0]].inputs if node.target is operator.getitem else node.inputs
        return [i for i in dict.fromkeys(inputs) if self.graph.nodes[i].active]

    def _factors(self, node: Node) -> list[int]:
        """Find the factors of a product that both depend on the input; one for a square."""
        factors = [a.index for a in node.args if isinstance(a, Ref) and self.graph.nodes[a.index].active]
        return list(dict.fromkeys(factors)) if _name(node) in _PRODUCTS and len(factors) == 2 else []

    def _is_entrywise(self, node: Node) -> bool:
        """Tell whether an entry depends on one entry, and on constants."""
        is_pointwise = torch.Tag.pointwise in getattr(node.target, "tags", ())
        is_pointwise = is_pointwise or _name(node) in ("hardswish", "_prelu_kernel")
        return is_pointwise and len(self._active(node)) == 1 and _name(node) != "where"

    def _is_gate(self, index: int) -> bool:
        node = self.graph.nodes[index]
        while _name(node) in (*_VIEWS, "where") and len(self._active(node)) == 1:  # `where` masks attention
            node = self.graph.nodes[self._active(node)[0]]
        return _name(node) in _GATES or (self.composite.attention == "constant" and self._softmax(node) is not None)

    def _softmax(self, node: Node) -> tuple[int, list[int]] | None:
        """Find the source and the dimensions, counted from the end, of exp(x) times the reciprocal of its sum."""
        nodes = self.graph.nodes
        factors = [nodes[i] for i in self._factors(node)]
        if [_name(factor) for factor in factors] != ["exp", "reciprocal"]:
            return None
        total: Any = nodes[factors[1].inputs[0]]
        if _name(total) != "sum" or total.inputs != (factors[0].index,):
            return None
        rank = len(node.shape or ())
        return self._unshifted(factors[0].inputs[0]), [d % rank - rank for d in total.args[1]]

    def _unshifted(self, index: int) -> int:
        """Find x of x - max x, in which the maximum is detached."""
        node = self.graph.nodes[index]
        others = [self.graph.nodes[i] for i in node.inputs[1:]]
        return node.inputs[0] if _name(node) == "sub" and others and not others[0].active else index


def _shares(
    rule: Rule, w: Tensor, contributions: Tensor, b: Tensor, z: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute what inputs get of the relevance of each unit, (outputs, inputs), and what its bias takes."""

    def of(part: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        whole = _stab(part.sum(1) + bias, rule.eps)
        return part / whole[:, None], bias / whole

    plus, minus = (contributions.clamp(min=0), b.clamp(min=0)), (contributions.clamp(max=0), b.clamp(max=0))
    match rule:
        case ZBox():  # Montavon et al. 2017, Eq. 18
            return of(contributions - low * w.clamp(min=0) - high * w.clamp(max=0), torch.zeros_like(b))
        case Flat():  # Lapuschkin et al. 2019
            return of(w, torch.zeros_like(b))
        case WSquare():  # Montavon et al. 2017, Eq. 12
            return of(w.square(), b.square())
        case ZPlus():  # Montavon et al. 2017, Eq. 17
            return of(*plus)
        case AlphaBeta():  # Bach et al. 2015, Eq. 60
            p, n = of(*plus), of(*minus)
            return rule.alpha * p[0] - rule.beta * n[0], rule.alpha * p[1] - rule.beta * n[1]
        case Gamma():  # Montavon et al. 2019, Table 1, and for negative units
            above = z > 0
            more, more_bias = torch.where(above[:, None], plus[0], minus[0]), torch.where(above, plus[1], minus[1])
            return of(contributions + rule.gamma * more, b + rule.gamma * more_bias)
    return of(contributions, b)  # Bach et al. 2015, Eq. 58


def _name(node: Node) -> str:
    return getattr(getattr(node.target, "overloadpacket", None), "__name__", "")


def _stab(z: Tensor, eps: float = 1e-6) -> Tensor:
    return torch.where(z >= 0, z + eps, z - eps)
