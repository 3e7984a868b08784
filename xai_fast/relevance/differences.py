"""Multipliers of two points: how the difference of a score is made up by the differences of its inputs.

A multiplier m of a node is the share that each entry of its difference has in the difference of the score: for two
states of one graph, sum m (a - a') is F(x) - F(x') at every cut through the graph. It is carried back as an adjoint is,
by the transposes of what is linear; every other operation gives multipliers that add up exactly, so that what reaches
the input does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from xai_fast.graph import Graph, State
from xai_fast.graph.lift import aligned, summed_to
from xai_fast.graph.overloads import overloads_of
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules import Rule
from xai_fast.taylor.rules.bilinear import Bilinear, Product
from xai_fast.taylor.rules.choice import Choice, Extremum, Picked
from xai_fast.taylor.rules.elementwise import Elementwise, Selection, Softmax
from xai_fast.taylor.rules.linear import Structural, Sum

__all__ = ["Differences"]

aten = torch.ops.aten

_SINGULAR = ("reciprocal", "rsqrt", "sqrt", "log", "pow")
_KINKED = ("elu", "hardswish")
_LARGEST = overloads_of(aten.maximum, aten.amax, aten.cummax, aten.max, aten.max_pool2d_with_indices) | overloads_of(
    aten.max_pool3d_with_indices, aten.adaptive_max_pool2d, aten.adaptive_max_pool3d
)
_SMALLEST = overloads_of(aten.minimum, aten.amin, aten.cummin, aten.min)
_Pull = Callable[[State, State, Tensor], dict[int, Tensor]]


class Differences:
    """A graph as the difference of its score at two points sees it, made once per trace.

    Args:
        graph: the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.program = Program(graph, 2)
        sums = {i: found for i, rule in self.program.rules.items() if (found := _sum_of_exponentials(graph, rule))}
        softmaxes = [(rule.source, rule.dims) for rule in self.program.rules.values() if isinstance(rule, Softmax)]
        jumps = _jumps(graph) - _shifts(graph, [*sums.values(), *softmaxes])
        self._pulls: dict[int, _Pull] = {}
        for index, rule in self.program.rules.items():
            if index in sums:
                self._pulls[index] = functools.partial(_log_sum, *sums[index])
            elif (pull := _pull_of(rule, jumps)) is not None:
                self._pulls[index] = functools.partial(pull, rule)

    def multipliers(self, state: State, baseline: State) -> Tensor:
        """Compute the multipliers of the input.

        Args:
            state: the values of the items.
            baseline: those of their baselines, with the same classes and other arguments.

        Returns:
            (B, *shape of the input): times the difference of the inputs, they add up to that of the scores.
        """

        def at(pull: _Pull) -> Callable[[State, Tensor], dict[int, Tensor]]:
            return lambda state, rows: pull(state, baseline, rows)

        pulls = {index: at(pull) for index, pull in self._pulls.items()}
        return self.program.adjoints(state, [0], pulls=pulls)[0][0, :, 0]


def _jumps(graph: Graph) -> set[int]:
    """Find what differs between the points although no derivative goes through it: conditions, indices, detached."""
    found: set[int] = set()
    for node in graph.nodes:
        if not node.active and any(graph.nodes[i].active or i in found for i in node.inputs):
            found.add(node.index)
    return found


def _shifts(graph: Graph, exponents: Iterable[tuple[int, list[int]]]) -> set[int]:
    """Find what is taken away before exponentials are summed: it changes nothing, as their shares add up to one."""
    shapes = {i: (graph.nodes[i].shape or (), dims) for z, dims in exponents for i in graph.nodes[z].inputs}
    return {i for i, (shape, dims) in shapes.items() if all(-d > len(shape) or shape[d] == 1 for d in dims)}


def _sum_of_exponentials(graph: Graph, rule: Rule) -> tuple[int, list[int]] | None:
    """Find log(sum(exp(z))): the node z and the dimensions, counted from the end."""
    chain = [rule.node]
    for target in (aten.log.default, aten.sum.dim_IntList, aten.exp.default):
        if chain[-1].target is not target:
            return None
        chain.append(graph.nodes[chain[-1].inputs[0]])
    _, total, _, z = chain
    rank = len(z.shape or ())
    return z.index, [d % rank - rank for d in total.args[1]]  # type: ignore[attr-defined]


def _pull_of(rule: Rule, jumps: set[int]) -> Callable[..., dict[int, Tensor]] | None:
    """Choose how a node is pulled; None where it is linear in the same way at both points."""
    operation = rule.operation if isinstance(rule, Structural | Picked) else rule.node
    if isinstance(rule, Softmax):
        return _softmax
    if isinstance(rule, Elementwise | Selection):
        return _entry
    if isinstance(rule, Choice | Extremum | Picked) and operation.target in _LARGEST:
        return functools.partial(_winner, 1)
    if isinstance(rule, Choice | Extremum | Picked) and operation.target in _SMALLEST:
        return functools.partial(_winner, -1)
    if jumps.intersection(operation.inputs):
        return functools.partial(_spread, isinstance(rule, Choice | Product | Sum))
    if isinstance(rule, Picked):
        return functools.partial(_spread, False)
    return _factors if isinstance(rule, Bilinear) and rule.curved else None


