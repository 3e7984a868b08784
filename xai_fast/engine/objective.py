"""What is explained: from a model's output to one score per item.

``score`` of the paper is the softmax probability of a class; the logit and the log-probability are the other two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from xai_fast.errors import InputError, bad_argument

__all__ = ["SCORES", "Objective", "Target"]

SCORES = ("probability", "logit", "log_probability")

Target: TypeAlias = "int | Tensor | Sequence[int] | Callable[[object], Tensor] | None"


@dataclass(frozen=True)
class Objective:
    """The score of an item, a function of the model's output.

    The output is a tensor (R, C) of logits, or (R,) or (R, 1) for a model with one output, which is read as the logit
    of a binary classifier (so a regression is explained with ``score="logit"``, the output itself). Any other output,
    such as a tuple, a dict or a map of logits, needs a callable target.

    Args:
        target: None for the class that the model predicts, one class for all items, a class per item (a list or an
            integer tensor (B,)), or a callable from the model's output for R rows to scores (R,), used as they are. The
            callable sees rows of any items in any order, so it must treat each row alike.
        score: one of `SCORES`; not applied to what a callable returns.

    Raises:
        InputError: ``score`` or ``target`` is of the wrong kind.
    """

    target: Target = None
    score: str = "probability"

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise bad_argument("score", f"one of {', '.join(SCORES)}", repr(self.score))
        if self.target is None or callable(self.target):
            return
        try:
            classes = torch.as_tensor(self.target)
        except (TypeError, ValueError, RuntimeError):
            classes = None
        integers = classes is not None and not classes.is_floating_point() and not classes.is_complex()
        if classes is None or classes.ndim > 1 or (classes.numel() and (not integers or classes.dtype == torch.bool)):
            raise bad_argument(
                "target", "None, an int, a list or tensor of ints (B,), or a callable", repr(self.target)
            )

    def targets(self, outputs: object, *, start: int, batch: int) -> Tensor | None:
        """Resolve the target of rows ``start, start + 1, ...`` of the batch, whose outputs these are.

        Args:
            outputs: the model's output for these rows.
            start: the position of the first row in the batch.
            batch: B, the size of the whole batch.

        Returns:
            (R,) int64 on the device of the outputs, or None for a callable target.

        Raises:
            InputError: the outputs need a callable, or a target is out of range or of another length than the batch.
        """
        if callable(self.target):
            return None
        logits = self._logits(outputs)
        rows, classes = logits.shape
        if self.target is None:
            return logits.argmax(1)
        wanted = torch.as_tensor(self.target, dtype=torch.int64)
        if wanted.ndim == 1:
            if wanted.shape[0] != batch:
                raise bad_argument("target", f"one class per item, so {batch}", f"{wanted.shape[0]} classes")
            wanted = wanted[start : start + rows]
        if wanted.device.type != "meta":  # meta tensors have no values to check
            outside = wanted[(wanted < 0) | (wanted >= classes)]
            if outside.numel():
                raise bad_argument("target", f"classes from 0 to {classes - 1}", str(int(outside[0])))
        return wanted.to(logits.device).expand(rows)

    def __call__(self, outputs: object, targets: Tensor | None) -> Tensor:
        """Compute the scores of rows.

        Args:
            outputs: the model's output for R rows.
            targets: (R,) as `targets` gave them, or None for a callable target.

        Returns:
            (R,) scores, float32 or wider, differentiable.

        Raises:
            InputError: a callable target returned something else than scores (R,).
        """
        if callable(self.target):
            scores = self.target(outputs)
            if not isinstance(scores, Tensor) or scores.ndim != 1 or not scores.is_floating_point():
                got = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
                raise bad_argument("target", "a callable that returns floating-point scores (R,)", got)
            return _at_least_float32(scores)
        logits = _at_least_float32(self._logits(outputs))
        if logits.shape[1] == 1:
            logits = logits[:, 0]
            binary = {"probability": torch.sigmoid, "log_probability": torch.nn.functional.logsigmoid}
            return binary[self.score](logits) if self.score in binary else logits
        if self.score == "probability":
            logits = logits.softmax(1)
        elif self.score == "log_probability":
            logits = logits.log_softmax(1)
        if targets is None:
            raise InputError("targets: expected the classes of the rows, got None")
        return logits.gather(1, targets[:, None])[:, 0]

    def saturated(self, scores: Tensor) -> Tensor | None:
        """Tell which scores are at their limit within rounding, so that their gradients are rounding too.

        Args:
            scores: (R,) as they came from here.

        Returns:
            (R,) bool: probabilities of 1 or 0 within rounding; None where the score is no probability.
        """
        if self.score != "probability" or callable(self.target):
            return None
        limits = torch.finfo(scores.dtype)
        return (scores >= 1 - 4 * limits.eps) | (scores <= limits.tiny)

    def _logits(self, outputs: object) -> Tensor:
        if not isinstance(outputs, Tensor):
            kind = type(outputs).__name__
            raise InputError(
                f"model: expected an output tensor, got a {kind}; pass target=callable that maps it to scores (R,)"
            )
        if outputs.ndim == 1:
            outputs = outputs[:, None]
        if outputs.ndim != 2 or not outputs.is_floating_point():
            raise InputError(
                f"model: expected floating-point outputs (R, C), (R, 1) or (R,), got {outputs.dtype} "
                f"{tuple(outputs.shape)}; pass target=callable that maps them to scores (R,)"
            )
        return outputs


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
