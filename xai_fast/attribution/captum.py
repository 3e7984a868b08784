"""Explainers of captum, and classes of the same form, as methods."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xai_fast.engine.call import Call
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.layers import hooked
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.method import Method

__all__ = ["captum_method"]

_GIVEN = ("self", "inputs", "target", "additional_forward_args", "internal_batch_size", "return_convergence_delta")


class _CaptumMethod(Method[Explanation]):
    """A class with ``attribute(inputs, target=...)``; `captum_method` makes a subclass for each.

    Its options are those of the class and of ``attribute``. What is explained is the model's output itself.
    """

    score = "logit"
    integers = True
    explainer: ClassVar[type]
    later: ClassVar[tuple[str, ...]]

    def __init__(self, model: Callable[..., object], **options: Any) -> None:
        super().__init__(model)
        known = self.options()
        for name in options:
            if name not in known:
                raise bad_argument(name, f"an option of {self.name}, {', '.join(known) or 'which has none'}", "it")
        for name, parameter in known.items():
            setattr(self, name, options.get(name, parameter.default))
        self._later = {name: options.pop(name) for name in self.later if name in options}
        # What the explainer asks of the model is counted by a hook, which a plain function lacks.
        self._module = model if isinstance(model, nn.Module) else _Function(model)
        self._explainer = self.explainer(self._module, **options)

    def _explain(self, call: Call) -> Explanation:
        return Explanation.cat([self._chunk(call, chunk) for chunk in call.chunks()])

    def _chunk(self, call: Call, chunk: range) -> Explanation:
        inputs, item = call.take(chunk), call.positions(chunk)
        extra = call.extra.rows(item)
        outputs = call.run([value.clone() for value in inputs], item)
        targets = call.targets(outputs, chunk)
        if callable(call.objective.target):
            raise bad_argument("target", f"classes, since {self.name} takes no function of the outputs", "a function")
        options = {**self._later, **({"additional_forward_args": extra} if extra else {})}
        passed: list[int] = []
        counted = hooked([self._module], lambda _module, given, _output: passed.append(len(given[0])))
        with counted, frozen_parameters(call.model), torch.enable_grad(), warnings.catch_warnings():
            # Captum says at each call what it does with its inputs and layers.
            warnings.filterwarnings("ignore", module="captum")
            given = tuple(inputs) if call.several else inputs[0]
            single = isinstance(outputs, Tensor) and outputs.ndim == 1
            found = self._explainer.attribute(given, target=None if single else targets, **options)
        parts = found if isinstance(found, tuple) else (found,)
        if not all(isinstance(part, Tensor) and len(part) == len(chunk) for part in parts):
            got = [tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in parts]
            raise bad_argument("method", f"tensors with {len(chunk)} rows from {self.name}", got)
        return Explanation(
            attributions=tuple(part.detach() for part in parts) if call.several else parts[0].detach(),
            scores=call.objective(outputs, targets).detach(),
            targets=targets,
            evaluations=torch.full((len(chunk),), -(-sum(passed) // len(chunk)), device=call.device),
        )


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.forward = function


def captum_method(explainer: type, name: str) -> type[Method]:
    """Make a method, with the options of both, of a class as captum's are and its ``attribute``."""
    made, later = _options(explainer), _options(explainer.attribute)  # type: ignore[attr-defined]  # it has one
    later = {option: parameter for option, parameter in later.items() if option not in made}
    body = {"explainer": explainer, "later": tuple(later), "name": name, "__doc__": inspect.getdoc(explainer)}
    method = type(explainer.__name__, (_CaptumMethod,), body)
    method.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what inspect looks for
        [inspect.Parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD), *made.values(), *later.values()]
    )
    return method


def _options(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    if isinstance(function, type):
        parameters = parameters[1:]  # the model, whatever it is called
    kept = [p for p in parameters if p.name not in _GIVEN and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return {p.name: p.replace(kind=p.KEYWORD_ONLY, annotation=p.empty) for p in kept}
