"""Items as pictures for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL import Image

    from xai_fast.suites.models import ImageModel

__all__ = ["drawn"]

_CHANNELS = (1, 3)
_FEW_PIXELS = 64


def drawn(value: Any, side: int, model: ImageModel | None = None) -> Image.Image | None:
    """Draw what a source gave."""
    from PIL import Image

    picture = _from_tensor(value) if isinstance(value, Tensor) else value
    if not isinstance(picture, Image.Image):
        return None
    if model is not None and (not isinstance(value, Tensor) or value.dtype == torch.uint8):
        picture = model.crop(picture)
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Few large pixels are shown as they are; a smooth picture of 28 x 28 numbers would be an invention.
    way = Image.Resampling.NEAREST if scale > 1 and max(picture.size) < _FEW_PIXELS else Image.Resampling.BICUBIC
    return picture.convert("RGB").resize(size, way)


def _from_tensor(value: Tensor) -> Image.Image | None:
    from PIL import Image

    if value.ndim == 2:
        value = value[None]
    if value.ndim != 3 or not value.numel():
        return None
    if value.shape[0] not in _CHANNELS and value.shape[2] in _CHANNELS:
        value = value.permute(2, 0, 1)
    if value.shape[0] not in _CHANNELS or min(value.shape[1:]) < 2:
        return None
    if value.dtype != torch.uint8:
        numbers = value.float().nan_to_num()
        low, high = numbers.amin(), numbers.amax()
        value = ((numbers - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
    rgb = value.expand(3, -1, -1) if value.shape[0] == 1 else value
    return Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy())
