"""From what a source gives to what a method takes: inputs and targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument
from xai_fast.jobs.sources.base import Source
from xai_fast.jobs.store.job_file import ItemError, Status
from xai_fast.references import LoadedModel, import_function

__all__ = ["ItemTargets", "Preparation"]

_SMALL_INTEGERS = (torch.int8, torch.int16, torch.int32)


class Preparation:
    """Prepares items for a model.

    Pictures (PIL images, and 8-bit arrays (H, W, 3) or (H, W) where the model is an `xai_fast.images.ImageModel`) are
    cut and scaled as the model says, see `LoadedModel.for_pictures`. Numbers are brought to the model's floating dtype:
    8-bit ones keep their values from 0 to 255. Wider integers, such as tokens, become int64. Of a tuple each part is
    prepared.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        found = {p.dtype for p in model.module.parameters()} or {buffer.dtype for buffer in model.module.buffers()}
        self._dtype = torch.float64 if torch.float64 in found else torch.float32

    def __call__(self, value: Any) -> Tensor | tuple[Tensor, ...]:
        """Prepare an item."""
        return tuple(map(self._one, value)) if isinstance(value, tuple) else self._one(value)

    def _one(self, value: Any) -> Tensor:
        if isinstance(value, Tensor | np.ndarray):
            value = torch.as_tensor(value)
            if self._is_picture(value):
                from PIL import Image

                value = Image.fromarray(value.numpy())
        if isinstance(value, Tensor):
            prepared = self._numbers(value)
        else:
            prepared = self._model.for_pictures().transform(value).to(self._dtype)
        # The sum is finite only where all are; where it is not, it may have overflowed.
        if prepared.is_floating_point() and not math.isfinite(float(prepared.sum())):
            bad = int((~prepared.isfinite()).sum())
            if bad:
                reason = f"the input has NaN or infinity in {bad} of its {prepared.numel()} numbers"
                raise ItemError(Status.NOT_FINITE, reason)
        return prepared

    def _is_picture(self, value: Tensor) -> bool:
        shaped = value.ndim == 2 or (value.ndim == 3 and value.shape[2] == 3)
        return self._model.image_model is not None and value.dtype == torch.uint8 and shaped

    def _numbers(self, value: Tensor) -> Tensor:
        if value.is_complex():
            raise ItemError(Status.FAILED, f"expected real numbers, got {value.dtype}")
        if value.ndim == 0:
            raise ItemError(Status.FAILED, "expected an item with at least one dimension, got a single number")
        if value.is_floating_point() or value.dtype == torch.uint8:
            return value.to(self._dtype).contiguous()
        return (value.long() if value.dtype in _SMALL_INTEGERS else value).contiguous()


class ItemTargets:
    """The field ``target`` of a job, item by item: an int, a class for each, a label or column, or a function."""

    def __init__(self, target: int | list[int] | str | None, source: Source) -> None:
        self._target, self._source = target, source
        self._function: Callable[..., object] | None = None
        self._column: str | None = None
        if isinstance(target, str) and ":" in target:
            self._function = import_function("target", target)
        elif isinstance(target, str):
            source.check_column(target)
            self._column = target
        elif isinstance(target, list) and len(target) != len(source):
            raise bad_argument("target", f"a class for each of the {len(source)} items", f"{len(target)} classes")

    def of(self, index: int, label: int | None) -> int | None:
        """Give the class of an item that was read."""
        if isinstance(self._target, list):
            return self._target[index]
        if self._column is None:
            return None
        found = label if self._column == "label" else self._source.label(index, self._column)
        if found is None or found < 0:
            raise ItemError(Status.FAILED, f"the item has no {self._column} to take as its target")
        return found

    def together(self, classes: Sequence[int | None]) -> Target:
        """Give the target of a chunk as methods take it."""
        if self._function is not None:
            return self._function  # type: ignore[return-value]  # what it returns is checked where it is called
        if isinstance(self._target, list) or self._column is not None:
            return torch.tensor([-1 if c is None else c for c in classes], dtype=torch.int64)
        return self._target  # type: ignore[return-value]  # an int or None
