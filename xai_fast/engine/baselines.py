"""Baselines of items, laid out as the rows of the point queue are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import as_tensor
from xai_fast.engine.call import Call
from xai_fast.engine.draws import MAX_SEED, random_entries, random_words
from xai_fast.engine.masked import Baseline, baseline_inputs
from xai_fast.engine.points import Items, Rows
from xai_fast.errors import InputError, bad_argument
from xai_fast.terminal import tell

__all__ = ["GivenBaselines", "UniformBaselines", "baseline_rows", "read_baseline"]

_ORDER = MAX_SEED  # a number of its own for what is drawn once per item


def read_baseline(name: str, baseline: Any) -> Any:
    """Return the array of a baseline that is the name NAME.npy of a file; an `InputError` where it cannot be read."""
    if not isinstance(baseline, str) or not baseline.endswith(".npy"):
        return baseline
    try:
        return np.load(baseline, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: expected an array of numbers, got {baseline}: {error}") from error


def baseline_rows(name: str, baseline: Baseline | Sequence[Baseline], call: Call) -> Tensor:
    """Return the baselines of each item side by side: (B, K, N), or (1, K, N) where all items have the same.

    A baseline is a number; numbers, one per channel; "black" (zero), "blur" or "mean" of the item; or an array or a
    tensor that broadcasts to an item, or (K, ...) to K of them. Several inputs have one for all, or a sequence with one
    each. An `InputError` with the argument's name says what does not fit.
    """
    each = baseline if call.several and isinstance(baseline, list | tuple) else [baseline] * len(call.values)
    if len(each) != len(call.values):
        raise bad_argument(name, f"one for all, or {len(call.values)}, one per input", len(each))
    parts = [_of_input(name, one, value) for one, value in zip(each, call.values, strict=True)]
    items, count = (max(part.shape[dim] for part in parts) for dim in (0, 1))
    if any(part.shape[1] not in (1, count) for part in parts):
        raise bad_argument(name, "as many for each input", [part.shape[1] for part in parts])
    return torch.cat([part.expand(items, count, -1) for part in parts], 2)


def _of_input(name: str, baseline: Any, value: Tensor) -> Tensor:
    """Give the baselines (1 or B, K, n) of one input (B, ...)."""
    if isinstance(baseline, list) and any(isinstance(entry, list) for entry in baseline):
        baseline = np.asarray(baseline, np.float64)
    baseline = as_tensor(baseline)
    if not isinstance(baseline, Tensor):
        same = not isinstance(baseline, str) or baseline == "black"
        return baseline_inputs(name, baseline, value[:1] if same else value).flatten(1)[:, None]
    baseline, item = baseline.detach().to(value), value.shape[1:]
    try:
        several = baseline.expand(-1, *item) if baseline.ndim == value.ndim else baseline.expand(1, *item)
    except RuntimeError as error:
        expected = f"a tensor that broadcasts to an item {tuple(item)}, or (K, ...) of K baselines"
        raise bad_argument(name, expected, f"shape {tuple(baseline.shape)}") from error
    if len(several) == 0:
        raise bad_argument(name, "at least one baseline", f"shape {tuple(baseline.shape)}")
    if len(several) == len(value) > 1:
        tell(
            f"{name}: a tensor {tuple(baseline.shape)} is taken as {len(several)} baselines for every item, though "
            "there are as many items; DeepLIFT takes one per item"
        )
    rows: Tensor = several.flatten(1)[None]
    return rows


class GivenBaselines:
    """K given baselines (1 or B, K, N), each item's in an order of its own, so that all come before one comes again."""

    def __init__(self, rows: Tensor, seed: int) -> None:
        self.rows, self.seed = rows, seed
        self.count = rows.shape[1]
        steps = torch.arange(1, self.count + 1, device=rows.device)
        self.orders: Tensor | None = None
        self.strides = steps[torch.gcd(steps, steps[-1]) == 1]

    def __call__(self, items: Items, rows: Rows) -> Tensor:
        """Give the baseline of each row's point, (R, N)."""
        if self.orders is None:
            words = random_words(items.ids, torch.full_like(items.ids, _ORDER), 2, self.seed)
            strides = self.strides[words[:, 1] * len(self.strides) >> 32]
            self.orders = torch.stack([words[:, 0] * self.count >> 32, strides])
        first, stride = self.orders[:, rows.item]
        which = (first + stride * rows.point) % self.count
        return self.rows[rows.item if len(self.rows) > 1 else torch.zeros_like(rows.item), which]


@dataclass
class UniformBaselines:
    """Baselines whose every entry is uniform between the item's least and largest value."""

    low: Tensor
    high: Tensor
    seed: int

    def __call__(self, items: Items, rows: Rows) -> Tensor:
        """Draw the baseline of each row's point, (R, N)."""
        found = random_entries(rows.points, items.ids[rows.item], rows.point, "box", self.seed, 2)
        low, high = self.low[rows.item], self.high[rows.item]
        return found.mul_((high - low) / 2).add_((high + low) / 2)
