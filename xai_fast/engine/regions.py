"""Targets inside outputs with positions: entries and regions of a segmentation, a sequence or a map of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import TypeIs

from xai_fast.engine.call import Call
from xai_fast.engine.extra import ExtraArguments
from xai_fast.engine.layers import ModelPart
from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument

__all__ = ["RegionModel", "RegionTarget", "is_region", "with_last", "with_region", "without_last"]

RegionTarget: TypeAlias = "tuple[int, ...] | list[tuple[int, ...]] | tuple[Any, Tensor | NDArray[Any]]"

_LAST = "xai_fast_last"
_EXPECTED = (
    "(class, mask), or (class, i, j, ...) for one entry of outputs (B, C, ...), or a list of such entries, one per "
    "item; a class per item comes in a list"
)


def with_last(extra: ExtraArguments, value: Tensor, item: Tensor | None = None) -> object:
    """Give the additional arguments of a `ModelPart`, of which the last is its own; see `without_last`."""
    given, value = extra.given(item), value[:, None]  # of three dimensions: nobody asks whether it is shared
    return {**given, _LAST: value} if isinstance(given, dict) else (*given, value)


def without_last(values: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Take the last argument from the model's own: what is left, and the last."""
    if _LAST in named:
        return values, {name: value for name, value in named.items() if name != _LAST}, named[_LAST][:, 0]
    return values[:-1], named, values[-1][:, 0]


class RegionModel(ModelPart):
    """A model whose outputs (R, C, ...) are averaged over a region of their positions: (R, C)."""

    def forward(self, *values: Any, **named: Any) -> Tensor:
        """Run the model; the last argument is the weights (R, 1, P) of the positions, which sum to 1."""
        values, named, weights = without_last(values, named)
        outputs = _positions(self.model(*values, **named))
        mean: Tensor = (outputs.flatten(2) * weights.to(outputs.dtype)).sum(2)
        return mean


def is_region(target: object) -> TypeIs[RegionTarget]:
    """Tell whether a target names places in the outputs: a tuple, or a list of tuples."""
    return isinstance(target, tuple) or (isinstance(target, list) and bool(target) and isinstance(target[0], tuple))


def with_region(call: Call, target: RegionTarget) -> tuple[Target, object]:
    """Return the classes of a target with places, and the additional arguments of a `RegionModel`, the last one new.

    Targets are ``(class, mask)``, where class is None, an int or a list or tensor (B,), and mask is (...) or (B, ...),
    bool or weights that are not negative; ``(class, i, j, ...)``; or a list of B of the latter. An item is run for the
    shape of the outputs; an `InputError` says that the target does not fit it.
    """
    with call.context():
        places = _positions(call.run(call.take(range(1)), call.positions(range(1)))).shape[2:]
    if isinstance(target, tuple) and len(target) == 2 and isinstance(target[1], Tensor | np.ndarray):
        classes, weights = target[0], _of_mask(torch.as_tensor(target[1]), places, call.batch)
    else:
        entries = target if isinstance(target, list) else [target] * call.batch
        classes, weights = _of_entries(entries, places, call.batch)
    weights = weights.expand(call.batch, -1).unsqueeze(1).to(call.device, _dtype(call))
    return classes, with_last(call.extra, weights)


def _of_mask(mask: Tensor, places: Sequence[int], batch: int) -> Tensor:
    """Give the weights (1 or B, P) of a mask."""
    fits = tuple(mask.shape) in (tuple(places), (1, *places), (batch, *places))
    if not fits or mask.is_complex() or (mask.is_floating_point() and not mask.isfinite().all()) or (mask < 0).any():
        expected = f"a mask {tuple(places)} or {(batch, *places)} of bools or weights that are not negative"
        raise bad_argument("target", expected, f"{mask.dtype} {tuple(mask.shape)}")
    flat = mask.reshape(-1, math.prod(places)).double()
    if not flat.sum(1).all():
        raise bad_argument("target", "a mask with a place in it for each item", "an empty one")
    return flat / flat.sum(1, keepdim=True)


def _of_entries(entries: Sequence[Any], places: Sequence[int], batch: int) -> tuple[list[int], Tensor]:
    """Give the classes, and the weights (B, P), of entries of the outputs."""
    if len(entries) != batch or not all(
        isinstance(entry, tuple)
        and len(entry) == 1 + len(places)
        and all(isinstance(i, int) for i in entry)
        and all(0 <= i < size for i, size in zip(entry[1:], places, strict=True))
        for entry in entries
    ):
        raise bad_argument("target", f"{_EXPECTED}; here places are in {tuple(places)}", repr(entries[0]))
    flat = [int(np.ravel_multi_index(entry[1:], tuple(places))) for entry in entries]
    return [entry[0] for entry in entries], nn.functional.one_hot(torch.tensor(flat), math.prod(places)).double()


def _positions(outputs: Any) -> Tensor:
    """Give outputs (R, C, ...), also of an object with ``logits``, or of a dict with "logits" or "out"."""
    outputs = getattr(outputs, "logits", outputs)
    if isinstance(outputs, Mapping):
        outputs = outputs.get("logits", outputs.get("out"))
    if not isinstance(outputs, Tensor) or outputs.ndim < 3 or not outputs.is_floating_point():
        got = f"{outputs.dtype} {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise bad_argument("target", f"outputs (B, C, ...) of the model for {_EXPECTED}", got)
    return outputs


def _dtype(call: Call) -> torch.dtype:
    return next((value.dtype for value in call.values if value.is_floating_point()), torch.float32)