def _entry(rule: Rule, state: State, baseline: State, rows: Tensor) -> dict[int, Tensor]:
    """Rescale: (y - y') / (x - x'); the mean of both derivatives where that would be rounding only."""
    (source,) = rule.inputs
    x, step = state.tensor(source), _difference(state, baseline, source)
    eps, ones = torch.finfo(x.dtype).eps, torch.ones_like(x).unsqueeze(0)
    derivative = rule.pull(state, ones)[source][0]
    if isinstance(rule, Elementwise):
        derivative = ((derivative + rule.pull(baseline, ones)[source][0]) / 2).nan_to_num(0, 0, 0)
        # Where the error of either way is least; beside a kink of the derivative at the size of rounding.
        limit: Tensor | float = eps ** (1 / 2 if rule.activation in _KINKED else 1 / 3)
        limit = limit * x.abs() if rule.activation in _SINGULAR else limit
    else:
        limit = 4 * eps * (1 + x.abs())
    slope = torch.where(step.abs() > limit, _difference(state, baseline, rule.node.index) / step, derivative)
    return {source: rows * slope}


def _factors(rule: Rule, state: State, baseline: State, rows: Tensor) -> dict[int, Tensor]:
    """Give each factor the mean of the other: ab - a'b' = (a - a') (b + b') / 2 + (b - b') (a + a') / 2."""
    means = {i: (state.tensor(i) + baseline.tensor(i)) / 2 for i in rule.inputs}
    return rule.pull(State({**dict.fromkeys(rule.node.inputs), **means}, state.items), rows)


def _softmax(rule: Softmax, state: State, baseline: State, rows: Tensor) -> dict[int, Tensor]:
    """Pull as the derivative does, p (c - <p, c>), with the logarithmic mean of p and p' in the place of p."""
    mean = _mean_of_shares(state, baseline, rule.source, rule.dims)
    centre = (rows * mean).sum(rule.dims, keepdim=True) / mean.sum(rule.dims, keepdim=True).clamp(min=_tiny(mean))
    return {rule.source: mean * (rows - centre)}


def _log_sum(source: int, dims: list[int], state: State, baseline: State, rows: Tensor) -> dict[int, Tensor]:
    """Pull log(sum(exp(z))): the shares of the same means."""
    mean = _mean_of_shares(state, baseline, source, dims)
    total = mean.sum(dims, keepdim=True)
    return {source: rows.reshape(*rows.shape[:1], *total.shape) * (mean / total.clamp(min=_tiny(mean)))}


def _mean_of_shares(state: State, baseline: State, source: int, dims: list[int]) -> Tensor:
    """Give (p - p') / (log p - log p') of a softmax, the logarithmic mean of p and p'."""
    # Times log p - log p' = z - z' - (L - L') it is p - p', whose sum is zero: so L - L' of L = log(sum(exp(z))) is the
    # mean of all z - z' with these weights.
    logs = [z - z.logsumexp(dims, keepdim=True) for z in (state.tensor(source), baseline.tensor(source))]
    p, p0 = (log.exp().nan_to_num(0) for log in logs)
    step = logs[0] - logs[1]
    return torch.where(step.abs() > torch.finfo(step.dtype).eps ** (1 / 3), (p - p0) / step, (p + p0) / 2)


def _winner(sign: int, rule: Rule, state: State, baseline: State, rows: Tensor) -> dict[int, Tensor]:
    """Give the difference of a maximum to the entry that is the maximum at the point where that is larger."""
    # The difference of that entry is at least y - y': slopes are from 0 to 1, and no small number divides a larger one.
    y = _difference(state, baseline, rule.node.index)
    steps = _steps(rule, state, baseline)
    pulled: dict[int, Tensor] = {}
    for at, wins in ((state, sign * y >= 0), (baseline, sign * y < 0)):
        step = rule.tangent(at, steps)[0]
        slope = torch.where(wins, torch.where(step == 0, 1, y / step), 0)
        _add(pulled, rule.pull(at, rows * slope))
    return pulled


def _spread(entrywise: bool, rule: Rule, state: State, baseline: State, rows: Tensor) -> dict[int, Tensor]:
    """Take the mean of both derivatives, and spread what that leaves by the squares of the differences."""
    steps = _steps(rule, state, baseline)
    left = _difference(state, baseline, rule.node.index)
    pulled: dict[int, Tensor] = {}
    for at in (state, baseline):
        left = left - rule.tangent(at, steps)[0] / 2
        _add(pulled, rule.pull(at, rows / 2))
    if entrywise:
        wide = {i: aligned(step, 2, len(rule.shape)) for i, step in steps.items()}
        squares = functools.reduce(torch.add, [step.square() for step in wide.values()])
        share = rows * torch.where(squares > 0, left / squares, 0)
        _add(pulled, {i: summed_to(share * step, 2, steps[i].shape[2:]) for i, step in wide.items()})
    else:
        squares = functools.reduce(torch.add, [step.flatten(2).square().sum(2) for step in steps.values()])
        share = torch.where(squares > 0, (rows * left).flatten(2).sum(2) / squares, 0)
        _add(pulled, {i: share.reshape(*share.shape, *[1] * (step.ndim - 2)) * step for i, step in steps.items()})
    return pulled


def _steps(rule: Rule, state: State, baseline: State) -> dict[int, Tensor]:
    """Give the differences of what a node reads, as one row (1, B, *shape): 0 where a mask makes both -inf."""
    return {i: _difference(state, baseline, i).nan_to_num(0, torch.inf, -torch.inf).unsqueeze(0) for i in rule.inputs}


def _difference(state: State, baseline: State, index: int) -> Tensor:
    return state.tensor(index) - baseline.tensor(index)


def _add(pulled: dict[int, Tensor], parts: Mapping[int, Tensor]) -> None:
    for index, part in parts.items():
        pulled[index] = pulled[index] + part if index in pulled else part


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny
