"""From what a user gives to a score that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from typing_extensions import TypedDict

from xai_fast.engine.checks import check_eval_mode
from xai_fast.engine.extra import ExtraArguments
from xai_fast.engine.objective import Objective, Target
from xai_fast.errors import bad_argument
from xai_fast.graph import ScoreFunction, TracedFunction, find_trace

__all__ = ["Given", "check_batch", "prepare", "resolved"]


class Given(TypedDict, total=False):
    """What `prepare` takes besides the function and the items."""

    target: Target
    score: str
    additional_forward_args: object


def prepare(
    fn: Callable[..., object],
    x: Tensor,
    *,
    target: Target = None,
    score: str = "auto",
    additional_forward_args: object = None,
) -> ScoreFunction:
    """Resolve the targets of a batch. Every function of `xai_fast.taylor` takes the result in place of fn.

    The model is traced when derivatives are first asked for, and again after a change of what the trace has read:
    weights, submodules, captured variables. Changes through ``Tensor.data`` and inside Python containers go unnoticed.

    Args:
        fn: a module in evaluation mode, whose outputs are turned into scores by ``target`` and ``score``; or any
            function from (B, ...) to scores (B,). Items must not depend on each other.
        x: (B, ...) float32 or float64.
        target: for a module: None for the predicted class, an int, a list or tensor (B,), or a callable on the outputs.
        score: see `xai_fast.engine.objective.SCORES`.
        additional_forward_args: further arguments; tensors whose first dimension is B hold a row per item.

    Returns:
        The score of these items: it holds their classes and extra arguments, so it is for batches of the same items.

    Raises:
        InputError: an argument does not fit.
        ModelError: the model is in training mode.
    """
    given = Given(target=target, score=score, additional_forward_args=additional_forward_args)
    return resolved(fn, x, given)[0]


def resolved(fn: Callable[..., object], x: Tensor, given: Given) -> tuple[ScoreFunction, TracedFunction | None]:
    """Do what `prepare` does, and give the trace too where one was looked up for it."""
    if isinstance(fn, ScoreFunction):
        return fn, None
    if not callable(fn):
        raise bad_argument("fn", "a module or a function", type(fn).__name__)
    check_eval_mode(fn)
    batch, target, others = check_batch("x", x).shape[0], given.get("target"), given.get("additional_forward_args")
    extra = ExtraArguments(others, batch)
    if extra.keywords:
        raise bad_argument("additional_forward_args", "positional arguments", f"keywords {extra.keywords}")
    values = extra.values
    extras = tuple(v for v, rows in zip(values, extra.per_item, strict=True) if rows and isinstance(v, Tensor))
    fixed = {i: v for i, (v, rows) in enumerate(zip(values, extra.per_item, strict=True)) if not rows}
    if not isinstance(fn, nn.Module) and target is None:
        return ScoreFunction(fn, None, extras, fixed), None
    objective = Objective(target, given.get("score", "auto"))
    function = ScoreFunction(fn, objective, extras, fixed)
    if callable(target) or not batch:
        return function, None
    if target is not None:
        # A trace knows how many classes there are, so that the model need not run for that.
        found = find_trace(replace(function, classes=x.new_zeros(batch, dtype=torch.int64)), x)
        if found is not None and found.output_shape is not None:
            like_outputs = x.new_empty(batch, *found.output_shape)
            return replace(function, classes=_classes(objective, like_outputs, batch)), found
    with torch.no_grad():
        return replace(function, classes=_classes(objective, function.outputs(x, *extras), batch)), None


def _classes(objective: Objective, outputs: object, batch: int) -> Tensor | None:
    classes = objective.targets(outputs, start=0, batch=batch)
    return None if classes is None else classes.clone()


def check_batch(name: str, x: object) -> Tensor:
    """Check that an argument is a batch (B, ...) of floating-point items."""
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64) or x.ndim < 1:
        got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise bad_argument(name, "a float32 or float64 tensor (B, ...)", got)
    return x
