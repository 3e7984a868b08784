"""Scores of items under masks or replaced features, forward only, and the baselines that replace them."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import as_tensor, check_positive
from xai_fast.engine.call import Call
from xai_fast.errors import bad_argument

__all__ = [
    "Baseline",
    "MaskedScores",
    "baseline_inputs",
    "blur_matrix",
    "blurred",
    "gaussian_blur",
    "replaced_fractions",
    "replaced_pixels",
]

Baseline: TypeAlias = "float | str | Sequence[Any] | Tensor | NDArray[Any]"

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
    return blurred(inputs.detach(), [blur_matrix(side, sigma).to(inputs) for side in inputs.shape[2:]])


def blurred(inputs: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Multiply each spatial dimension of inputs (B, C, ...) of n by its matrix, (n, n) or (B, n, n)."""
    found = inputs
    # The caller's autocast is for the model: in bfloat16 the weights of a wide kernel would no longer add up to one.
    kind = inputs.device.type
    autocast = torch.amp.is_autocast_available(kind)
    with torch.no_grad(), torch.autocast(kind, enabled=False) if autocast else contextlib.nullcontext():
        for dim, matrix in enumerate(matrices, 2):
            lines = found.movedim(dim, -1)
            found = (lines.flatten(1, -2) @ matrix.mT).view(lines.shape).movedim(-1, dim)
    return torch.empty_like(inputs).copy_(found)


def blur_matrix(size: int, sigma: float) -> Tensor:
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
    name: str,
    baseline: Baseline,
    inputs: Tensor,
    *,
    black: float | Sequence[float] | Tensor = 0.0,
    blur_sigma: float = 20.0,
) -> Tensor:
    """Return the inputs (B, C, ...) or (B, N) from which pixels are taken, possibly expanded.

    A baseline is a number; a list of numbers, one per channel or column; "black", ``black`` in the model's input units,
    one value or one per channel; "blur", by a Gaussian of ``blur_sigma`` pixels; "mean", that of each channel of the
    item; or an array, nested lists or a tensor (on their device) that broadcast to the inputs. An `InputError` with the
    argument's name says what does not fit.
    """
    if isinstance(baseline, str) and baseline in ("blur", "mean"):
        if inputs.ndim < 3 or not inputs.is_floating_point():
            expected = f"values to replace, since inputs {inputs.dtype} {tuple(inputs.shape)} have no pixels"
            raise bad_argument(name, expected, f'"{baseline}"')
        if baseline == "mean":
            return inputs.mean(tuple(range(2, inputs.ndim)), keepdim=True).expand(inputs.shape)
        check_positive("blur_sigma", blur_sigma)
        return gaussian_blur(inputs, blur_sigma)
    if isinstance(baseline, str) and baseline == "black":
        return _channel_values("black", black, inputs)
    if not isinstance(baseline, bool) and isinstance(baseline, numbers.Real):
        return _channel_values(name, float(baseline), inputs)
    if isinstance(baseline, list | tuple):
        if not any(isinstance(entry, list | tuple) for entry in baseline):
            return _channel_values(name, baseline, inputs)
        baseline = _nested_values(name, baseline)
    baseline = as_tensor(baseline, device=inputs.device)
    if not isinstance(baseline, Tensor):
        got = repr(baseline) if isinstance(baseline, str) else type(baseline).__name__
        raise bad_argument(name, 'a number, "black", "blur", "mean" or a tensor', got)
    if baseline.device != inputs.device:
        raise bad_argument(name, f"a tensor on {inputs.device}", f"one on {baseline.device}")
    try:
        return baseline.detach().to(inputs.dtype).expand(inputs.shape)
    except RuntimeError as error:
        expected = f"a tensor that broadcasts to the inputs {tuple(inputs.shape)}"
        raise bad_argument(name, expected, f"shape {tuple(baseline.shape)}") from error


def _nested_values(name: str, values: Sequence[Any]) -> NDArray[Any]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise bad_argument(name, "nested lists of numbers, equally long", str(error)) from error


