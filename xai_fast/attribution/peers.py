"""Reference implementations of installed packages as methods: captum, zennit and pytorch-grad-cam.

"captum:NAME" is an explainer; "zennit:NAME" a composite, with batch normalisation merged into what stands before it,
whose relevance starts from the output; "grad_cam:NAME" a class of pytorch-grad-cam, with the option ``layer``.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xai_fast.attribution.captum import captum_method
from xai_fast.engine.layers import find_layer
from xai_fast.errors import InputError, bad_argument
from xai_fast.method import Method
from xai_fast.references import import_reference

__all__ = ["PEERS", "peer_method"]

PEERS = {
    "captum": ("captum.attr", "captum"),
    "zennit": ("zennit.composites", "zennit"),
    "grad_cam": ("pytorch_grad_cam", "grad-cam"),
}
"""Word before the colon to the module whose classes are meant, and the package to install."""


def peer_method(reference: str) -> type[Method]:
    """Make a method, with its options, of what follows a word of `PEERS`; an `InputError` says what to install."""
    peer, _, name = reference.partition(":")
    module, package = PEERS[peer]
    try:
        importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision beside another build of torch
        raise InputError(
            f"method: {reference} needs {package}, which cannot be imported: {error}; pip install {package}"
        ) from error
    found = import_reference("method", f"{module}:{name}")
    if peer == "zennit" and isinstance(found, type) and "canonizers" in inspect.signature(found).parameters:
        found = _of_zennit(found)
    elif peer == "grad_cam" and isinstance(found, type) and "target_layers" in inspect.signature(found).parameters:
        found = _of_grad_cam(found)
    if not isinstance(found, type) or not hasattr(found, "attribute"):
        raise bad_argument("method", f"{name} to be a class of {module} that explains a batch", repr(found))
    return captum_method(found, reference)


def _of_zennit(composite: type[Any]) -> type:
    class Explainer:
        def __init__(self, model: nn.Module, **options: Any) -> None:
            canonizer = importlib.import_module("zennit.torchvision").ResNetCanonizer  # of any model, and of ResNets
            bounds = {name: torch.as_tensor(options.pop(name)) for name in ("low", "high") if name in options}
            self._model, self._composite = model, composite(canonizers=[canonizer()], **options, **bounds)

        def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
            def start(outputs: Tensor) -> Tensor:
                return outputs if target is None else outputs * nn.functional.one_hot(target, outputs.shape[1])

            with importlib.import_module("zennit.attribution").Gradient(self._model, self._composite) as attributor:
                found: Tensor = attributor(inputs, start)[1]
            return found

    return _described(Explainer, composite, {})


def _of_grad_cam(cam: type[Any]) -> type:
    class Explainer:
        def __init__(self, model: nn.Module, *, layer: str, **options: Any) -> None:
            self._make: Callable[[], Any] = lambda: cam(model, [find_layer(model, layer)[1]], **options)

        def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
            of_class = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
            classes = [0] * len(inputs) if target is None else target.tolist()
            with self._make() as made:  # its hooks are gone afterwards
                found = made(inputs.requires_grad_(), [of_class(one) for one in classes])
            return torch.as_tensor(found).to(inputs)

    layer = inspect.Parameter("layer", inspect.Parameter.KEYWORD_ONLY, annotation=str)
    return _described(Explainer, cam, {"layer": layer})


def _described(explainer: type[Any], of: type, more: dict[str, inspect.Parameter]) -> type:
    """Give an explainer the documentation of a class, and those of its options that text can say."""
    plain = (inspect.Parameter.empty, int, float, str, bool)
    known = {
        name: parameter.replace(kind=parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(of).parameters.items()
        if name not in ("model", "target_layers") and (parameter.default in plain or type(parameter.default) in plain)
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    first = inspect.Parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    explainer.__signature__ = inspect.Signature([first, *(more | known).values()])
    explainer.__doc__, explainer.__name__ = inspect.getdoc(of), of.__name__
    return explainer
