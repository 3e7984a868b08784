"""Things given by name, so that they can be stored, compared and made again in another process."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xai_fast.errors import InputError, XaiFastError, bad_argument, needs
from xai_fast.values import REFERENCE, check_keys, nearest, plain

if TYPE_CHECKING:
    from xai_fast.images import ImageModel

__all__ = [
    "LoadedModel",
    "ModelRef",
    "call_reference",
    "check_reference",
    "import_function",
    "import_reference",
    "weights_sha256",
]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BYTES_AT_ONCE = 1 << 24
_PREPARATION = ("size", "mean", "std", "margin")


def check_reference(name: str, reference: object) -> str:
    """Check that a reference is well formed, without importing anything."""
    if not isinstance(reference, str) or not REFERENCE.fullmatch(reference):
        raise bad_argument(name, '"package.module:name"', repr(reference))
    if reference.startswith("__main__:"):
        raise bad_argument(
            name, "a module that other processes can import; move it from the script to a file", repr(reference)
        )
    return reference


def import_reference(name: str, reference: str) -> Any:
    """Import what a reference names."""
    module_name, _, attributes = check_reference(name, reference).partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # An import that fails inside the user's module is theirs to see in full.
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        raise InputError(f"{name}: there is no module {error.name!r} to import {reference!r} from") from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            public = [known for known in dir(found) if not known.startswith("_")]
            raise bad_argument(name, f"a name in {module_name}, {nearest(attribute, public)}", repr(reference))
        found = getattr(found, attribute)
    return found


def import_function(name: str, reference: str) -> Callable[..., Any]:
    """Import what a reference names, which has to be a function."""
    found = import_reference(name, reference)
    if not callable(found):
        raise bad_argument(name, f"{reference} to be a function", type(found).__name__)
    function: Callable[..., Any] = found
    return function


def call_reference(name: str, reference: str, arguments: Mapping[str, object]) -> Any:
    """Import a function or class, and call it."""
    function = import_reference(name, reference)
    if not callable(function) or isinstance(function, nn.Module):
        raise bad_argument(name, f"{reference} to be a function or class", type(function).__name__)
    check_arguments(f"arguments of {reference}", function, arguments)
    try:
        return function(**arguments)
    except (XaiFastError, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # of the user's code, whose line the message names
        line = traceback.extract_tb(error.__traceback__)[-1]
        got = f"{type(error).__name__}: {error} ({line.filename}, line {line.lineno})"
        raise bad_argument(name, f"{reference} to return", got) from error


def check_arguments(
    where: str, function: Callable[..., object], arguments: Mapping[str, object], given: int = 0
) -> None:
    """Check keyword arguments against a signature."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions of C have no signature
        return
    parameters = parameters[given:]
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        check_keys(where, arguments, named)
    for parameter in (p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)):
        if parameter.default is parameter.empty and parameter.name not in arguments:
            raise bad_argument(where, f"a value for {parameter.name!r}", "none")


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode, with the preparation of pictures where its factory returned an `ImageModel`."""

    module: nn.Module
    image_model: ImageModel | None
    name: str

    @property
    def preparation(self) -> dict[str, object] | None:
        """How the model's own preparation treats pictures, as JSON holds it; None where it has none."""
        if self.image_model is None:
            return None
        values: dict[str, Any] = {name: getattr(self.image_model, name, None) for name in _PREPARATION}
        listed = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in values.items()}
        return {name: plain(f"model.{name}", value) for name, value in listed.items()}

    def for_pictures(self) -> ImageModel:
        """Give the preparation of pictures: the model's own, or 224 x 224 pixels normalised as usual for ImageNet."""
        if self.image_model is not None:
            return self.image_model
        prepared: ImageModel = classifiers_module().ImageModel(self.module, self.name)
        return prepared


