"""What is explained: from a model's output to one score per item.

The score f of the papers is the softmax probability of a class, or the output itself, such as a logit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from xai_fast.errors import InputError, bad_argument

__all__ = ["SCORES", "Objective", "Target", "WeightedOutputs", "at_least_float32"]

SCORES = ("auto", "output", "probability", "log_probability", "log_odds", "logit")
"""What a score is of the target's output z and its probability p, the softmax or, of a single output, the sigmoid.

"output" is z ("logit" is another name of it), and "log_odds" is log p / (1 - p), which does not saturate. "auto" is p
of several classes, and z of a single output.
"""

Target: TypeAlias = "int | Tensor | Sequence[int] | Callable[[object], Tensor] | None"


@dataclass(frozen=True)
class Objective:
    """The score of an item, a function of the model's output.

    The output is a tensor or an array (R, C), or (R,) or (R, 1) for a model with one output, or an object with
    ``logits``. A single output is explained as it is, such as a regression, unless a probability is asked for; then it
    is the logit of class 1, and the classes 0 and 1 may be named, whose outputs are -z and z. Any other output, such as
    a dict or a map of logits, needs a callable target.

    Args:
        target: None for the class that the model predicts, one class for all items, a class per item (a list or an
            integer tensor (B,)), or a callable from the model's output for R rows to scores (R,), used as they are. The
            callable sees rows of any items in any order, so it must treat each row alike.
        score: one of `SCORES`; not applied to what a callable returns.

    Raises:
        InputError: ``score`` or ``target`` is of the wrong kind.
    """

    target: Target = None
    score: str = "auto"

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
                "target",
                "None, an int, a list or tensor of ints (B,), a tuple (class, mask), or a callable",
                f"shape {tuple(self.target.shape)}" if isinstance(self.target, Tensor) else repr(self.target),
            )

    def targets(self, outputs: object, *, start: int, batch: int) -> Tensor | None:
        """Return the target of rows ``start, start + 1, ...`` of a batch of B, whose outputs these are: (R,) int64.

        None for a callable target, and for a single output without one. An `InputError` says that the outputs need a
        callable, or that a target is out of range or of another length than the batch.
        """
        if callable(self.target):
            return None
        logits = self.logits(outputs)
        rows, classes = logits.shape[0], max(logits.shape[1], 2)
        if self.target is None:
            return logits.argmax(1) if logits.shape[1] > 1 else None
        wanted = torch.as_tensor(self.target, dtype=torch.int64)
        if wanted.ndim == 1:
            if wanted.shape[0] != batch:
                raise bad_argument("target", f"one class per item, so {batch}", f"{wanted.shape[0]} classes")
            wanted = wanted[start : start + rows]
        if wanted.device.type != "meta" and wanted.numel():  # meta tensors have no values to check
            for bound in map(int, wanted.aminmax()):
                if not 0 <= bound < classes:
                    raise bad_argument("target", f"classes from 0 to {classes - 1}", str(bound))
        return wanted.to(logits.device).expand(rows)

    def __call__(self, outputs: object, targets: Tensor | None) -> Tensor:
        """Return the scores (R,) of rows from their outputs and `targets`, float32 or wider, differentiable.

        That a callable target returned something else is an `InputError`.
        """
        if callable(self.target):
            scores = self.target(outputs)
            if not isinstance(scores, Tensor) or scores.ndim != 1 or not scores.is_floating_point():
                got = f"{scores.dtype} {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
                raise bad_argument("target", "a callable that returns floating-point scores (R,)", got)
            return at_least_float32(scores)
        logits = at_least_float32(self.logits(outputs))
        if logits.shape[1] == 1:
            return self._of_one(logits[:, 0], targets)
        if targets is None:
            raise InputError("targets: expected the classes of the rows, got None")
        score = "probability" if self.score == "auto" else self.score
        if score == "probability":
            logits = logits.softmax(1)
        elif score == "log_probability":
            logits = logits.log_softmax(1)
        chosen = logits.gather(1, targets[:, None])[:, 0]
        if score == "log_odds":
            return chosen - logits.scatter(1, targets[:, None], -torch.inf).logsumexp(1)
        return chosen

    def _of_one(self, logits: Tensor, targets: Tensor | None) -> Tensor:
        """Score a single output, as the logit of class 1 where classes are named."""
        signed = logits if targets is None else torch.where(targets == 1, logits, -logits)
        if self.score == "probability":
            return signed.sigmoid()
        return nn.functional.logsigmoid(signed) if self.score == "log_probability" else signed

    def classes(self, outputs: object) -> int:
        """Count the classes, 1 of a single output."""
        return self.logits(outputs).shape[1]

    def is_probability(self, outputs: object) -> bool:
        """Tell whether the scores of such outputs are probabilities."""
        if callable(self.target) or self.score not in ("auto", "probability"):
            return False
        return self.score == "probability" or self.logits(outputs).shape[1] > 1

    def looks_like_probabilities(self, outputs: object) -> Tensor | None:
        """Tell by a bool on their device whether outputs that a softmax is for are probabilities; None for others."""
        if self.score in ("output", "logit") or callable(self.target):
            return None
        outputs = self.logits(outputs).detach()
        if outputs.shape[1] == 1:
            return None
        eps = 16 * outputs.shape[1] * torch.finfo(outputs.dtype).eps
        return ((outputs.sum(1) - 1).abs() <= eps).all() & (outputs >= 0).all()

    def logits(self, outputs: object) -> Tensor:
        """Give the outputs as floating-point numbers (R, C); an `InputError` asks for a callable where they are not."""
        outputs = getattr(outputs, "logits", outputs)
        outputs = torch.as_tensor(outputs) if isinstance(outputs, np.ndarray) else outputs
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
                f"{tuple(outputs.shape)}; pass target=(class, mask) of outputs with positions, or target=callable that "
                "maps them to scores (R,)"
            )
        return outputs


class WeightedOutputs(Objective):
    """A weighted sum of an item's outputs: it takes weights (R, C), in the place of classes."""

    def __call__(self, outputs: object, targets: Tensor | None) -> Tensor:
        """Compute the sums of rows, (R,)."""
        return self._terms(outputs, targets).sum(1)

    def size(self, outputs: object, targets: Tensor | None) -> Tensor:
        """Sum the magnitudes of the terms, (R,), to which the rounding of the sums is in proportion."""
        return self._terms(outputs, targets).abs().sum(1)

    def _terms(self, outputs: object, weights: Tensor | None) -> Tensor:
        assert weights is not None
        return at_least_float32(self.logits(outputs)) * weights

    def slopes(self, outputs: object, targets: Tensor | None) -> Tensor:
        """Give the weights (R, C) with which the sum has the slopes of the objective's own score at these outputs."""
        with torch.enable_grad():
            logits = at_least_float32(self.logits(outputs)).detach().requires_grad_()
            (slopes,) = torch.autograd.grad(super().__call__(logits, targets).sum(), logits)
        return slopes


def at_least_float32(x: Tensor) -> Tensor:
    """Widen half precision to float32, and leave the rest."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
