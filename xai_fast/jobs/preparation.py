"""From what a source gives to what a model takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.jobs.references import LoadedModel
from xai_fast.jobs.sources.base import ItemError
from xai_fast.jobs.store.job_file import Status

__all__ = ["Preparation"]

_SMALL_INTEGERS = (torch.int8, torch.int16, torch.int32)


class Preparation:
    """Prepare items for a model.

    Pictures (PIL images, and 8-bit arrays (H, W, 3) or (H, W) where the model is an `xai_fast.suites.ImageModel`) are
    cut and scaled as the model says, see `LoadedModel.for_pictures`. Numbers are brought to the model's floating dtype:
    8-bit ones keep their values from 0 to 255. Wider integers, such as tokens, become int64.

    Args:
        model: None for explainers without a model, which get float32.
    """

    def __init__(self, model: LoadedModel | None) -> None:
        self._model = model
        wide = model is not None and any(p.dtype == torch.float64 for p in model.module.parameters())
        self.dtype = torch.float64 if wide else torch.float32

    def __call__(self, value: Any) -> Tensor:
        """Prepare an item."""
        if isinstance(value, Tensor | np.ndarray):
            tensor = torch.as_tensor(value)
            picture = self._is_picture(tensor)
            prepared = self._transformed(_image(tensor)) if picture else self._numbers(tensor)
        else:
            prepared = self._transformed(value)
        # The sum is finite only where all are; where it is not, it may have overflowed.
        if prepared.is_floating_point() and not math.isfinite(float(prepared.sum())):
            bad = int((~prepared.isfinite()).sum())
            if bad:
                raise ItemError(
                    Status.NOT_FINITE, f"the input has NaN or infinity in {bad} of its {prepared.numel()} numbers"
                )
        return prepared

    def _is_picture(self, value: Tensor) -> bool:
        has_preparation = self._model is not None and self._model.image_model is not None
        shaped = value.ndim == 2 or (value.ndim == 3 and value.shape[2] == 3)
        return has_preparation and value.dtype == torch.uint8 and shaped

    def _transformed(self, image: Any) -> Tensor:
        if self._model is None:
            raise ItemError(Status.FAILED, "pictures need a model, which says how they are prepared")
        return self._model.for_pictures().transform(image).to(self.dtype)

    def _numbers(self, value: Tensor) -> Tensor:
        if value.is_complex():
            raise ItemError(Status.FAILED, f"expected real numbers, got {value.dtype}")
        if value.ndim == 0:
            raise ItemError(Status.FAILED, "expected an item with at least one dimension, got a single number")
        if value.is_floating_point() or value.dtype == torch.uint8:
            return value.to(self.dtype).contiguous()
        return (value.long() if value.dtype in _SMALL_INTEGERS else value).contiguous()


def _image(value: Tensor) -> Any:
    from PIL import Image

    return Image.fromarray(value.numpy())
