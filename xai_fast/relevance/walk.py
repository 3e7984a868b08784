"""The walk back: from a score's relevance to that of the input, node by node.

Relevance is carried as a coefficient c with R = c * value, so that most operations pull it as they pull adjoints
(`xai_fast.taylor.rules`). What is different: layers with weights have a rule; activations pass R on (c * y / x); two
factors that both depend on the input share it in halves, unless one is a gate; the divisor of a norm stops it; sums of
two, and pools, share by contribution. Below the first weights R itself is carried where a rule gives it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from xai_fast.graph import Graph, State
from xai_fast.graph.interpreter import complete
from xai_fast.graph.lift import aligned, summed_to
from xai_fast.graph.nodes import Node
from xai_fast.graph.overloads import overloads_of
from xai_fast.relevance.composite import Composite, Position, bounds_like
from xai_fast.relevance.facts import is_gate, is_stop, nonnegative_nodes
from xai_fast.relevance.ledger import COLUMNS
from xai_fast.relevance.rules import Local, Pot, Share, Term, divided, stabilised
from xai_fast.relevance.weighted import Weighted, weighted_nodes
from xai_fast.taylor.program import Adjoints, Program
from xai_fast.taylor.rules import Rule as Derivative
from xai_fast.taylor.rules.bilinear import Bilinear, Product
from xai_fast.taylor.rules.choice import Choice, Extremum, Picked
from xai_fast.taylor.rules.elementwise import Attention, Elementwise, LayerNorm, Selection, Softmax
from xai_fast.taylor.rules.linear import RESHAPES, Concatenation, Structural, Sum
from xai_fast.taylor.rules.writes import Write

__all__ = ["Layers", "Walk"]

aten = torch.ops.aten

_EPS = 1e-6
_LONG = 2**12
"""Numbers whose products are summed in more time than a call takes."""
_REUSED = 2**25
"""Bytes up to which the C library uses freed memory again; page faults of larger tensors take longer than a pass."""
_BY_DERIVATIVE = overloads_of(aten.exp, aten.log)
"""Of softmax and its like: they do not pass through the origin, so y / x says nothing."""
_THROUGH_ORIGIN = overloads_of(
    aten.gelu, aten.silu, aten.mish, aten.tanh, aten.elu, aten.hardswish, aten.leaky_relu, aten.relu6
)
_MOVES = RESHAPES | overloads_of(
    aten.permute, aten.transpose, aten.t, aten.select, aten.slice, aten.flip, aten.roll, aten.constant_pad_nd,
    aten.index_select, aten.index, aten.gather, aten.pixel_shuffle, aten.pixel_unshuffle, aten._to_copy, aten.expand,
    aten.repeat, aten.unfold, aten.im2col, aten.diagonal, aten.tril, aten.triu, aten.channel_shuffle, aten.split,
    aten.split_with_sizes, aten.unbind, aten.chunk, aten.reflection_pad1d, aten.reflection_pad2d,
    aten.replication_pad1d, aten.replication_pad2d, aten.upsample_nearest1d, aten.upsample_nearest2d,
)  # fmt: skip
"""Each entry is a copy of one, or zero."""
_LOSES = overloads_of(aten.constant_pad_nd, aten.tril, aten.triu, aten.im2col)
_SHAPED = RESHAPES | overloads_of(aten.expand, aten.permute, aten.transpose)
_POOLS = overloads_of(
    aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d, aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.mean,
    aten.sum,
)  # fmt: skip


class Layers:
    """A graph as relevance sees it, made once per trace.

    Args:
        graph: the graph.

    Attributes:
        program: its derivatives.
        weighted: the layers with constant weights, by node.
        positions: where these lie.
        before_weights: the nodes that no weights come before: the input, and what is padded, shifted or scaled of it.
        shares_bounds: whether these make the same of the same number for all items.
        reads_input: whether they are the input itself.
        shifted: what softmaxes read, of which the maximum was taken away: that changes no relevance.
        gates: the rectifiers of layers with weights that nothing else reads.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.program = Program(graph, 2)
        self.weighted: dict[int, Weighted] = weighted_nodes(graph, nonnegative_nodes(graph))
        after: set[int] = set()
        for node in graph.nodes:
            if node.index in self.weighted or any(i in after for i in node.inputs):
                after.add(node.index)
        self.before_weights = frozenset(n.index for n in graph.nodes if n.index not in after and n.active)
        read = {i for index in self.before_weights for i in graph.nodes[index].inputs}
        self.shares_bounds = all(i in self.before_weights or not graph.nodes[i].per_item for i in read)
        copies = (aten.clone.default, aten.alias.default)
        self.reads_input = all(graph.nodes[i].target in copies for i in self.before_weights - {0})
        self.shifted = {rule.source for rule in self.program.rules.values() if isinstance(rule, Softmax)}
        relus = [node for node in graph.nodes if node.target is aten.relu.default]
        self.gates = {n.index for n in relus if n.inputs[0] in self.weighted and len(graph.users[n.inputs[0]]) == 1}
        kinds = [layer.kind for layer in self.weighted.values()]
        self.positions = {
            index: Position(
                layer.kind,
                layer.node.path,
                kinds[:at].count(layer.kind),
                kinds.count(layer.kind),
                layer.source in self.before_weights,
            )
            for at, (index, layer) in enumerate(self.weighted.items())
        }

    def bounds(self, state: State, low: Tensor, high: Tensor) -> dict[int, tuple[Tensor, Tensor]]:
        """Carry the bounds of the input, (B, *shape), to what the first layers read: by node, (B, *shape)."""
        fixed = {i: value for i, value in state.values.items() if not self.graph.nodes[i].active}
        values: list[dict[int, object]] = []
        for bound in (low, high):
            values.append({**fixed, 0: bound.unsqueeze(1)})
            complete(self.graph, values[-1], self.before_weights)
        sources = {layer.source for layer in self.weighted.values()} & self.before_weights
        ends = {i: [known[i] for known in values] for i in sources}
        return {i: (torch.minimum(*both), torch.maximum(*both)) for i, both in ends.items()}  # type: ignore[arg-type]


