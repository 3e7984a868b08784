"""Classes with ``attribute``, such as Captum's, in a job."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from xai_fast.engine.objective import Objective, Target
from xai_fast.errors import bad_argument

__all__ = ["attributing", "is_option_of_attribute"]

_GIVEN = ("self", "inputs", "target")


def is_option_of_attribute(made: Callable[..., object], name: str) -> bool:
    """Tell whether a parameter is for ``attribute``, as Captum's ``n_steps`` is, and not for making the explainer.

    Args:
        made: a class with ``attribute``.
        name: of the parameter.

    Returns:
        Whether it is.
    """
    return (
        name not in inspect.signature(made).parameters
        and name not in _GIVEN
        and name in inspect.signature(made.attribute).parameters  # type: ignore[attr-defined]  # it has one
    )


def attributing(
    attribute: Callable[..., object], model: nn.Module | None, options: Mapping[str, object]
) -> Callable[..., dict[str, Tensor]]:
    """Give ``attribute`` the form of ``explain``.

    Args:
        attribute: from inputs (B, ...) and ``target``, a class or (B,) classes, to attributions (B, ...).
        model: for the predicted classes, where the job names none: ``attribute`` does not look for them.
        options: of ``attribute``.

    Returns:
        A function of inputs and target, to the fields ``attributions`` and, where there are classes, ``targets``; and
        ``convergence_delta`` if the options ask for it.
    """

    def explain(inputs: Tensor, target: Target = None) -> dict[str, Tensor]:
        classes = _classes(model, inputs, target)
        with warnings.catch_warnings():
            # Captum says at each call what it does with its inputs and layers.
            warnings.filterwarnings("ignore", module="captum")
            # A copy, since it has them require gradients.
            found = attribute(inputs.detach().clone(), target=classes, **options)
        parts = found if isinstance(found, tuple) else (found,)
        if len(parts) not in (1, 2) or not all(isinstance(part, Tensor) for part in parts):
            got = f"{len(parts)} values" if isinstance(found, tuple) else type(found).__name__
            raise bad_argument("explainer", "attribute to return a tensor", got)
        fields = dict(zip(("attributions", "convergence_delta"), parts, strict=False))
        return fields if classes is None else {**fields, "targets": classes}

    return explain


def _classes(model: nn.Module | None, inputs: Tensor, target: Target) -> Tensor | None:
    if model is None and target is None:
        return None
    if callable(target):
        raise bad_argument("target", "classes, since attribute takes no function of the outputs", "a function")
    if model is None:
        return torch.as_tensor(target, device=inputs.device).expand(len(inputs))
    with torch.no_grad():
        outputs = model(inputs)
    return Objective(target, "logit").targets(outputs, start=0, batch=len(inputs))
