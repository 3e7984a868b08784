"""Second derivatives: V^T H U of each item, without a Hessian and without nested differentiation.

With the adjoints mu of one backward pass and first-order tangents,

    V^T H U = sum over curved nodes of <mu, D^2 node [tangents along V, tangents along U]>

so that the last order needs no matrix product of the network's, and a node without second derivative costs nothing. The
tangents come by the forward route, one per direction, or by the reverse route: one gradient per unit of the narrowest
node through which all curvature is reached (ten for a network of ReLU layers under a softmax of ten classes), and a
product with the directions.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.engine.memory import checked_limit, is_out_of_memory, usable_bytes
from xai_fast.errors import UnsupportedOperation, bad_argument
from xai_fast.graph import ScoreFunction, State, TracedFunction
from xai_fast.taylor.chain_hessian import chain_bytes, chain_hessian, chain_operations
from xai_fast.taylor.differentiable import Differentiable, differentiable
from xai_fast.taylor.feedforward import Chain
from xai_fast.taylor.first_product import Touched, touched_columns
from xai_fast.taylor.planner import Plan
from xai_fast.taylor.prepare import Given, check_batch, prepare, resolved
from xai_fast.taylor.products import hessian_products
from xai_fast.taylor.replay import WORTH_RECORDING
from xai_fast.taylor.routes import plan_pairs_of
from xai_fast.terminal import tell

__all__ = ["METHODS", "bilinear_form", "hessian", "plan_bilinear_form"]

METHODS = ("auto", "forward", "reverse", "hvp")
_without_rules: weakref.WeakSet[Callable[..., object]] = weakref.WeakSet()


def bilinear_form(
    fn: Callable[..., object],
    x: Tensor,
    V: Tensor,
    U: Tensor | None = None,
    *,
    method: str = "auto",
    memory_limit: int | None = None,
    **given: Unpack[Given],
) -> Tensor:
    """Compute V^T H U for each item, H the Hessian of its score.

    Args:
        fn: a module in evaluation mode (with ``target`` and ``score``), a function from (B, ...) to scores (B,), or
            what `prepare` gave. Items must not depend on each other. It is traced at the first call with items of one
            shape; `prepare` says what is noticed of later changes.
        x: (B, ...) float32 or float64.
        V: (B, nV, ...) directions like the items of ``x``.
        U: (B, nU, ...); None for V itself.
        method: "forward" (nV + nU tangents), "reverse" (one gradient per unit of the narrowest node before the
            curvature), "hvp" (Hessian-vector products by autograd, for models with operations that have no rule), or
            "auto" (whichever of the first two is counted cheaper; "hvp", which is said once, where a rule is missing).
        memory_limit: in bytes, for what is computed here; None for half of what is free.
        **given: ``target``, ``score`` and ``additional_forward_args``, see `prepare`.

    Returns:
        (B, nV, nU) in the dtype of x.

    Raises:
        InputError: an argument does not fit, or the memory limit is too small; the message says the least that would
            do.
        ModelError: the function cannot be traced.
        UnsupportedOperation: an operation has no rule, or of "auto" and "hvp" no second derivative in autograd either.
        ZeroCurvatureError: no operation of the score has a second derivative, so that H is zero.
    """
    check_batch("x", x)
    _check_directions("V", V, x)
    if U is not None:
        _check_directions("U", U, x)
    if method not in METHODS:
        raise bad_argument("method", f"one of {', '.join(METHODS)}", repr(method))
    function, trace = resolved(fn, x, given)
    nV, nU = V.shape[1], V.shape[1] if U is None else U.shape[1]
    if 0 in (x.shape[0], nV, nU):
        return x.new_zeros(x.shape[0], nV, nU)
    limit = checked_limit(memory_limit, x.device)
    rules = None if method == "hvp" else _rules(function, x, trace, method)
    if rules is None:
        return hessian_products(function, x, V, V if U is None else U, limit)
    sides = (V,) if U is None else (V, U)
    with torch.no_grad():
        touched = touched_columns(rules.first_product, sides, limit)
        while True:
            plan = plan_pairs_of(rules, x, nV, 0 if U is None else nU, method, limit, sides, touched)
            try:
                return _in_chunks(rules, function, x, sides, touched, plan)
            except RuntimeError as error:
                if not is_out_of_memory(error) or plan.row_chunk * plan.items == 1:
                    raise
                rules.row_limit = max(1, plan.row_chunk * plan.items // 2)


def _rules(function: ScoreFunction, x: Tensor, trace: TracedFunction | None, method: str) -> Differentiable | None:
    """Return the rules of a score; None where there is one missing and the method leaves the choice."""
    if method == "auto" and function.model in _without_rules:
        return None
    try:
        with torch.no_grad():
            return differentiable(function, x) if trace is None else trace.derived(Differentiable)
    except UnsupportedOperation as error:
        if method != "auto":
            raise
        with contextlib.suppress(TypeError):  # not referred to weakly: tried again at each call
            _without_rules.add(function.model)
        tell(f"{error}, and are used: the same values, more slowly", function.model)
        return None


def hessian(
    fn: Callable[..., object],
    x: Tensor,
    *,
    method: str = "auto",
    memory_limit: int | None = None,
    **given: Unpack[Given],
) -> Tensor:
    """Compute the Hessian of each item's score, (B, N, N) for N entries per item; arguments as of `bilinear_form`."""
    check_batch("x", x)
    entries = x[0].numel() if x.shape[0] else 0
    function = prepare(fn, x, **given)
    if entries and method in ("auto", "forward"):
        chain = differentiable(function, x).chain(x, _SMALL_MATRIX)
        items = 0 if chain is None else _items_of_chain(chain, x, memory_limit)
        if chain is not None and items:
            with torch.no_grad():
                return torch.cat([chain_hessian(chain, part) for part in torch.split(x, items)])
    eye = torch.eye(entries, dtype=x.dtype, device=x.device).reshape(entries, *x.shape[1:])
    return bilinear_form(function, x, eye.expand(x.shape[0], *eye.shape), method=method, memory_limit=memory_limit)


