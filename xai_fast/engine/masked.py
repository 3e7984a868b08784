"""Scores of inputs whose pixels are replaced step by step: the baselines, and the batched engine of all curves."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from xai_fast.arguments import check_integer, check_positive
from xai_fast.engine.call import ExtraArguments, check_eval_mode, check_inputs, default_rows, preferred_memory_format
from xai_fast.engine.objective import Objective
from xai_fast.errors import bad_argument

__all__ = ["Baseline", "Perturbation", "baseline_inputs", "gaussian_blur", "replaced_fractions", "replaced_pixels"]

Baseline: TypeAlias = "str | Tensor"

_TRUNCATE = 4.0


def replaced_pixels(pixels: int, steps: int) -> list[int]:
    """List how many pixels are replaced after each step: ``floor(k * pixels / steps)`` for k = 0..steps."""
    return [k * pixels // steps for k in range(steps + 1)]


def replaced_fractions(pixels: int, steps: int, like: Tensor) -> Tensor:
    """Give the share of pixels that are replaced after each step, (steps + 1,), with dtype and device of ``like``."""
    counts = torch.tensor(replaced_pixels(pixels, steps), dtype=torch.float64)
    return (counts / pixels).to(like.device, like.dtype)


def gaussian_blur(inputs: Tensor, sigma: float) -> Tensor:
    """Blur the spatial dimensions with a Gaussian, cut off at 4 sigma, the borders mirrored.

    The same as ``scipy.ndimage.gaussian_filter(mode="mirror", truncate=4.0)`` on each channel, where the mirror stands
    on the border pixel (``d c b | a b c d | c b a``), also where the kernel is wider than the picture. As the filter is
    separable and linear, it is one small matrix product for each spatial dimension.

    Args:
        inputs: (B, C, ...) with at least one spatial dimension.
        sigma: the standard deviation in pixels.

    Returns:
        Like ``inputs``.

    Raises:
        InputError: there is no spatial dimension, or sigma is not positive.
    """
    if inputs.ndim < 3:
        raise bad_argument("inputs", "spatial dimensions to blur, (B, C, ...)", str(tuple(inputs.shape)))
    check_positive("sigma", sigma)
    blurred = inputs.detach()
    # The caller's autocast is for the model: in bfloat16 the weights of a wide kernel would no longer add up to one.
    kind = inputs.device.type
    autocast = torch.amp.is_autocast_available(kind)
    with torch.no_grad(), torch.autocast(kind, enabled=False) if autocast else contextlib.nullcontext():
        for dim in range(2, inputs.ndim):
            matrix = _blur_matrix(inputs.shape[dim], sigma).to(inputs.device, inputs.dtype)
            blurred = (blurred.movedim(dim, -1) @ matrix.T).movedim(-1, dim)
    return torch.empty_like(inputs).copy_(blurred)


def _blur_matrix(size: int, sigma: float) -> Tensor:
    """Give the (size, size) float64 matrix of the one-dimensional filter, mirrored columns added up."""
    reach = int(_TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    weights /= weights.sum()
    period = max(2 * (size - 1), 1)
    source = (torch.arange(size)[:, None] + offsets) % period
    source = torch.where(source < size, source, period - source)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, source, weights.expand(size, -1).contiguous())


def baseline_inputs(
    name: str, baseline: Baseline, inputs: Tensor, *, black: float | Sequence[float] | Tensor, blur_sigma: float
) -> Tensor:
    """Build the inputs from which pixels are taken.

    Args:
        name: the argument's name, for the message.
        baseline: ``"black"``, ``"blur"``, or a tensor that broadcasts to the inputs, on their device.
        inputs: (B, C, ...) or (B, N).
        black: black in the model's input units, one value or one a channel.
        blur_sigma: the standard deviation of the blur in pixels.

    Returns:
        Like ``inputs``, possibly expanded.

    Raises:
        InputError: the baseline is unknown or does not broadcast, or black or the blur are not as expected.
    """
    if isinstance(baseline, str) and baseline == "blur":
        check_positive("blur_sigma", blur_sigma)
        return gaussian_blur(inputs, blur_sigma)
    if isinstance(baseline, str) and baseline == "black":
        return _black_values(black, inputs).reshape(-1, *[1] * (inputs.ndim - 2)).expand(inputs.shape)
    if not isinstance(baseline, Tensor):
        got = repr(baseline) if isinstance(baseline, str) else type(baseline).__name__
        raise bad_argument(name, '"black", "blur" or a tensor', got)
    if baseline.device != inputs.device:
        raise bad_argument(name, f"a tensor on {inputs.device}", f"one on {baseline.device}")
    try:
        return baseline.detach().to(inputs.dtype).expand(inputs.shape)
    except RuntimeError as error:
        expected = f"a tensor that broadcasts to the inputs {tuple(inputs.shape)}"
        raise bad_argument(name, expected, f"shape {tuple(baseline.shape)}") from error


def _black_values(black: float | Sequence[float] | Tensor, inputs: Tensor) -> Tensor:
    expected = f"one finite number, or {inputs.shape[1]}, one a channel"
    try:
        values = torch.as_tensor(black, dtype=inputs.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise bad_argument("black", expected, repr(black)) from error
    if values.ndim > 1 or (values.ndim == 1 and values.shape[0] != inputs.shape[1]):
        raise bad_argument("black", expected, f"shape {tuple(values.shape)}")
    if not values.isfinite().all():
        raise bad_argument("black", expected, repr(black))
    return values.to(inputs.device)


@dataclass(frozen=True)
class Perturbation:
    """The scores of a batch of items under perturbation, a bounded number of rows at a time.

    Nothing here waits for the device, and no autograd graph is built.

    Attributes:
        model: called with rows (R, ...) of any items, and the rows of the additional arguments.
        objective: from the outputs to scores.
        extra: the additional arguments.
        inputs: (B, C, ...) or (B, N), the items.
        rows: the most rows that reach the model at once.
        channels_last: the memory format in which they reach it.
    """

    model: Callable[..., object]
    objective: Objective
    extra: ExtraArguments
    inputs: Tensor
    rows: int
    channels_last: bool

    @classmethod
    def of(
        cls,
        model: Callable[..., object],
        inputs: Tensor | tuple[Tensor, ...],
        objective: Objective,
        *,
        additional_forward_args: object,
        internal_batch_size: int | None,
    ) -> Perturbation:
        """Check the model and the inputs, and build the engine for them.

        Args:
            model: a module in evaluation mode, or any other callable.
            inputs: (B, C, ...) or (B, N), float32 or float64.
            objective: from the outputs to scores.
            additional_forward_args: further arguments of the model; tensors with B rows are taken by row.
            internal_batch_size: the most rows that reach the model at once; None is 8 on a CPU, 64 elsewhere, and more
                where items are small.

        Returns:
            The engine.

        Raises:
            ModelError: the model is in training mode.
            InputError: an argument does not fit.
        """
        values = check_inputs(inputs)
        if isinstance(inputs, tuple):
            raise bad_argument("inputs", "one tensor (further inputs go to additional_forward_args)", "a tuple")
        check_eval_mode(model)
        items = values[0].detach()
        rows = default_rows(math.prod(items.shape[1:]), items.device)
        if internal_batch_size is not None:
            rows = check_integer("internal_batch_size", internal_batch_size, 1)
        preferred = preferred_memory_format(model, items.device, "fp32")
        channels_last = items.is_contiguous(memory_format=torch.channels_last) and not items.is_contiguous()
        return cls(
            model,
            objective,
            ExtraArguments(additional_forward_args, items.shape[0]),
            items,
            rows,
            items.ndim == 4 and (channels_last or preferred == torch.channels_last),
        )

    def check_fit(self, attributions: Tensor) -> None:
        """Check that attributions, as they passed `check_attributions`, belong to the inputs.

        Args:
            attributions: (B, C', ...) with the spatial shape of the inputs and any number of channels, or (B, N).

        Raises:
            InputError: batch, spatial shape or device differ.
        """
        wanted, got = self.inputs.shape, attributions.shape
        same = wanted == got if len(wanted) == 2 else wanted[0] == got[0] and wanted[2:] == got[2:]
        if not same or len(wanted) != len(got):
            expected = f"shape {tuple(wanted)} like the inputs{', with any number of channels' * (len(wanted) > 2)}"
            raise bad_argument("attributions", expected, str(tuple(got)))
        if attributions.device != self.inputs.device:
            raise bad_argument("attributions", f"a tensor on {self.inputs.device}", f"one on {attributions.device}")

    @torch.no_grad()
    def clean(self) -> tuple[Tensor, Tensor | None]:
        """Score the unperturbed inputs.

        Returns:
            Scores (B,), and targets (B,) int64, None for a callable target: those that all later scores are about.
        """
        scores: list[Tensor] = []
        targets: list[Tensor] = []
        for item in self._chunks(self.inputs.shape[0]):
            outputs = self._outputs(self.inputs[item], item)
            start = sum(chunk.shape[0] for chunk in scores)
            classes = self.objective.targets(outputs, start=start, batch=self.inputs.shape[0])
            scores.append(self._one_a_row(outputs, classes, item))
            targets += [] if classes is None else [classes]
        if callable(self.objective.target):
            return self._joined(scores), None
        return self._joined(scores), self._joined(targets).long()

    @torch.no_grad()
    def scores(self, inputs: Tensor, targets: Tensor | None) -> Tensor:
        """Score other inputs of the same items.

        Args:
            inputs: like the items.
            targets: as `clean` gave them.

        Returns:
            (B,) scores.
        """
        return self._joined([self._score(inputs[item], item, targets) for item in self._chunks(inputs.shape[0])])

    @torch.no_grad()
    def curves(
        self,
        start: tuple[Tensor, Tensor],
        end: tuple[Tensor, Tensor],
        place: Tensor,
        steps: int,
        targets: Tensor | None,
    ) -> Tensor:
        """Score each item while its pixels go from ``start`` to ``end``, in the order of their places.

        After step k the first `replaced_pixels` [k] pixels are those of ``end``. Steps without a further pixel (more
        steps than pixels) are not computed again, nor are the two ends.

        Args:
            start: inputs like the items, and their scores (B,).
            end: inputs like the items, and their scores (B,).
            place: (B, P) int32, 0 for the pixel that is replaced first.
            steps: the number of steps K.
            targets: as `clean` gave them.

        Returns:
            (B, K + 1) scores.
        """
        batch, pixels = place.shape
        counts = replaced_pixels(pixels, steps)
        levels = sorted(set(counts))
        inner = torch.tensor(levels[1:-1], dtype=torch.int32).to(place.device)
        place = place.view(batch, *([1] if self.inputs.ndim > 2 else []), *(self.inputs.shape[2:] or [pixels]))
        columns = [start[1][:, None]]
        if len(inner):
            scores = []
            for row in self._chunks(batch * len(inner)):
                item = row.div(len(inner), rounding_mode="floor")
                threshold = inner[row % len(inner)].view(-1, *[1] * (place.ndim - 1))
                mixed = torch.where(place[item] < threshold, end[0][item], start[0][item])
                scores.append(self._score(mixed, item, targets))
            columns.append(self._joined(scores).view(batch, len(inner)))
        columns.append(end[1][:, None])
        column_of = {count: column for column, count in enumerate(levels)}
        every_step = torch.tensor([column_of[count] for count in counts]).to(place.device)
        return torch.cat(columns, 1)[:, every_step]

    def _chunks(self, rows: int) -> Iterator[Tensor]:
        for first in range(0, rows, self.rows):
            yield torch.arange(first, min(first + self.rows, rows), device=self.inputs.device)

    def _joined(self, chunks: list[Tensor]) -> Tensor:
        return torch.cat(chunks) if chunks else self.inputs.new_zeros(0)

    def _outputs(self, rows: Tensor, item: Tensor) -> object:
        # The rows are copies, so that a model that works in place does not reach the user's inputs.
        if self.channels_last:
            rows = rows.contiguous(memory_format=torch.channels_last)
        return self.model(rows, *self.extra.rows(item))

    def _score(self, rows: Tensor, item: Tensor, targets: Tensor | None) -> Tensor:
        return self._one_a_row(self._outputs(rows, item), None if targets is None else targets[item], item)

    def _one_a_row(self, outputs: object, targets: Tensor | None, item: Tensor) -> Tensor:
        scores = self.objective(outputs, targets)
        if scores.shape != item.shape:
            raise bad_argument("model", f"one score a row, {item.shape[0]}", f"{scores.shape[0]}")
        return scores