@dataclass(frozen=True)
class ModelRef:
    """A model by the function that makes it.

    Args:
        reference: ``package.module:factory``, which returns an ``nn.Module``, a `xai_fast.images.ImageModel` or an
            estimator for `xai_fast.neuralize`, or one of `xai_fast.models.MODEL_NAMES`.
        arguments: keyword arguments of the factory, which JSON can hold.
        weights_sha256: what `weights_sha256` gives for the model that is meant; another one is refused. None for
            whatever the factory returns; a job still remembers what that was, and is not resumed with others.

    Raises:
        InputError: a field is malformed. Nothing is imported before the model is loaded.
    """

    reference: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.reference, str) or not self.reference:
            raise bad_argument("model", '"package.module:factory" or the name of a model', repr(self.reference))
        if ":" in self.reference:
            check_reference("model", self.reference)
        if not isinstance(self.arguments, Mapping):
            raise bad_argument("model.arguments", "a mapping", type(self.arguments).__name__)
        object.__setattr__(self, "arguments", plain("model.arguments", self.arguments))
        if self.arguments and ":" not in self.reference:
            raise bad_argument("model.arguments", f"none for the model {self.reference!r}", repr(dict(self.arguments)))
        sha256 = self.weights_sha256
        if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
            raise bad_argument("model.weights_sha256", "64 hexadecimal digits, or None", repr(sha256))

    @classmethod
    def read(cls, value: object) -> ModelRef:
        """Read a reference as users write it: itself, its text, or a mapping of its fields; else an `InputError`."""
        if isinstance(value, ModelRef):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, Mapping):
            check_keys("model", value, ("reference", "arguments", "weights_sha256"))
            if "reference" not in value:
                raise bad_argument("model", "a value for 'reference'", "none")
            return cls(**value)
        if isinstance(value, nn.Module) or callable(value):
            raise bad_argument(
                "model",
                'ModelRef("package.module:factory"), a function that makes the model, since other processes make it '
                "again and a callable cannot be compared with the one of an earlier run",
                f"a {type(value).__name__}",
            )
        raise bad_argument("model", "a ModelRef, its text, or a mapping of its fields", type(value).__name__)

    def to_dict(self) -> dict[str, object]:
        """Give the reference as JSON holds it."""
        return {**vars(self), "arguments": dict(self.arguments)}

    def load(self) -> LoadedModel:
        """Make the model, in evaluation mode where the factory put it; an `InputError` says what of it does not fit."""
        if ":" not in self.reference:
            models = classifiers_module()
            if self.reference not in models.MODEL_NAMES:
                expected = f"package.module:factory, or {nearest(self.reference, models.MODEL_NAMES)}"
                raise bad_argument("model", expected, repr(self.reference))
            result = models.load(self.reference)
        else:
            result = call_reference("model", self.reference, self.arguments)
        if hasattr(result, "get_params") and not isinstance(result, nn.Module):  # an estimator of scikit-learn
            result = importlib.import_module("xai_fast.neuralize").neuralize(result)
        if isinstance(result, nn.Module):
            return LoadedModel(result.eval(), None, self.reference)
        if hasattr(result, "transform") and isinstance(getattr(result, "model", None), nn.Module):
            result.model.eval()
            return LoadedModel(result.model, result, self.reference)
        raise bad_argument(
            "model", f"{self.reference} to return an nn.Module, an ImageModel or an estimator", type(result).__name__
        )


def classifiers_module() -> Any:
    """Import `xai_fast.models.classifiers`, which needs Pillow."""
    needs("PIL", "preparing pictures", "'xai-fast[jobs]'")
    return importlib.import_module("xai_fast.models.classifiers")


def weights_sha256(model: nn.Module) -> str:
    """Give a hash of a model's parameters and buffers: their names, dtypes, shapes and bytes, sorted by name."""
    state = hashlib.sha256()
    for name, value in sorted(_state(model).items()):
        if isinstance(value, Tensor):
            state.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
            for part in _bytes(value):
                state.update(part)
        else:
            state.update(f"{name}\0{value!r}\0".encode())
    return state.hexdigest()


def _state(model: nn.Module) -> dict[str, object]:
    """Give what the model computes with, also buffers that are not stored with it."""
    values: dict[str, object] = dict(model.named_buffers())
    values.update(model.state_dict())
    return values


def _bytes(value: Tensor) -> Iterator[memoryview]:
    """Give the bytes of a tensor, a part at a time, so that a model on a GPU is not copied as a whole."""
    dense = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
    flat = dense.contiguous().reshape(-1)
    step = max(1, _BYTES_AT_ONCE // max(1, flat.element_size()))
    for start in range(0, flat.numel(), step):
        yield flat[start : start + step].cpu().view(torch.uint8).numpy().data