def plan_bilinear_form(
    fn: Callable[..., object],
    x: Tensor,
    left: int,
    right: int = 0,
    *,
    method: str = "auto",
    memory_limit: int | None = None,
    **given: Unpack[Given],
) -> Plan:
    """Say what `bilinear_form` will do, and what it costs, for directions of which nothing is known.

    ``left`` is nV, ``right`` nU, or 0 where U is V; the method is not "hvp". All else is as of `bilinear_form`.

    Returns:
        The plan.
    """
    rules = differentiable(prepare(fn, x, **given), x)
    return plan_pairs_of(rules, x, left, right, method, checked_limit(memory_limit, x.device))


_SMALL_CHAIN = 1 << 26
"""Floating-point operations per item up to which a chain's Hessian is computed whole."""

_SMALL_MATRIX = 1 << 20
"""Entries of the largest matrix of such a chain."""


def _items_of_chain(chain: Chain, x: Tensor, memory_limit: int | None) -> int:
    """Choose how many items' Hessians of a chain to compute at a time; 0 where the general way is better."""
    if chain.weight is None or chain.is_piecewise_linear or chain_operations(chain, x[0].numel()) > _SMALL_CHAIN:
        return 0
    usable = usable_bytes(checked_limit(memory_limit, x.device)) - x.shape[0] * x[0].numel() ** 2 * x.element_size()
    return max(0, min(x.shape[0], usable // chain_bytes(chain, x, x[0].numel())))


def _check_directions(name: str, directions: object, x: Tensor) -> None:
    if not isinstance(directions, Tensor) or directions.ndim != x.ndim + 1:
        got = str(tuple(directions.shape)) if isinstance(directions, Tensor) else type(directions).__name__
        raise bad_argument(name, f"shape (B, n, ...) with the items' shape {tuple(x.shape[1:])}", got)
    expected = (x.shape[0], directions.shape[1], *x.shape[1:])
    if directions.shape != expected or directions.dtype != x.dtype or directions.device != x.device:
        got = f"{tuple(directions.shape)}, {directions.dtype}, {directions.device}"
        raise bad_argument(name, f"{expected}, {x.dtype}, {x.device}", got)


def _in_chunks(
    rules: Differentiable,
    function: ScoreFunction,
    x: Tensor,
    sides: tuple[Tensor, ...],
    touched: Touched | None,
    plan: Plan,
) -> Tensor:
    parts = []
    for start in range(0, x.shape[0], plan.items):
        of_items = [given[start : start + plan.items] for given in (x, *sides, *function.inputs)]
        parts.append(_chunk(rules, of_items, len(sides), touched, plan))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _chunk(rules: Differentiable, of_items: list[Tensor], sides: int, touched: Touched | None, plan: Plan) -> Tensor:
    touched = touched if plan.route == "forward" else None
    recorded = plan.operations < WORTH_RECORDING and not plan.few_places
    # One kernel for the values and derivatives of the layers in front, for which a record has dozens of operations.
    stem = rules.stem(of_items[0]) if recorded and plan.route == "forward" else None

    def run(x: Tensor, *others: Tensor) -> Tensor:
        extras = others[sides : len(of_items) - 1]
        state = rules.second_order.run(x, extras) if stem is None else stem.state(x, extras)
        known = None if touched is None else replace(touched, columns=others[-1])
        return _pairs(_Tangents(rules, state, plan, known), others[:sides])

    given = of_items if touched is None else [*of_items, touched.columns]
    if stem is not None:
        given = [stem.derivatives(given[0], 2), *given[1:]]
    if not recorded:
        return run(*given)
    order = touched is not None and touched.in_order
    key = (
        tuple(tensor.shape for tensor in given),
        sides,
        plan.route,
        plan.row_chunk,
        plan.group,
        touched is None,
        order,
    )
    return rules.replay.run(key, run, *given)


class _Tangents:
    """Makes rows at the inputs of the curved nodes, by either route."""

    def __init__(self, rules: Differentiable, state: State, plan: Plan, touched: Touched | None) -> None:
        self.program = rules.second_order
        self.state = state
        self.plan = plan
        self.touched = touched
        self.product = rules.first_product if plan.route == "forward" else None
        self.start = 0 if self.product is None else self.product.node
        self.gradients: Tensor | None = None
        if plan.route == "reverse" and rules.bottleneck is not None:
            self.start = rules.bottleneck
            self.gradients = self._gradients(self.program.graph.nodes[self.start].size)

    def _gradients(self, units: int) -> Tensor:
        """Return the gradients of the bottleneck's units: (units, B, N)."""
        value = self.state.tensor(self.start)
        parts = []
        for first in range(0, units, self.plan.row_chunk):
            count = min(self.plan.row_chunk, units - first)
            seeds = value.new_zeros(count, value.shape[0], units)
            seeds[torch.arange(count), :, torch.arange(first, first + count)] = 1
            seeds = seeds.reshape(count, *value.shape)
            parts.append(self.program.adjoints(self.state, (0,), {self.start: seeds})[0].flatten(2))
        return torch.cat(parts)

    def _started(self, sides: Sequence[Tensor], first: int) -> Tensor:
        """Make the rows of directions (B, n, ...) each where rows start; (R, B, *shape of the node)."""
        if self.gradients is not None:
            to_units = self.gradients.permute(1, 2, 0)
            rows = torch.cat([torch.matmul(side.flatten(2), to_units).transpose(0, 1) for side in sides])
            return rows.reshape(rows.shape[0], *self.state.tensor(self.start).shape)
        if self.product is not None:
            return self.product.rows(sides, self.touched, first)
        # One layout for all that follows: products of matrices copy strided rows one by one.
        return torch.cat([side.transpose(0, 1) for side in sides]).unsqueeze(2)

    def __call__(self, sides: Sequence[Tensor], first: int = 0) -> dict[int, Tensor]:
        """Make the rows of directions (B, n, ...) each, of which the first is number ``first`` of all."""
        chunks, wanted = [], self.program.curved_inputs
        one_side = torch.split(sides[0], self.plan.row_chunk, 1)
        for part in [(part,) for part in one_side] if len(sides) == 1 else [sides]:
            rows = {self.start: self._started(part, first)}
            chunks.append(self.program.tangents(self.state, rows, wanted, few_places=self.plan.few_places))
            first += part[0].shape[1]
        if len(chunks) == 1:
            return chunks[0]
        return {index: torch.cat([chunk[index] for chunk in chunks]) for index in chunks[0]}


def _is_small(plan: Plan, rows: int) -> bool:
    """Tell whether calls take longer than arithmetic, and the rows of both sides fit at once."""
    fits = rows <= min(plan.group, plan.row_chunk) and 2 * plan.bytes <= usable_bytes(plan.memory_limit)
    return fits and plan.operations < WORTH_RECORDING and not plan.few_places


def _pairs(tangents: _Tangents, sides: Sequence[Tensor]) -> Tensor:
    program, state, group = tangents.program, tangents.state, tangents.plan.group
    adjoints = program.adjoints(state, program.curved)
    V, U = sides[0], sides[-1]
    nV, nU, is_one_side = V.shape[1], U.shape[1], len(sides) == 1
    sums = V.new_zeros(V.shape[0], nV, nU)

    def add(block: Tensor, left: dict[int, Tensor], right: dict[int, Tensor]) -> None:
        for index in program.curved:
            if index in adjoints:
                block += program.rules[index].pair(state, adjoints[index][0], left, right)

    if not is_one_side and _is_small(tangents.plan, max(nV, nU)):
        rows = tangents(sides)
        add(sums, {i: row[:nV] for i, row in rows.items()}, {i: row[nV:] for i, row in rows.items()})
        return sums
    for i in range(0, nV, group):
        left = tangents([V[:, i : i + group]], i)
        for j in range(0, nU, group):
            same = is_one_side and i == j
            right = left if same else tangents([U[:, j : j + group]], j if is_one_side else nV + j)
            add(sums[:, i : i + group, j : j + group], left, right)
    return sums
