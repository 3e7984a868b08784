"""Second derivatives: V^T H U of each item, without a Hessian and without nested differentiation.

With the adjoints mu of one backward pass and first-order tangents,

    V^T H U = sum over curved nodes of <mu, D^2 node [tangents along V, tangents along U]>

so that the last order needs no matrix product of the network's, and a node without second derivative costs nothing. The
tangents come by the forward route, one a direction, or by the reverse route: one gradient a unit of the narrowest
node through which all curvature is reached (ten for a network of ReLU layers under a softmax of ten classes), and a
product with the directions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument
from xai_fast.taylor.chain_hessian import chain_bytes, chain_hessian, chain_operations
from xai_fast.taylor.feedforward import Chain
from xai_fast.taylor.function import Function, check_batch, prepare
from xai_fast.taylor.planner import Plan, checked_limit, is_out_of_memory, usable_bytes
from xai_fast.taylor.products import hessian_products
from xai_fast.taylor.replay import WORTH_RECORDING
from xai_fast.taylor.routes import plan_pairs_of
from xai_fast.taylor.rules import State

__all__ = ["METHODS", "bilinear_form", "hessian", "plan_bilinear_form"]

METHODS = ("auto", "forward", "reverse", "hvp")


def bilinear_form(
    fn: Callable[..., object],
    x: Tensor,
    V: Tensor,
    U: Tensor | None = None,
    *,
    target: Target = None,
    score: str = "probability",
    additional_forward_args: object = None,
    method: str = "auto",
    memory_limit: int | None = None,
) -> Tensor:
    """Compute V^T H U for each item, H the Hessian of its score.

    Args:
        fn: a module in evaluation mode (with ``target`` and ``score``), a function from (B, ...) to scores (B,), or
            what `prepare` gave. Items must not depend on each other.
        x: (B, ...) float32 or float64.
        V: (B, nV, ...) directions like the items of ``x``.
        U: (B, nU, ...); None for V itself.
        target: see `prepare`.
        score: see `prepare`.
        additional_forward_args: see `prepare`.
        method: "forward" (nV + nU tangents), "reverse" (a gradient a unit of the narrowest node before the curvature),
            "auto" (whichever is counted cheaper), or "hvp" (Hessian-vector products by autograd, for models with
            operations that have no rule).
        memory_limit: in bytes, for what is computed here; None for half of what is free.

    Returns:
        (B, nV, nU) in the dtype of x.

    Raises:
        InputError: an argument does not fit, or the memory limit is too small; the message says the least that would
            do.
        ModelError: the function cannot be traced.
        UnsupportedOperation: an operation has no rule.
        ZeroCurvatureError: no operation of the score has a second derivative, so that H is zero.
    """
    check_batch("x", x)
    _check_directions("V", V, x)
    if U is not None:
        _check_directions("U", U, x)
    if method not in METHODS:
        raise bad_argument("method", f"one of {', '.join(METHODS)}", repr(method))
    function = prepare(fn, x, target=target, score=score, additional_forward_args=additional_forward_args)
    nV, nU = V.shape[1], V.shape[1] if U is None else U.shape[1]
    if 0 in (x.shape[0], nV, nU):
        return x.new_zeros(x.shape[0], nV, nU)
    if method == "hvp":
        return hessian_products(function, x, V, V if U is None else U, checked_limit(memory_limit, x.device))
    with torch.no_grad():
        while True:
            plan = plan_pairs_of(function, x, nV, 0 if U is None else nU, method, memory_limit, (V, U))
            try:
                return _in_chunks(function, x, V, U, plan)
            except RuntimeError as error:
                if not is_out_of_memory(error) or plan.row_chunk * plan.items == 1:
                    raise
                function.row_limit = max(1, plan.row_chunk * plan.items // 2)


def hessian(
    fn: Callable[..., object],
    x: Tensor,
    *,
    target: Target = None,
    score: str = "probability",
    additional_forward_args: object = None,
    method: str = "auto",
    memory_limit: int | None = None,
) -> Tensor:
    """Compute the Hessian of each item's score.

    Args:
        fn: see `bilinear_form`.
        x: (B, ...), N entries an item.
        target: see `prepare`.
        score: see `prepare`.
        additional_forward_args: see `prepare`.
        method: see `bilinear_form`.
        memory_limit: see `bilinear_form`.

    Returns:
        (B, N, N) in the dtype of x.
    """
    check_batch("x", x)
    entries = x[0].numel() if x.shape[0] else 0
    if entries and method in ("auto", "forward"):
        fn = prepare(fn, x, target=target, score=score, additional_forward_args=additional_forward_args)
        chain = fn.chain(x)
        items = 0 if chain is None else _items_of_chain(chain, x, memory_limit)
        if chain is not None and items:
            with torch.no_grad():
                return torch.cat([chain_hessian(chain, part) for part in torch.split(x, items)])
    eye = torch.eye(entries, dtype=x.dtype, device=x.device).reshape(entries, *x.shape[1:])
    return bilinear_form(
        fn,
        x,
        eye.expand(x.shape[0], *eye.shape),
        target=target,
        score=score,
        additional_forward_args=additional_forward_args,
        method=method,
        memory_limit=memory_limit,
    )


_SMALL_CHAIN = 1 << 24
"""Floating-point operations an item up to which a chain's Hessian is computed whole."""


