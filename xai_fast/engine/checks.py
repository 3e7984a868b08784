"""What a model and its inputs must be before they are explained, each with a message that names the argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xai_fast.arguments import as_tensor
from xai_fast.errors import InputError, ModelError, bad_argument

__all__ = ["check_device", "check_eval_mode", "check_inputs", "no_gradient_path", "wrong_model"]

_INTEGERS = (torch.int32, torch.int64, torch.bool)
_HALVES = (torch.float16, torch.bfloat16)
_TOKENS = (
    ' (token ids are explained through their embeddings with embeddings="name of the embedding layer", an option of '
    "LRP, NeFLAG and others; Grad-CAM, Taylor-CAM and methods that replace features, such as KernelSHAP, take them as "
    "they are)"
)
_BLACK_BOX = (
    "of scikit-learn, kernel models, mixtures and clusters are explained by xai_fast.Neuralize; a black box by "
    "xai_fast.interaction.HStatistic and ShapleyInteractions and by FeatureAblation, KernelSHAP and LIME of "
    "lambda x: torch.as_tensor(estimator.predict(x)), or by any method of a network that xai_fast.fit_mlp fits to it"
)


def wrong_model(expected: str, model: object) -> InputError:
    """Build the error for a model of the wrong kind; it says what explains black boxes."""
    return bad_argument("model", expected, f"{type(model).__name__} ({_BLACK_BOX})")


def check_device(model: Callable[..., object], device: torch.device) -> None:
    """Check that a module's first parameter, or buffer where it has none, is on a device; else an `InputError`."""
    first = next(iter([*model.parameters(), *model.buffers()]), None) if isinstance(model, nn.Module) else None
    if first is not None and first.device != device:
        raise bad_argument("inputs", f"tensors on the model's device, {first.device}", f"tensors on {device}")


_BY_MODE = (nn.modules.batchnorm._NormBase, nn.RReLU)
"""Modules of torch whose function depends on the mode, beside dropout."""


def check_eval_mode(model: Callable[..., object]) -> None:
    """Check that no module does something else in training mode than in evaluation mode; a `ModelError` names them.

    In training mode they may be where that makes no difference: of torch's own only dropout, batch statistics and
    `torch.nn.RReLU` depend on it.
    """
    if not isinstance(model, nn.Module):
        return
    training = [
        name or type(model).__name__
        for name, module in model.named_modules()
        if module.training and _depends_on_mode(module)
    ]
    if training:
        names = ", ".join(training[:3]) + (f" and {len(training) - 3} more" if len(training) > 3 else "")
        raise ModelError(
            f"model: expected evaluation mode, got training mode in {names}; call model.eval() first "
            "(dropout and batch statistics would make the scores depend on chance and on the batch)"
        )


def _depends_on_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, _BY_MODE):
        return True
    rate = getattr(module, "dropout", 0.0)  # of recurrent and attention layers; elsewhere a module of its own
    return (isinstance(rate, float | int) and rate > 0) or not type(module).__module__.startswith("torch.nn.")


def check_inputs(
    inputs: Tensor | NDArray[Any] | tuple[Tensor | NDArray[Any], ...],
    *,
    integers: bool = False,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, ...]:
    """Return the inputs, a tensor or an array (B, ...) or a tuple of them, as a tuple, or raise an `InputError`.

    They are float32 or float64, of one dtype and device. Where the model is in a ``dtype``, arrays of floats are
    brought to it, and float16 or bfloat16 inputs are fine where that is one, and become float32. With ``integers``,
    int32, int64 and bool are fine too (token numbers and masks), where no gradient with respect to the inputs is
    needed; then each input may have a dtype of its own.
    """
    given: tuple[Any, ...] = inputs if isinstance(inputs, tuple) else (inputs,)
    wide = torch.float32 if dtype in _HALVES else dtype
    values = tuple(as_tensor(value, wide) for value in given)
    if not values:
        raise bad_argument("inputs", "a tensor or a tuple of tensors", "an empty tuple")
    if dtype in _HALVES:
        values = tuple(v.float() if isinstance(v, Tensor) and v.dtype == dtype else v for v in values)
    for i, value in enumerate(values):
        name = "inputs" if len(values) == 1 else f"inputs[{i}]"
        if not isinstance(value, Tensor):
            raise bad_argument(name, "a tensor", type(value).__name__)
        if value.dtype not in (torch.float32, torch.float64) and not (integers and value.dtype in _INTEGERS):
            hint = (
                ' (float32 inputs with precision="bf16" run the model in bfloat16)' if value.is_floating_point() else ""
            )
            hint = _TOKENS if value.dtype in (torch.int32, torch.int64) else hint
            raise bad_argument(name, "dtype float32 or float64", f"{value.dtype}{hint}")
        if value.ndim < 2 or 0 in value.shape[1:]:
            raise bad_argument(name, "shape (B, ...) with at least one entry per item", str(tuple(value.shape)))
        for what, first, this in (
            ("dtype", values[0].dtype, value.dtype),
            ("device", values[0].device, value.device),
            ("batch size", values[0].shape[0], value.shape[0]),
        ):
            if first != this and not (integers and what == "dtype"):
                raise bad_argument(name, f"the {what} of inputs[0], {first}", str(this))
    return values


def no_gradient_path() -> ModelError:
    """Build the error for a model through which no gradient reaches the input."""
    return ModelError(
        "model: expected a score that depends differentiably on the inputs, got one without a gradient path "
        "(is the input detached, rounded or converted to numpy inside the model, or does it run under no_grad?); "
        + _BLACK_BOX
    )
