"""Scores of a batch of rows and their gradient: one forward and one backward pass of the user's model."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai_fast.engine.call import ExtraArguments, no_gradient_path
from xai_fast.engine.objective import Objective
from xai_fast.errors import InputError

__all__ = ["PRECISIONS", "FlatInputs", "ScoreGradient", "compiled"]

PRECISIONS = ("fp32", "bf16")


class FlatInputs:
    """The layout of one or more input tensors side by side in rows (R, N), N the entries of all of them.

    Args:
        inputs: the tensors (B, ...); only their shapes are read.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.shapes = [tuple(value.shape[1:]) for value in inputs]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.entries = sum(self.sizes)

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Lay tensors (R, ...) side by side.

        Args:
            values: one tensor an input.

        Returns:
            (R, N) contiguous; for a single contiguous tensor a view of it.
        """
        flat = [value.flatten(1) for value in values]
        return (flat[0] if len(flat) == 1 else torch.cat(flat, 1)).contiguous()

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Give each input its part of the rows.

        Args:
            rows: (R, N).

        Returns:
            One tensor (R, ...) an input.
        """
        parts = torch.split(rows, self.sizes, 1)
        return tuple(part.reshape(rows.shape[0], *shape) for part, shape in zip(parts, self.shapes, strict=True))


def compiled(model: Callable[..., object], device: torch.device) -> Callable[..., object]:
    """Compile a model for one static shape; on a GPU its passes are replayed as CUDA graphs.

    Args:
        model: the model.
        device: where it runs.

    Returns:
        The compiled callable; the model itself is not changed.
    """
    return torch.compile(model, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)


class ScoreGradient:
    """The function from rows to scores f and gradients F.

    Args:
        forward: the model, or its compiled form.
        objective: the score.
        layout: how the inputs lie in a row.
        extra: additional arguments of the model.
        precision: "fp32" computes in the dtype of the inputs, "bf16" under bfloat16 autocast.
        memory_format: of 4-d inputs.
    """

    def __init__(
        self,
        forward: Callable[..., object],
        objective: Objective,
        layout: FlatInputs,
        extra: ExtraArguments,
        precision: str,
        memory_format: torch.memory_format,
    ) -> None:
        self._forward = forward
        self.objective = objective
        self._layout = layout
        self._extra = extra
        self._precision = precision
        self._memory_format = memory_format

    def _inputs(self, rows: Tensor) -> list[Tensor]:
        values = [value.detach() for value in self._layout.split(rows)]
        return [v.contiguous(memory_format=self._memory_format) if v.ndim == 4 else v for v in values]

    def _outputs(self, inputs: Sequence[Tensor], item: Tensor) -> object:
        autocast = (
            torch.autocast(item.device.type, dtype=torch.bfloat16)
            if self._precision == "bf16"
            else contextlib.nullcontext()
        )
        with autocast:
            return self._forward(*inputs, *self._extra.rows(item))

    def score(self, rows: Tensor, item: Tensor, start: int, batch: int) -> tuple[Tensor, Tensor | None]:
        """Compute the scores of items, without a gradient, and resolve their targets.

        Args:
            rows: (R, N), the items from ``start`` on.
            item: (R,) int64, their positions in the batch.
            start: the first of them.
            batch: B, the size of the whole batch.

        Returns:
            Scores (R,) and targets (R,), or None for a callable target.
        """
        with torch.no_grad():
            # A copy, so that a model that works in place does not reach the user's inputs.
            outputs = self._outputs(self._inputs(rows.clone()), item)
            targets = self.objective.targets(outputs, start=start, batch=batch)
            return self._checked(self.objective(outputs, targets), rows), targets

    def __call__(self, rows: Tensor, item: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute scores and gradients.

        Args:
            rows: (R, N).
            item: (R,) int64, the item of each row.
            targets: (R,) the class of each row, or None for a callable target.

        Returns:
            f (R,), and F = grad f (R, N) in the dtype of ``rows``, contiguous.

        Raises:
            ModelError: no gradient reaches the rows.
            InputError: the scores do not fit the rows.
        """
        inputs = [value.requires_grad_() for value in self._inputs(rows)]
        with torch.enable_grad():
            scores = self._checked(self.objective(self._outputs(inputs, item), targets), rows)
        if not scores.requires_grad:
            raise no_gradient_path()
        gradients = torch.autograd.grad(scores, inputs, torch.ones_like(scores), allow_unused=True)
        if all(gradient is None for gradient in gradients):
            raise no_gradient_path()
        used = [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, inputs, strict=True)]
        return scores.detach(), self._layout.join(used)

    def _checked(self, scores: Tensor, rows: Tensor) -> Tensor:
        if scores.shape[0] != rows.shape[0]:
            raise InputError(f"model: expected one score a row, ({rows.shape[0]},), got {tuple(scores.shape)}")
        return scores
