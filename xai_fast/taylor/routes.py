"""The forward and the reverse route to second derivatives, and the plan of a bilinear form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.errors import ZeroCurvatureError
from xai_fast.taylor.cost import cost_of
from xai_fast.taylor.differentiable import Differentiable
from xai_fast.taylor.first_product import Touched
from xai_fast.taylor.planner import Plan, plan_pairs
from xai_fast.taylor.touched import touched_places

__all__ = ["Route", "plan_pairs_of"]


@dataclass(frozen=True)
class Route:
    """A way to make the rows at the inputs of the curved nodes.

    Attributes:
        name: "forward" or "reverse".
        operations: floating-point operations an item.
        share: of the places of a node, those that a row touches on average, weighted by operations.
        streamed: entries that a direction moves through the caches on its way, with its part of the gradients.
    """

    name: str
    operations: int
    share: float
    streamed: int


_WORTH_A_LOOK = 1 << 24
"""Operations of all rows below which it does not pay to look whether they touch few places."""

_SHARE_THAT_GAINS = 0.9
"""The largest share of the operations of whole rows at which few places are followed."""


def _touched(rules: Differentiable, sides: Sequence[Tensor]) -> Tensor | None:
    """Find the places that the directions touch; None where that is most of them, or not worth the look."""
    rows = sum(side.shape[1] for side in sides)
    if rows * cost_of(rules.second_order).row_operations < _WORTH_A_LOOK:
        return None
    by_row = [side.transpose(0, 1).unsqueeze(2) for side in sides]

    def places(items: slice) -> Tensor | None:
        parts = [touched_places(side[:, items]) for side in by_row]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None

    # One item cannot touch more than all of them do: where it gains nothing, the others need no look.
    first = places(slice(0, 1))
    if first is None or rules.share_of_operations(first) > _SHARE_THAT_GAINS:
        return None
    return places(slice(None))


def _route(rules: Differentiable, directions: int, method: str, share: float) -> Route:
    program, narrow = rules.second_order, rules.bottleneck
    entries = math.prod(program.graph.input_shape)
    whole = cost_of(program)
    peak = int(share * whole.row_peak)
    forward = Route("forward", int(share * directions * whole.row_operations), share, peak + entries)
    if narrow is None or (narrow == 0 and method != "reverse"):
        return forward
    after = cost_of(program, narrow)
    units = program.graph.nodes[narrow].size
    # A gradient takes about as many operations back to the input as a tangent takes forward.
    before = whole.row_operations - after.row_operations
    operations = units * (before + 2 * entries * directions) + directions * after.row_operations
    streamed = -(-units * whole.row_peak // max(1, directions)) + after.row_peak + entries
    reverse = Route("reverse", operations, 1.0, streamed)
    if method == "auto":
        return min(forward, reverse, key=lambda route: route.operations)
    return reverse if method == "reverse" else forward


def plan_pairs_of(
    rules: Differentiable,
    x: Tensor,
    left: int,
    right: int,
    method: str,
    limit: int,
    sides: Sequence[Tensor] = (),
    known: Touched | None = None,
) -> Plan:
    """Return the plan of a bilinear form of ``left`` and ``right`` directions (0 where U is V).

    Where the directions are given it is seen whether they touch few places; ``known`` are the entries that they touch,
    see `xai_fast.taylor.first_product`. That the score is piecewise linear is a `ZeroCurvatureError`.
    """
    program = rules.second_order
    if not program.curved:
        raise ZeroCurvatureError(
            "model: expected a score with second derivatives, got one that is piecewise linear in the input, so that "
            'every interaction is zero; explain score="probability" or "log_probability" instead of a logit, or, where '
            'there are ReLUs, replace them by smooth activations (smooth="gelu" or "softplus")'
        )
    touched = _touched(rules, sides) if sides and known is None and rules.first_product is None else None
    share = rules.share_of_operations(touched) if known is None else rules.share_with_columns(known.columns)
    route = _route(rules, left + right, method, share)
    width = x.element_size()
    cost = cost_of(program)
    entries = x[0].numel()
    items, row_chunk, group, peak, least = plan_pairs(
        items=x.shape[0],
        left=left,
        right=right,
        base=width * cost.values,
        kept=width * cost.row_kept,
        transient=width * (int(route.share * cost.row_peak) + entries),
        streamed=width * route.streamed,
        given=width * (left * max(right, left) + (left + right) * entries),
        limit=limit,
        on_cpu=x.device.type == "cpu",
    )
    if rules.row_limit is not None:
        row_chunk = min(row_chunk, rules.row_limit)
        items = max(1, min(items, rules.row_limit // row_chunk))
    groups = -(-max(left, right) // group)
    rows = left + right if groups == 1 else left + groups * (right or left)
    pairs = left * (right or left) * cost.pair_operations
    return Plan(
        route=route.name,
        operations=x.shape[0] * (route.operations * rows // max(1, left + right) + pairs + 3 * cost.values),
        bytes=peak,
        memory_limit=limit,
        least_bytes=least,
        items=items,
        row_chunk=row_chunk,
        group=group,
        few_places=route.name == "forward" and touched is not None,
    )
