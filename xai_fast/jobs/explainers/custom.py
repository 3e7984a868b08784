"""A class of the user in a job, or one of Captum's."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.explainers.base import BatchExplainer, Chunk, Explained
from xai_fast.jobs.explainers.captum import attributing, is_option_of_attribute
from xai_fast.jobs.references import check_arguments, import_reference
from xai_fast.jobs.values import plain

__all__ = ["BatchCustom"]


class BatchCustom(BatchExplainer):
    """Any class with ``explain(inputs, target=..., item_ids=...)``, of which the latter two may be missing.

    Or, as in Captum, one with ``attribute(inputs, target=...)``: then the parameters are of both the class and
    ``attribute``, each by its name, and the targets are stored too, by default the predicted classes.

    The class is made with the model (where the job has one), the parameters, and the job's ``seed`` where it takes one.
    What ``explain`` returns is a tensor (then the field is called ``attributions``), or a mapping, dataclass or named
    tuple; of these all tensors are fields, their first dimension B.

    Args:
        reference: ``package.module:Class``.
        model: None for a job without a model.
        parameters: of the class.
        seed: of the job.

    Raises:
        InputError: there is no such class, it does not take the parameters, or has neither method.
    """

    def __init__(self, reference: str, model: nn.Module | None, parameters: Mapping[str, object], seed: int) -> None:
        self._reference = reference
        made = import_reference("explainer", reference)
        if not callable(made):
            raise bad_argument("explainer", f"{reference} to be a class", type(made).__name__)
        given, later = dict(parameters), dict[str, object]()
        if "seed" not in given and _takes(made, "seed"):
            given["seed"] = seed
        if not hasattr(made, "explain") and hasattr(made, "attribute"):
            later = {name: given.pop(name) for name in list(given) if is_option_of_attribute(made, name)}
        first = () if model is None else (model,)
        check_arguments(f"parameters of {reference}", made, given, given=len(first))
        explainer = made(*first, **given)
        explain = getattr(explainer, "explain", None)
        if explain is None and callable(getattr(explainer, "attribute", None)):
            explain = attributing(explainer.attribute, model, later)
        if not callable(explain):
            raise bad_argument("explainer", f"{reference} to have a method explain", type(explainer).__name__)
        self._settings = _settings(explainer)
        self._explain: Callable[..., object] = explain
        self._options = [name for name in ("target", "item_ids") if _takes(explain, name)]

    @property
    def settings(self) -> dict[str, object]:
        """What the class has as its ``settings``, if that is a mapping of what JSON can hold."""
        return self._settings

    def explain(self, chunk: Chunk) -> Explained:
        """Call the class's ``explain``."""
        options = {name: getattr(chunk, name) for name in self._options}
        if chunk.target is not None and "target" not in options:
            raise bad_argument("target", f"None, since {self._reference} takes no target", "a target")
        result = self._explain(chunk.inputs, **options)
        fields = _tensors(result, self._reference)
        for name, value in fields.items():
            if value.ndim < 1 or len(value) != len(chunk.inputs):
                raise InputError(
                    f"explainer: expected fields (B, ...) with B = {len(chunk.inputs)} from {self._reference}, got "
                    f"{name} {tuple(value.shape)}"
                )
        return Explained(fields, len(chunk.inputs))


def _takes(function: Callable[..., object], name: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions of C have no signature
        return False
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _settings(explainer: object) -> dict[str, object]:
    settings = getattr(explainer, "settings", None)
    found: dict[str, object] = {}
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            with contextlib.suppress(InputError):  # what JSON cannot hold cannot be compared either
                found[str(name)] = plain("settings", value)
    return found


def _tensors(result: Any, reference: str) -> dict[str, Tensor]:
    if isinstance(result, Tensor):
        return {"attributions": result}
    if isinstance(result, Mapping):
        entries = dict(result)
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        entries = {entry.name: getattr(result, entry.name) for entry in dataclasses.fields(result)}
    elif isinstance(result, tuple) and hasattr(result, "_asdict"):
        entries = result._asdict()
    else:
        raise bad_argument(
            "explainer", f"a tensor, mapping, dataclass or named tuple from {reference}", type(result).__name__
        )
    fields = {str(name): value.detach() for name, value in entries.items() if isinstance(value, Tensor)}
    if not fields:
        raise bad_argument("explainer", f"at least one tensor from {reference}", "none")
    return fields
