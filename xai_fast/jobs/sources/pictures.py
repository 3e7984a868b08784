"""From the content of a file to a picture, and from an item to a picture for people."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from xai_fast.jobs.store.job_file import ItemError, Status
from xai_fast.references import classifiers_module, import_function

if TYPE_CHECKING:
    from PIL import Image

    from xai_fast.images import ImageModel

__all__ = ["Decoder", "drawn", "make_decoder"]

Decoder = Callable[[bytes], Any]
"""From the content of a file to a PIL image, or an array or tensor."""


def make_decoder(name: str) -> Decoder:
    """Find the decoder of a job."""
    classifiers_module()  # says how to install Pillow where it is missing
    return _pillow if name == "pillow" else import_function("decoder", name)


def _pillow(data: bytes) -> Any:
    from PIL import Image, UnidentifiedImageError

    from xai_fast.images import open_image

    try:
        return open_image(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise ItemError(Status.UNREADABLE, "not a picture, or of a kind that Pillow cannot read") from error
    except Image.DecompressionBombError as error:
        raise ItemError(Status.UNREADABLE, str(error)) from error
    except OSError as error:
        raise ItemError(Status.UNREADABLE, error.strerror or str(error)) from error


_CHANNELS = (1, 3)
_FEW_PIXELS = 64


def drawn(value: Any, side: int, model: ImageModel | None = None) -> Any:
    """Draw what a source gave: a PIL image, a tuple of them for several inputs, or None for what is no picture."""
    from PIL import Image

    if isinstance(value, tuple) or (isinstance(value, Tensor) and value.ndim == 4 and len(value) == 2):
        parts = tuple(drawn(part, side, model) for part in value)
        return None if any(part is None for part in parts) else parts
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