@dataclass
class Walk:
    """One way back.

    Args:
        layers: the graph.
        state: its values; `back` to the input frees each once it was used.
        composite: the rules.
        bias: see `xai_fast.attribution.lrp.LRP`.
        bounds: of the input, two numbers or two per channel; None for the smallest and the largest value of each item.
        keep_ledger: whether to count what is lost.

    Attributes:
        ledger: (T, B, 4) by name of an operation, see `xai_fast.relevance.ledger.COLUMNS`, the last one first.
    """

    layers: Layers
    state: State
    composite: Composite
    bias: str = "absorb"
    bounds: tuple[Tensor, Tensor] | None = None
    keep_ledger: bool = True
    ledger: list[tuple[str, Tensor]] = field(default_factory=list)
    _shares: dict[int, Share] = field(default_factory=dict)
    _gated: set[int] = field(default_factory=set)
    _is_last: bool = True

    def back(
        self,
        seeds: Mapping[int, Tensor],
        wanted: Iterable[int] = (0,),
        until: Callable[[int], bool] | None = None,
        relevance: Mapping[int, Tensor] | None = None,
    ) -> dict[int, Tensor]:
        """Carry relevance back.

        Args:
            seeds: (T, B, *shape) coefficients where the walk starts, by node.
            wanted: nodes whose relevance is asked for.
            until: tells nodes at which the walk ends; None to go on to the input.
            relevance: like the seeds, relevance itself.

        Returns:
            (T, B, *shape) the relevance of the wanted nodes that have any; with ``until``, the coefficients of the
            nodes at which the walk ended.
        """
        graph, keep = self.layers.graph, frozenset(wanted)
        coefficients, relevance = Adjoints(seeds), Adjoints(relevance or {})
        result: dict[int, Tensor] = {}
        last = min(keep) if until is None else 0
        first = next(iter((*coefficients.values(), *relevance.values())))
        most = _REUSED // (first.element_size() * self.state.items)
        apart = len(first) > 1 and until is None and first.device.type == "cpu"
        for index in range(len(graph.nodes) - 1, last - 1, -1):
            if apart and graph.nodes[index].active and len(first) * graph.nodes[index].size > most:
                return result | self._in_parts(coefficients, relevance, [i for i in keep if i <= index], most)
            if until is None and self._is_last:
                self.state.values.pop(index + 1, None)  # all that read it are behind us
            c, r = coefficients.pop(index, None), relevance.pop(index, None)
            if c is None and r is None:
                continue
            if until is not None and until(index):
                assert c is not None
                result[index] = c
                continue
            if index in keep and until is None:
                own = None if c is None else c * self.state.tensor(index)
                found = own if r is None else r if own is None else r + own
                assert found is not None
                result[index] = found
            rule = self.layers.program.rules.get(index)
            if rule is None or index == last:
                continue
            if r is not None:
                moved = self._move(rule, r)
                if moved is None:
                    part = r / stabilised(self.state.tensor(index), _EPS)
                    c = part if c is None else c + part
                    self._write(rule.node, r.flatten(2).sum(2), _dot(part, self.state.tensor(index)))
                elif rule.node.target in _LOSES or _has_constants(rule):
                    self._write(rule.node, r.flatten(2).sum(2), sum(part.flatten(2).sum(2) for part in moved.values()))
                for source, part in (moved or {}).items():
                    relevance.add(source, part)
            if c is None:
                continue
            layer = self.layers.weighted.get(index)
            if layer is not None:
                share = self.share(layer)
                (relevance if share.is_relevance else coefficients).add(layer.source, self._through(share, c))
            elif index in self.layers.gates and r is None and until is None and rule.inputs[0] not in keep:
                self._gated.add(rule.inputs[0])
                coefficients.add(rule.inputs[0], c)
            elif not coefficients.add_view(rule, c, self.state.values[rule.inputs[0]]):
                for source, part in self._pull(rule, c).items():
                    coefficients.add(source, part)
        return result

    def _in_parts(
        self, coefficients: dict[int, Tensor], relevance: dict[int, Tensor], wanted: Sequence[int], most: int
    ) -> dict[int, Tensor]:
        """Go on with some rows at a time, no more than have so many entries of an item at any node."""
        rows = len(next(iter((*coefficients.values(), *relevance.values()))))
        step = max(1, most // max(node.size for node in self.layers.graph.nodes if node.active))
        walks = [replace(self, ledger=[], _is_last=i + step >= rows) for i in range(0, rows, step)]
        found = []
        for walk, at in zip(walks, (slice(i, i + step) for i in range(0, rows, step)), strict=True):
            seeds, rest = ({i: c[at] for i, c in known.items()} for known in (coefficients, relevance))
            found.append(walk.back(seeds, wanted, relevance=rest))
        for same in zip(*(walk.ledger for walk in walks), strict=True):
            self.ledger.append((same[0][0], torch.cat([lost for _, lost in same])))
        return {i: torch.cat([part[i] for part in found]) for i in found[0]}

    def share(self, layer: Weighted) -> Share:
        """Prepare the rule of a layer."""
        found = self._shares.pop(layer.node.index, None) or self._share(layer)
        if not self._is_last:
            self._shares[layer.node.index] = found
        return found

    def _share(self, layer: Weighted) -> Share:
        a, z = self.state.tensor(layer.source), self.state.tensor(layer.node.index)
        position = self.layers.positions[layer.node.index]
        bias = layer.bias if self.bias != "zero" else None
        bounds = (lambda: self._input_bounds[layer.source]) if position.is_first else None
        gated = layer.node.index in self._gated
        share = self.composite.rule(position).share(Local(layer, a, z, bias, bounds, gated))
        if self.bias != "keep" or bias is None:
            return share
        # What the bias took goes to the inputs by the size of their contributions.
        weight = layer.weight.abs()
        total = stabilised(layer.apply(a.abs(), weight), _EPS)
        units = [self._of_bias(layer, pot) / total for pot in share.pots]
        term = Term(units, weight, a.abs() if share.is_relevance else torch.sign(a))
        return replace(share, terms=[*share.terms, term], pots=[replace(pot, bias=None) for pot in share.pots])

    def _through(self, share: Share, c: Tensor) -> Tensor:
        """Pull a coefficient through a layer with weights, and write down what stays there."""
        if not self.keep_ledger:
            return share.pull(c)
        node, source = share.layer.node, share.layer.source
        lost = c.new_zeros(*c.shape[:2], len(COLUMNS), dtype=torch.float64)
        pulled = share.pull(c, lost)
        if self.bias == "keep":  # the share of a bias beside which nothing contributes
            left = pulled.flatten(2).sum(2) if share.is_relevance else _dot(pulled, self.state.tensor(source))
            lost[..., 1] += lost[..., 0] - lost[..., 1:].sum(-1) - left
        self.ledger.append((f"{node.path} {share.layer.kind}".strip(), lost))
        return pulled

    def _of_bias(self, layer: Weighted, pot: Pot) -> Tensor:
        """Give what the bias is of a sum, like z."""
        if pot.bias is None:
            return torch.zeros_like(pot.divisor)
        above, below = (layer.per_unit(part) for part in pot.bias)
        return torch.where(pot.numerator > 0, above, below)

    @functools.cached_property
    def _input_bounds(self) -> dict[int, tuple[Tensor, Tensor]]:
        x = self.state.tensor(0)[:, 0]
        dims = tuple(range(1, x.ndim))
        if self.bounds is None:
            low, high = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
        else:
            low, high = bounds_like(x, self.bounds)
        if self.layers.reads_input and low[0].numel() == 1:
            return dict.fromkeys(self.layers.before_weights, (low.unsqueeze(1), high.unsqueeze(1)))
        items = 1 if self.bounds is not None and self.layers.shares_bounds else len(x)
        return self.layers.bounds(self.state, *(end.expand(items, *x.shape[1:]) for end in (low, high)))

    def _move(self, rule: Derivative, r: Tensor) -> dict[int, Tensor] | None:
        """Pull relevance itself, where an operation moves it only; None where values decide who gets what."""
        node = rule.operation if isinstance(rule, Structural) else rule.node
        if node.target in _MOVES or isinstance(rule, Concatenation | Choice | Extremum | Picked):
            return rule.pull(self.state, r)
        if len(rule.inputs) == 1 and (
            node.target is aten.neg.default or isinstance(rule, Elementwise | Selection | Sum | Product)
        ):
            (source,) = rule.inputs
            shape = self.layers.graph.nodes[source].shape or ()
            return {source: summed_to(r, 2, shape)} if r.shape[2:] != shape else {source: r}
        return None

    def _pull(self, rule: Derivative, c: Tensor) -> dict[int, Tensor]:
        """Pull a coefficient through an operation without weights."""
        node, state = rule.node, self.state
        if is_stop(node):
            self._note(node, c, {})
            return {}
        if isinstance(rule, Softmax) or node.target in _BY_DERIVATIVE:
            pulled = {} if self.composite.attention == "constant" and isinstance(rule, Softmax) else rule.pull(state, c)
            self._note(node, c, pulled)
            return pulled
        if isinstance(rule, Elementwise | Selection):
            x, y = state.tensor(rule.inputs[0]), state.tensor(node.index)
            if node.target is aten.relu.default:
                return {rule.inputs[0]: aten.threshold_backward.default(c, y, 0)}
            if node.target in _THROUGH_ORIGIN:
                return {rule.inputs[0]: divided(c, y, x, torch.finfo(x.dtype).tiny)}
            return {rule.inputs[0]: c * torch.where(x == 0, 0, y / x)}
        if isinstance(rule, LayerNorm):
            return self._normed(rule, c)
        if isinstance(rule, Attention):
            return self._attended(rule, c)
        if isinstance(rule, Bilinear) and rule.curved:
            return self._factors(rule, c)
        if isinstance(rule, Sum) and len(rule.terms) == 1:
            return self._shifted(rule, c)
        if self.composite.eps and (isinstance(rule, Sum) or node.target in _POOLS):
            z = state.tensor(node.index)
            c = divided(c, z, z, self.composite.eps)
        pulled = rule.pull(state, c)
        if _has_constants(rule):
            self._note(node, c, pulled, "bias")
        return pulled

    def _shifted(self, rule: Sum, c: Tensor) -> dict[int, Tensor]:
        """Pull through a sum with a constant, which is a bias; the shift of a softmax or a mask of the item is none."""
        ((source, factor),) = rule.terms
        nodes = self.layers.graph.nodes
        if self.bias != "absorb" and not any(nodes[i].per_item and not nodes[i].active for i in rule.node.inputs):
            z = self.state.tensor(rule.node.index)
            term = aligned(self.state.tensor(source), 1, len(rule.shape)) * factor
            ratio = z / stabilised(term.expand(z.shape), _EPS)
            pulled = rule.pull(self.state, c * torch.where(ratio.isfinite(), ratio, 0))  # a mask adds -inf
        else:
            pulled = rule.pull(self.state, c)
        if rule.node.index not in self.layers.shifted:
            self._note(rule.node, c, pulled, "bias")
        return pulled

    def _normed(self, rule: LayerNorm, c: Tensor) -> dict[int, Tensor]:
        """Pull through what a layer norm is made of: a mean, a difference and a gate."""
        x, size, *_, mean, scale = rule.values(self.state)
        c, eps = c * scale, self.composite.eps
        c = divided(c, x - mean, x - mean, eps) if eps else c
        rest = c.mean(tuple(range(-len(size), 0)), keepdim=True)
        return {rule.inputs[0]: c.sub_(divided(rest, mean, mean, eps) if eps else rest)}

    def _attended(self, rule: Attention, c: Tensor) -> dict[int, Tensor]:
        """Pull through attention: two products of two factors, and a softmax, which passes on its derivative."""
        places = rule.operation.inputs
        gates, (query, key, value) = [self._opens(i) for i in places], (i in rule.inputs for i in places)
        constant = self.composite.attention == "constant"
        of_query, of_key = _shares(*gates[:2]) if query and key else (1.0, 1.0)
        of_weights, of_value = _shares(constant, gates[2]) if value and (query or key) else (1.0, 1.0)
        of_weights *= not constant
        pulled = rule.pull(self.state, c, (of_weights * of_query, of_weights * of_key, of_value))
        self._note(rule.node, c, pulled)
        return pulled

    def _factors(self, rule: Bilinear, c: Tensor) -> dict[int, Tensor]:
        """Give both factors half the relevance, or all to one where the other is a gate, or attention as a constant."""
        places: list[int] = [operand.index for operand in rule.operands]  # type: ignore[attr-defined]
        shares = _shares(*(self._opens(i) for i in places))
        pulled: dict[int, Tensor] = {}
        for which, (share, pull) in enumerate(zip(shares, (rule.pull_first, rule.pull_second), strict=True)):
            if share:
                small = c.numel() < self.state.tensor(places[which]).numel() * c.shape[0]
                part = pull(c * share if small and share != 1 else c, rule.operand(self.state, 1 - which))
                part = part if small or share == 1 else part * share
                pulled[places[which]] = pulled[places[which]] + part if places[which] in pulled else part
        return pulled

    def _opens(self, index: int) -> bool:
        """Tell whether a node is a gate: a bounded activation that is never negative, or the divisor of a norm."""
        graph = self.layers.graph
        node = graph.nodes[index]
        # Views; a number that 1 is divided by; the `where` behind a softmax, for rows in which all is masked.
        while node.target in _SHAPED or node.target in (aten.where.self, aten.mul.Tensor, aten.mul.Scalar):
            sources = [i for i in node.inputs if graph.nodes[i].active]
            if len(sources) != 1:
                break
            node = graph.nodes[sources[0]]
        if self.composite.attention == "constant" and isinstance(self.layers.program.rules.get(node.index), Softmax):
            return True
        return is_gate(node)

    def entries(self, rows: int, like: Tensor) -> tuple[tuple[str, ...], Tensor]:
        """Give the ledger: L names, from the input to the score, and (B, T, L, 4) for T rows of items like ``like``."""
        if not self.ledger:
            return (), like.new_zeros(like.shape[0], rows, 0, len(COLUMNS))
        names, lost = zip(*reversed(self.ledger), strict=True)
        return names, torch.stack([part.transpose(0, 1) for part in lost], 2).to(like.dtype)

    def _note(self, node: Node, c: Tensor, pulled: Mapping[int, Tensor], column: str = "rule") -> None:
        """Write down what an operation without weights keeps."""
        if not self.keep_ledger:
            return

        def relevance(rows: Tensor, index: int) -> Tensor:
            values = self.state.tensor(index)
            found = _dot(rows, values)
            if math.isfinite(found.sum()):
                return found
            return _dot(rows, torch.where(values.isfinite(), values, 0))  # nothing arrives where a mask adds -inf

        self._write(node, relevance(c, node.index), sum(relevance(part, i) for i, part in pulled.items()), column)

    def _write(self, node: Node, arrives: Tensor, leaves: Tensor | float, column: str = "rule") -> None:
        """Add a row to the ledger."""
        if not self.keep_ledger:
            return
        nothing = torch.zeros_like(arrives)
        row = [arrives, *(arrives - leaves if column == name else nothing for name in COLUMNS[1:])]
        operation: Any = getattr(node.target, "overloadpacket", node.target)
        rule = self.layers.program.rules.get(node.index)
        name = "softmax" if isinstance(rule, Softmax | Attention) else operation.__name__
        self.ledger.append((f"{node.path} {name}".strip(), torch.stack(row, -1).double()))


def _has_constants(rule: Derivative) -> bool:
    """Tell whether some entries are those of a constant."""
    return isinstance(rule, Concatenation | Choice | Write) and len(rule.inputs) < len(set(rule.node.inputs))


def _shares(first: bool, second: bool) -> tuple[float, float]:
    """Give the shares of two factors, each of which is a gate or not."""
    return (0.5, 0.5) if first == second else (float(second), float(first))


def _dot(rows: Tensor, values: Tensor) -> Tensor:
    """Sum products: (T, B) from (T, B, *shape) and (B, *shape); long ones in one pass of each, without a product."""
    values = values.expand(rows.shape[1:])
    if rows.ndim > 3 and not (rows.is_contiguous() and values.is_contiguous()):  # a product takes less than copies
        return (rows * values).sum(tuple(range(2, rows.ndim)))
    rows, values = rows.flatten(2), values.flatten(1)
    if rows.device.type == "cpu" and rows.shape[2] >= _LONG:
        return torch.stack([torch.stack(list(map(torch.dot, row, values))) for row in rows])
    found: Tensor = torch.linalg.vecdot(rows, values)
    return found