def _items_of_chain(chain: Chain, x: Tensor, memory_limit: int | None) -> int:
    """Choose how many items' Hessians of a chain to compute at a time; 0 where the general way is better."""
    if chain.weight is None or chain.is_piecewise_linear or chain_operations(chain, x[0].numel()) > _SMALL_CHAIN:
        return 0
    usable = usable_bytes(checked_limit(memory_limit, x.device)) - x.shape[0] * x[0].numel() ** 2 * x.element_size()
    return max(0, min(x.shape[0], usable // chain_bytes(chain, x[:1])))


def plan_bilinear_form(
    fn: Callable[..., object],
    x: Tensor,
    left: int,
    right: int = 0,
    *,
    target: Target = None,
    score: str = "probability",
    additional_forward_args: object = None,
    method: str = "auto",
    memory_limit: int | None = None,
) -> Plan:
    """Say what `bilinear_form` will do, and what it costs.

    Args:
        fn: see `bilinear_form`.
        x: (B, ...).
        left: nV.
        right: nU, or 0 where U is V.
        target: see `prepare`.
        score: see `prepare`.
        additional_forward_args: see `prepare`.
        method: "auto", "forward" or "reverse".
        memory_limit: see `bilinear_form`.

    Returns:
        The plan.
    """
    function = prepare(fn, x, target=target, score=score, additional_forward_args=additional_forward_args)
    return plan_pairs_of(function, x, left, right, method, memory_limit)


def _check_directions(name: str, directions: object, x: Tensor) -> None:
    if not isinstance(directions, Tensor) or directions.ndim != x.ndim + 1:
        got = str(tuple(directions.shape)) if isinstance(directions, Tensor) else type(directions).__name__
        raise bad_argument(name, f"shape (B, n, ...) with the items' shape {tuple(x.shape[1:])}", got)
    expected = (x.shape[0], directions.shape[1], *x.shape[1:])
    if directions.shape != expected or directions.dtype != x.dtype or directions.device != x.device:
        got = f"{tuple(directions.shape)}, {directions.dtype}, {directions.device}"
        raise bad_argument(name, f"{expected}, {x.dtype}, {x.device}", got)


def _in_chunks(function: Function, x: Tensor, V: Tensor, U: Tensor | None, plan: Plan) -> Tensor:
    parts = []
    for start in range(0, x.shape[0], plan.items):
        end = start + plan.items
        inputs = tuple(extra[start:end] for extra in function.inputs)
        sides = (V[start:end],) if U is None else (V[start:end], U[start:end])
        parts.append(_chunk(function, x[start:end], sides, inputs, plan))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _chunk(function: Function, x: Tensor, sides: tuple[Tensor, ...], inputs: tuple[Tensor, ...], plan: Plan) -> Tensor:
    program = function.program(x)

    def run(x: Tensor, *others: Tensor) -> Tensor:
        state = program.run(x, others[len(sides) :])
        return _pairs(function, state, others[0], others[1] if len(sides) == 2 else None, plan)

    if plan.operations >= WORTH_RECORDING or plan.few_places:
        return run(x, *sides, *inputs)
    key = (tuple(side.shape for side in sides), plan.route, plan.row_chunk, plan.group)
    # A record fixes how tensors are viewed, so it is made and run for one layout.
    return function.replay.run(key, run, *(given.contiguous() for given in (x, *sides, *inputs)))


class _Tangents:
    """Makes rows at the inputs of the curved nodes, by either route."""

    def __init__(self, function: Function, state: State, plan: Plan) -> None:
        self.program = function.program_traced
        self.state = state
        self.plan = plan
        self.start = 0
        self.gradients: Tensor | None = None
        if plan.route == "reverse" and function.bottleneck is not None:
            self.start = function.bottleneck.node
            self.gradients = self._gradients(function.bottleneck.units)

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

    def __call__(self, directions: Tensor) -> dict[int, Tensor]:
        wanted = self.program.curved_inputs
        chunks = []
        for part in torch.split(directions, self.plan.row_chunk, dim=1):
            if self.gradients is None:
                rows = part.transpose(0, 1).unsqueeze(2)
            else:
                value = self.state.tensor(self.start)
                rows = torch.matmul(part.flatten(2), self.gradients.permute(1, 2, 0)).transpose(0, 1)
                rows = rows.reshape(rows.shape[0], *value.shape)
            chunks.append(
                self.program.tangents(self.state, {self.start: rows}, wanted, few_places=self.plan.few_places)
            )
        if len(chunks) == 1:
            return chunks[0]
        return {index: torch.cat([chunk[index] for chunk in chunks]) for index in chunks[0]}


def _pairs(function: Function, state: State, V: Tensor, U: Tensor | None, plan: Plan) -> Tensor:
    program = function.program_traced
    adjoints = program.adjoints(state, program.curved)
    tangents = _Tangents(function, state, plan)
    other = V if U is None else U
    sums = V.new_zeros(V.shape[0], V.shape[1], other.shape[1])
    for i in range(0, V.shape[1], plan.group):
        left = tangents(V[:, i : i + plan.group])
        for j in range(0, other.shape[1], plan.group):
            right = left if U is None and i == j else tangents(other[:, j : j + plan.group])
            block = sums[:, i : i + plan.group, j : j + plan.group]
            for index in program.curved:
                if index in adjoints:
                    block += program.rules[index].pair(state, adjoints[index][0], left, right)
    return sums