def _channel_values(name: str, values: float | Sequence[float] | Tensor, inputs: Tensor) -> Tensor:
    """Give the inputs (B, C, ...) or (B, N) that hold one value, or one per channel or column."""
    expected = f"one finite number, or {inputs.shape[1]}, one per channel"
    try:
        channel = torch.as_tensor(values, dtype=inputs.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise bad_argument(name, expected, repr(values)) from error
    if channel.ndim > 1 or (channel.ndim == 1 and channel.shape[0] != inputs.shape[1]):
        raise bad_argument(name, expected, f"shape {tuple(channel.shape)}")
    if not channel.isfinite().all():
        raise bad_argument(name, expected, repr(values))
    return channel.to(inputs.device).reshape(-1, *[1] * (inputs.ndim - 2)).expand(inputs.shape)


class MaskedScores:
    """Scores of a batch of items under masks or replaced features, a bounded number of rows at a time, forward only.

    Nothing here waits for the device, and no autograd graph is built.

    Args:
        call: the items; one input.

    Attributes:
        evaluations: (B,) int64, rows of each item that went through the model so far.

    Raises:
        InputError: there are several inputs.
    """

    def __init__(self, call: Call) -> None:
        if call.several:
            raise bad_argument("inputs", "one tensor (further inputs go to additional_forward_args)", "a tuple")
        self.call = call
        self.evaluations = torch.zeros_like(call.item_ids)
        self._prepared = call.prepared()

    @property
    def inputs(self) -> Tensor:
        """(B, C, ...) or (B, N), the items."""
        return self.call.values[0]

    def fitted(self, attributions: Tensor | NDArray[Any]) -> Tensor:
        """Return attributions as (B, C', ...), with the inputs' spatial shape and any number of channels, or (B, N).

        They come like that, or (B, ...) without channels, as a tensor or an array; an `InputError` says what differs.
        """
        attributions = as_tensor(attributions, device=self.inputs.device)
        if not isinstance(attributions, Tensor):
            raise bad_argument("attributions", "a tensor or an array", type(attributions).__name__)
        if attributions.ndim == self.inputs.ndim - 1 >= 2 and attributions.shape[1:] == self.inputs.shape[2:]:
            attributions = attributions.unsqueeze(1)
        wanted, got = self.inputs.shape, attributions.shape
        same = wanted == got if len(wanted) == 2 else wanted[0] == got[0] and wanted[2:] == got[2:]
        if not same or len(wanted) != len(got):
            expected = f"shape {tuple(wanted)} like the inputs{', with any number of channels' * (len(wanted) > 2)}"
            raise bad_argument("attributions", expected, str(tuple(got)))
        if attributions.device != self.inputs.device:
            raise bad_argument("attributions", f"a tensor on {self.inputs.device}", f"one on {attributions.device}")
        return attributions

    @torch.no_grad()
    def clean(self) -> tuple[Tensor, Tensor | None]:
        """Score the unperturbed inputs, (B,), and give the targets (B,) of all later scores; None for a callable."""
        scores, targets = [], []
        for chunk in self.call.chunks():
            item = self.call.positions(chunk)
            outputs = self.call.run(self.call.take(chunk), item)
            classes = self.call.targets(outputs, chunk)
            scores.append(self._one_per_row(outputs, classes, item))
            targets += [] if classes is None else [classes]
            self.evaluations[item] += 1
        return torch.cat(scores), torch.cat(targets).long() if targets else None

    @torch.no_grad()
    def scores(self, rows: Tensor, targets: Tensor | None, item: Tensor | None = None) -> Tensor:
        """Score rows (R, ...) of items (R,), or row i of item i; ``targets`` (B,) are what `clean` gave."""
        item = torch.arange(len(rows), device=rows.device) if item is None else item
        return self.score_rows(lambda row: rows[row], item, targets)

    @torch.no_grad()
    def score_rows(self, make: Callable[[Tensor], Tensor], item: Tensor, targets: Tensor | None) -> Tensor:
        """Score rows that are made a chunk at a time, so that not all are in memory: (R,); arguments as of `chunks`."""
        scores = [scores for _, scores in self.chunks(make, item, targets)]
        return torch.cat(scores) if scores else self.inputs.new_zeros(0)

    @torch.no_grad()
    def chunks(
        self, make: Callable[[Tensor], Tensor], item: Tensor, targets: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Score rows that are made a chunk at a time, for those who use what they made.

        Args:
            make: from positions (r,) among the rows to their inputs (r, ...), which it may not keep.
            item: (R,) int64, the item of each row.
            targets: (B,) as `clean` gave them.

        Yields:
            The positions (r,) of a chunk and its scores (r,).
        """
        for start in range(0, len(item), self.call.rows):
            row = torch.arange(start, min(start + self.call.rows, len(item)), device=item.device)
            of = item[row]
            inputs = self.call.formatted(make(row), self._prepared.memory_format)
            outputs = self.call.run([inputs], of, self._prepared.forward)
            self.evaluations.index_add_(0, of, torch.ones_like(of))
            yield row, self._one_per_row(outputs, None if targets is None else targets[of], of)

    @torch.no_grad()
    def curves(
        self,
        start: tuple[Tensor, Tensor],
        end: tuple[Tensor, Tensor],
        place: Tensor,
        steps: int,
        targets: Tensor | None,
    ) -> Tensor:
        """Return (B, steps + 1) scores while pixels go from ``start`` to ``end``, in the order of their places.

        Both are inputs like the items, and their scores (B,); places (B, P) int32 are 0 for the pixel that is replaced
        first, ``targets`` as `clean` gave them. After step k the first `replaced_pixels` [k] pixels are those of
        ``end``. Steps without a further pixel (more steps than pixels) are not computed again, nor are the two ends.
        """
        batch, pixels = place.shape
        counts = replaced_pixels(pixels, steps)
        levels = sorted(set(counts))
        inner = torch.tensor(levels[1:-1], dtype=torch.int32).to(place.device)
        place = place.view(batch, *([1] if self.inputs.ndim > 2 else []), *(self.inputs.shape[2:] or [pixels]))
        columns = [start[1][:, None]]
        if len(inner):
            item = torch.arange(batch * len(inner), device=place.device).div(len(inner), rounding_mode="floor")

            def mixed(row: Tensor) -> Tensor:
                threshold = inner[row % len(inner)].view(-1, *[1] * (place.ndim - 1))
                return torch.where(place[item[row]] < threshold, end[0][item[row]], start[0][item[row]])

            columns.append(self.score_rows(mixed, item, targets).view(batch, len(inner)))
        columns.append(end[1][:, None])
        column_of = {count: column for column, count in enumerate(levels)}
        every_step = torch.tensor([column_of[count] for count in counts]).to(place.device)
        return torch.cat(columns, 1)[:, every_step]

    def _one_per_row(self, outputs: object, targets: Tensor | None, item: Tensor) -> Tensor:
        scores = self.call.objective(outputs, targets)
        if scores.shape != item.shape:
            raise bad_argument("model", f"one score per row, {item.shape[0]}", f"{scores.shape[0]}")
        return scores
