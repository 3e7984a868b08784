"""Pictures: reading files as a person would see them, and preparing them for a classifier."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ExifTags import Base
from torch import Tensor, nn

from xai_fast.errors import bad_argument
from xai_fast.files import open_regular
from xai_fast.terminal import ShortRepr, tell

__all__ = ["ImageModel", "open_image"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_PAPER = (255, 255, 255)
_LIMITS = (Base.SMinSampleValue, Base.SMaxSampleValue)
_TAGS = (*_LIMITS, Base.BitsPerSample, Base.SampleFormat, Base.PhotometricInterpretation)
_SIGNED, _WHITE_IS_ZERO = 2, 0
_WIDENED = ("PNG", "PPM")
"""Formats whose 16 bits some releases of Pillow read into 32."""


def open_image(file: str | os.PathLike[str] | IO[bytes]) -> Image.Image:
    """Read a picture as upright 8-bit RGB.

    The orientation that a camera noted in the EXIF data is applied, transparent parts are laid on white, greys of more
    than 8 bits are scaled (Pillow would clip them), and of an animation the first frame is taken.

    What is black and what is white is said by the TIFF tags SMinSampleValue and SMaxSampleValue; without them unsigned
    integers of up to 16 bits go from 0 to the largest that their bits hold, and floats from 0 to 1. Signed and 32-bit
    integers without the tags, and values outside the range, such as floats from 0 to 255, are refused. That 16
    bits hold 12 or fewer, as of a sensor, is logged once: the greys hardly differ then.

    Args:
        file: a path, of a regular file, or a binary file object.

    Returns:
        The whole decoded picture, mode "RGB".

    Raises:
        OSError: the file cannot be read, is no picture, is truncated (Pillow's ``UnidentifiedImageError`` is one), or
            does not say what is black and what is white; the message names the values that it has.
    """
    if isinstance(file, str | os.PathLike):
        with open_regular(file) as opened:
            return open_image(opened)
    with Image.open(file) as stored:
        try:
            raw, tags = str(stored.tile), getattr(stored, "tag_v2", {})
            stored.load()
            picture = ImageOps.exif_transpose(stored)
            if picture.mode.startswith(("I", "F")) or tags.get(Base.SampleFormat) == (_SIGNED,):
                picture = _eight_bits(picture, stored)
            elif "RGB;16" in raw and "transparency" in stored.info:
                raise OSError("one colour of 16 bits is transparent (tRNS), and Pillow reads colours with 8 bits")
            if picture.has_transparency_data:
                layers = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", layers.size, (*_PAPER, 255)), layers)
            return picture.convert("RGB")
        except (SyntaxError, ValueError, IndexError, EOFError) as error:
            # Pillow's decoders let these through for some damaged files; to the caller they are all a broken file.
            raise OSError(f"damaged picture, or of an unknown kind: {error}") from error


def _eight_bits(picture: Image.Image, stored: Image.Image) -> Image.Image:
    """Scale one channel of more than 8 bits, or of signed numbers, see `open_image`: to mode "L" or "LA"."""
    tags = {tag: np.ravel(value)[0] for tag, value in getattr(stored, "tag_v2", {}).items() if tag in _TAGS}
    values, signed = np.asarray(picture), tags.get(Base.SampleFormat) == _SIGNED
    bits = int(tags.get(Base.BitsPerSample, 32 if picture.mode == "I" and stored.format not in _WIDENED else 16))
    if tags and bits in (8, 32) and picture.mode != "F":  # Pillow reads some as if they had the other sign
        values = values.view(f"{'i' if signed else 'u'}{bits // 8}")
    top = 1 if picture.mode == "F" else 2**bits - 1
    low, high = (float(tags.get(tag, value)) for tag, value in zip(_LIMITS, (0, top), strict=True))
    known = picture.mode == "F" or (bits <= 16 and not signed) or all(tag in tags for tag in _LIMITS)
    if not (known and low <= values.min() <= values.max() <= high > low):
        raise OSError(
            f"the file does not say which of its {values.dtype} values, from {values.min():g} to {values.max():g}, are "
            "black and white; write unsigned integers of up to 16 bits, floats from 0 to 1, or the TIFF tags "
            "SMinSampleValue and SMaxSampleValue"
        )
    if bits == 16 and high == top and 0 < values.max() < 2**12:
        tell(
            "a picture of 16 bits uses 12 or fewer of them, so its greys hardly differ; where its white is less than "
            "65535, the TIFF tags SMinSampleValue and SMaxSampleValue say so"
        )
    if tags.get(Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
        low, high = high, low
    grey = Image.fromarray(np.rint((values - np.float64(low)) * (255 / (high - low))).astype(np.uint8))
    clear = stored.info.get("transparency")
    return grey if clear is None else Image.merge("LA", (grey, Image.fromarray((values != clear) * np.uint8(255))))


@dataclass(frozen=True, repr=False)
class ImageModel(ShortRepr):
    """A classifier of RGB images with its preparation: ``x = (rgb / 255 - mean) / std`` of a centre crop.

    Attributes:
        model: in evaluation mode, from (B, 3, H, W) float32 to logits (B, C).
        name: for people.
        size: (H, W) of the crop in pixels.
        mean: a number per channel, in units of rgb / 255.
        std: a number per channel, in units of rgb / 255.
        class_names: C names, or None.
        margin: the picture is first resized to cover (H + margin, W + margin), so half of it is cut off at each side.

    Raises:
        InputError: a field is out of range.
    """

    model: nn.Module
    name: str
    size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    class_names: tuple[str, ...] | None = None
    margin: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise bad_argument("model", "an nn.Module", type(self.model).__name__)
        if len(self.size) != 2 or min(self.size) < 1:
            raise bad_argument("size", "(H, W), at least 1 each", repr(self.size))
        if len(self.mean) != 3:
            raise bad_argument("mean", "a number for each of 3 channels", repr(self.mean))
        if len(self.std) != 3 or min(self.std) <= 0:
            raise bad_argument("std", "a positive number for each of 3 channels", repr(self.std))
        if self.margin < 0:
            raise bad_argument("margin", "0 or more pixels", repr(self.margin))

    @property
    def black(self) -> Tensor:
        """The value of black in the model's input units, (3,) float32."""
        return -torch.tensor(self.mean) / torch.tensor(self.std)

    @property
    def white(self) -> Tensor:
        """The value of white in the model's input units, (3,) float32."""
        return (1 - torch.tensor(self.mean)) / torch.tensor(self.std)

    @property
    def preparation(self) -> str:
        """How a picture becomes an input, for people."""
        height, width = self.size
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return (
            f"resized to cover {height + self.margin} x {width + self.margin} pixels, cut to the central {height} x "
            f"{width}, and scaled to (rgb / 255 - mean) / std with mean {mean} and std {std}"
        )

    def crop(self, image: Image.Image, scale: int = 1) -> Image.Image:
        """Resize (bicubic), and cut out the centre that the model sees: RGB, at ``scale`` times the resolution."""
        height, width = (side * scale for side in self.size)
        margin = self.margin * scale
        # Box is the largest part of the picture in the crop's proportions, so one resize reads each pixel once.
        zoom = max((height + margin) / image.height, (width + margin) / image.width)
        left, top = (image.width - width / zoom) / 2, (image.height - height / zoom) / 2
        box = (left, top, left + width / zoom, top + height / zoom)
        return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, box=box)

    def transform(self, image: Image.Image) -> Tensor:
        """Prepare a picture of any size and mode for the model: (3, H, W) float32 in its input units."""
        return self.from_rgb(np.asarray(self.crop(image)))

    def from_rgb(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Give 8-bit RGB values (H, W, 3), 0 to 255, in the model's input units, (3, H, W) float32."""
        values = torch.from_numpy(rgb.copy()).permute(2, 0, 1).to(torch.float32) / 255
        return ((values - _per_channel(self.mean)) / _per_channel(self.std)).contiguous()

    def to_rgb(self, x: Tensor) -> NDArray[np.uint8]:
        """Give a model input (3, H, W) as 8-bit RGB (H, W, 3) for display; values outside 0..255 are clipped."""
        if x.ndim != 3 or x.shape[0] != 3:
            raise bad_argument("x", "shape (3, H, W)", str(tuple(x.shape)))
        values = x.detach().to("cpu", torch.float32) * _per_channel(self.std) + _per_channel(self.mean)
        rgb: NDArray[np.uint8] = (values * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        return rgb

    def class_name(self, index: int) -> str:
        """Give the name of a class, or "class 7" where there are no names."""
        if self.class_names is not None and 0 <= index < len(self.class_names):
            return self.class_names[index]
        return f"class {index}"


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values)[:, None, None]
