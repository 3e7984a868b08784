"""Relevance by the formulas of the papers, node by node for one item: the definition that the fast path must equal.

An input entry a_j of an operation contributes J_kj a_j to its output entry y_k, with J the Jacobian at a. In a layer
with weights J is W, and the rest of y is the bias b. Outputs share their relevance R by these numbers. Relevance that
arrives at zero ends there, as nothing contributes to it.

Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation", PLoS
ONE 2015; Montavon et al., "Explaining NonLinear Classification Decisions with Deep Taylor Decomposition", 2017, and
"Layer-Wise Relevance Propagation: An Overview", 2019; Achtibat et al., "AttnLRP", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xai_fast.graph import Graph
from xai_fast.graph.interpreter import complete
from xai_fast.graph.lift import lifted, summed_to
from xai_fast.relevance.rules import AlphaBeta, Flat, Gamma, Rule, WSquare, ZBox, ZPlus
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules.bilinear import Bilinear, Product
from xai_fast.taylor.rules.elementwise import Elementwise, Selection, Softmax
from xai_fast.taylor.rules.linear import Sum

__all__ = ["LiteralRelevance"]

_LAYERS = {"convolution": (0, 1), "addmm": (1, 2), "mm": (0, 1), "bmm": (0, 1)}  # where a and W are
_STOPS = ("rsqrt", "reciprocal")
_GATES = (*_STOPS, "sigmoid", "hardsigmoid", "hardtanh", "relu6")
_VIEWS = ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "clone", "alias", "expand", "permute", "transpose")


@dataclass
class LiteralRelevance:
    """The relevance of all that a score is computed from.

    Attributes:
        graph: of the score.
        values: (1, *shape) float64 by node, those of one item.
        rules: of the layers with weights, by node.
        bias: see `xai_fast.attribution.lrp.LRP`.
        bounds: the smallest and the largest value of an input, numbers or one per channel; None for those of the item.
        attention: see `xai_fast.relevance.composite.Composite`.
        eps: see there.
        shared: what has come to nodes from above, and goes on by contributions.
        placed: what belongs to places whatever their values are, below zB, w2 and flat.
    """

    graph: Graph
    values: dict[int, Any]
    rules: Mapping[int, Rule]
    bias: str = "absorb"
    bounds: tuple[float | Sequence[float], float | Sequence[float]] | None = None
    attention: str = "shared"
    eps: float = 1e-6
    shared: dict[int, Tensor] = field(default_factory=dict)
    placed: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """See what operations there are."""
        self.kinds = Program(self.graph, 2).rules
        self.names = [getattr(getattr(n.target, "overloadpacket", None), "__name__", "") for n in self.graph.nodes]

    def of(self, relevance: Tensor) -> dict[int, Tensor]:
        """Share the relevance of the score, (); returns (1, *shape) by node."""
        found: dict[int, Tensor] = {}
        self.shared[self.graph.output] = relevance.reshape(1, 1)
        for node in reversed(range(len(self.graph.nodes))):
            r, placed = self.shared.pop(node, None), self.placed.pop(node, None)
            known = [part for part in (r, placed) if part is not None]
            if known:
                found[node] = torch.stack(known).sum(0)
            if placed is not None and node in self.kinds and not self._move(node, placed):
                y = self.values[node]
                r = (0 if r is None else r) + placed * y / _stab(y)
            if r is not None and node in self.rules:
                self._layer(node, r, self.rules[node])
            elif r is not None and node in self.kinds:
                for source, part in self._operation(node, r).items():
                    self.shared[source] = self.shared.get(source, 0) + part
        return found

    def _layer(self, node: int, r: Tensor, rule: Rule) -> None:
        """Share by the rule of a layer with weights."""
        args: Any = self.graph.nodes[node].args
        source, weight = (args[at].index for at in _LAYERS[self.names[node]])
        a, z = self.values[source], self.values[node].flatten()
        ones = {weight: torch.ones_like(self.values[weight])} if isinstance(rule, Flat) else {}
        w = self._jacobian(node, source, ones)
        contributions = w * a.flatten()
        b = self._run(node, {source: torch.zeros_like(a)}).flatten() * (self.bias != "zero")
        low, high = (bound.expand(a.shape).flatten() for bound in self._bounds(source))
        shares, taken = _shares(rule, w, contributions, b, z, low, high)
        if self.bias == "keep":
            size = contributions.abs()
            shares = shares + taken[:, None] * size / _stab(size.sum(1, keepdim=True))
        into = self.placed if isinstance(rule, ZBox | WSquare) else self.shared
        into[source] = into.get(source, 0) + (r.flatten() @ shares).reshape(a.shape)

    def _operation(self, node: int, r: Tensor) -> dict[int, Tensor]:
        """Share by what an operation without weights does."""
        name, kind, y = self.names[node], self.kinds[node], self.values[node]
        source = kind.inputs[0]
        inverse = name == "pow" and float(self.graph.nodes[node].args[1]) < 0  # type: ignore[arg-type]
        if name in _STOPS or inverse or (isinstance(kind, Softmax) and self.attention == "constant"):
            return {}
        if isinstance(kind, Softmax) or name == "exp":  # Achtibat et al. 2024, Eq. 13
            source = self._unshifted(source)
            rest = y * r.sum(kind.dims, keepdim=True) if isinstance(kind, Softmax) else 0
            return {source: torch.where(y == 0, 0, self.values[source] * (r - rest))}
        if isinstance(kind, Bilinear) and kind.curved:
            gates = [self._is_gate(i) for i in kind.inputs]
            parts = [r * (0.5 if gates[0] == gates[-1] else float(other)) for other in reversed(gates)]
            return {i: self._by_contribution(node, p, [i])[i] for i, p in zip(kind.inputs, parts, strict=True)}
        x = self.values[source]
        if isinstance(kind, Sum) and len(kind.terms) == 1:
            others = [self.graph.nodes[i] for i in self.graph.nodes[node].inputs if i != source]
            if self.bias != "absorb" and not any(other.per_item for other in others):
                return {source: x / _stab(x) * summed_to(r, 1, x.shape[1:])}
        elif self._is_entrywise(node) and name != "log":
            return {source: torch.where(x == 0, 0, summed_to(r, 1, x.shape[1:]))}
        elif isinstance(kind, Sum) or self._is_pool(node):
            r = r * y / _stab(y, self.eps)
        return self._by_contribution(node, r, kind.inputs)

    def _move(self, node: int, r: Tensor) -> bool:
        """Move relevance of places through an operation on each entry, or one that copies entries; tell whether."""
        inputs = self.kinds[node].inputs
        moved = [summed_to(r, 1, self.values[i].shape[1:]) for i in inputs if self._is_entrywise(node)]
        if self._is_pool(node):
            return False
        if not moved:
            copies = [self._jacobian(node, i) for i in inputs]
            entries = torch.cat(copies, 1)
            if not ((entries == 0) | (entries == 1)).all() or (entries.sum(1) > 1).any():
                return False
            moved = [(r.flatten() @ j).reshape(self.values[i].shape) for i, j in zip(inputs, copies, strict=True)]
        for i, part in zip(inputs, moved, strict=True):
            self.placed[i] = self.placed.get(i, 0) + part
        return True

    def _by_contribution(self, node: int, r: Tensor, sources: Sequence[int]) -> dict[int, Tensor]:
        """Compute a_j times the sum over k of J_kj R_k / y_k."""
        y = self.values[node]
        points = [self.values[i].detach().requires_grad_() for i in sources]
        with torch.enable_grad():
            result = self._run(node, dict(zip(sources, points, strict=True)))
            found = torch.autograd.grad(result, points, torch.where(y == 0, 0, r / y))
        return {i: torch.where(g == 0, 0, self.values[i] * g) for i, g in zip(sources, found, strict=True)}

    def _jacobian(self, node: int, source: int, given: Mapping[int, Tensor] | None = None) -> Tensor:
        """Compute J, (outputs, entries of the source)."""
        j: Tensor = torch.func.jacrev(lambda a: self._run(node, {**(given or {}), source: a}))(self.values[source])
        return j.reshape(-1, self.values[source].numel())

    def _run(self, node: int, given: Mapping[int, Tensor]) -> Any:
        """Compute a node with other values of what it reads."""
        picks = not self.names[node]  # one output of an operation that has several
        operation: Any = self.graph.nodes[self.graph.nodes[node].inputs[0] if picks else node]
        values = [given.get(i, self.values[i]) for i in operation.inputs]
        result: Any = lifted(operation, values, [self.graph.nodes[i].per_item for i in operation.inputs])
        return result[self.graph.nodes[node].args[1]] if picks else result

    def _bounds(self, source: int) -> tuple[Tensor, Tensor]:
        """Compute the bounds of what a layer reads: by those of the input where no other layer lies between."""
        ends: list[Any] = []
        for bound in self.bounds or (self.values[0].amin(), self.values[0].amax()):
            values = {i: value for i, value in self.values.items() if not self.graph.nodes[i].active}
            x = self.values[0]
            values[0] = torch.as_tensor(bound).to(x).view([1, 1, -1, *[1] * x.ndim][: x.ndim]).expand_as(x)
            complete(self.graph, values, set(range(len(self.names))) - set(self.rules))
            ends.append(values.get(source))
        return (torch.minimum(*ends), torch.maximum(*ends)) if ends[0] is not None else self.values[source].aminmax()

    def _is_entrywise(self, node: int) -> bool:
        """Tell whether each entry depends on one of the only input."""
        kind = self.kinds[node]
        return isinstance(kind, Elementwise | Selection | Product | Sum) and len(kind.inputs) == 1

    def _is_pool(self, node: int) -> bool:
        return "pool" in self.names[node] or self.names[node] in ("mean", "sum")

    def _is_gate(self, node: int) -> bool:
        # `where` masks attention, and 1 / x is 1 times the reciprocal
        passed = (*_VIEWS, "where", "mul")
        while self.names[node] in passed and len(self.kinds[node].inputs) == 1 and not self._is_softmax(node):
            node = self.kinds[node].inputs[0]
        args = self.graph.nodes[node].args
        is_inverse = self.names[node] == "pow" and float(args[1]) < 0  # type: ignore[arg-type]
        is_signed = self.names[node] == "hardtanh" and len(args) < 2
        if is_inverse or is_signed:
            return is_inverse
        return self.names[node] in _GATES or (self.attention == "constant" and self._is_softmax(node))

    def _is_softmax(self, node: int) -> bool:
        return isinstance(self.kinds.get(node), Softmax)

    def _unshifted(self, node: int) -> int:
        """Find x of x - max x, in which the maximum is detached."""
        others = [self.graph.nodes[i] for i in self.graph.nodes[node].inputs[1:]]
        return self.kinds[node].inputs[0] if self.names[node] == "sub" and others and not others[0].active else node


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


def _stab(z: Tensor, eps: float = 1e-6) -> Tensor:
    return torch.where(z >= 0, z + eps, z - eps)
