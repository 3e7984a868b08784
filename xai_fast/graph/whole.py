"""A batch's score as a function that can be traced."""

from __future__ import annotations

from torch import Tensor

from xai_fast.engine.call import Call
from xai_fast.graph.function import ScoreFunction

__all__ = ["whole"]


def whole(call: Call, chunk: range) -> tuple[ScoreFunction, Tensor]:
    """Return the score function of items, and their scores."""
    inputs, item = call.take(chunk), call.positions(chunk)
    arguments = (*inputs[1:], *call.extra.rows(item))
    outputs = call.run(inputs, item)
    targets = call.targets(outputs, chunk)
    per_item = [True] * (len(inputs) - 1) + list(call.extra.per_item)
    extras = tuple(a for a, rows in zip(arguments, per_item, strict=True) if rows and isinstance(a, Tensor))
    fixed = {i: a for i, (a, rows) in enumerate(zip(arguments, per_item, strict=True)) if not rows}
    function = ScoreFunction(call.at or call.model, call.objective, extras, fixed, targets)
    return function, call.objective(outputs, targets)
