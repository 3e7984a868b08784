"""Finding a layer of a model by name or by identity, and seeing what it gives while the model runs."""

from __future__ import annotations

import contextlib
import difflib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from xai_fast.engine.checks import wrong_model
from xai_fast.errors import bad_argument

__all__ = [
    "CapturedOutput",
    "Layer",
    "ModelPart",
    "capture_gradient",
    "capture_output",
    "find_layer",
    "first_tensor",
    "hooked",
    "replace_first_tensor",
]

Layer: TypeAlias = str | nn.Module

_NAMES_SHOWN = 5
_NO_BACKWARD = -1


def find_layer(model: Callable[..., object], layer: Layer) -> tuple[str, nn.Module]:
    """Return the dotted name, the first of several, and the module of a layer: a submodule of the model, or its name.

    An `InputError` says that the model is no module, that there is no such layer in it, with names near to it, or that
    the layer is the whole model.
    """
    if not isinstance(model, nn.Module):
        raise wrong_model("a torch.nn.Module, in which a layer can be found", model)
    names = dict(model.named_modules(remove_duplicate=False))
    if isinstance(layer, nn.Module):
        name = next((name for name, module in names.items() if module is layer), None)
        if name is None:
            raise bad_argument(
                "layer", f"a submodule of {type(model).__name__}", f"a {type(layer).__name__} outside it"
            )
    elif isinstance(layer, str):
        if layer not in names:
            raise bad_argument("layer", _expected_name(layer, [known for known in names if known]), repr(layer))
        name = layer
    else:
        raise bad_argument("layer", "a submodule or its dotted name", type(layer).__name__)
    if not name:
        raise bad_argument("layer", "a layer inside the model", "the whole model")
    if isinstance(names[name], torch.jit.ScriptModule):
        raise bad_argument("layer", "a layer that hooks reach, so not one of torch.jit", type(names[name]).__name__)
    return name, names[name]


def _expected_name(wanted: str, names: list[str]) -> str:
    if not names:
        return "the name of a layer (but the model has no submodules)"
    # What users forget is the front of a name ("conv1" for "stages.0.0.conv1"), which difflib rates low.
    last = wanted.rpartition(".")[2]
    near = [name for name in names if name.rpartition(".")[2] == last]
    near += [name for name in difflib.get_close_matches(wanted, names, _NAMES_SHOWN) if name not in near]
    shown = near or [name for name in names if "." not in name]
    more = ", ..." if len(shown) > _NAMES_SHOWN else ""
    kind = "a layer near that name" if near else "the name of a layer"
    return f"{kind}, such as {', '.join(map(repr, shown[:_NAMES_SHOWN]))}{more} (see model.named_modules())"


class ModelPart(nn.Module):
    """What is made of a model's outputs, or of what it computes on the way, as a module of its own.

    Its layers have the names that they have in the model.

    Args:
        model: the model.
    """

    def __init__(self, model: Callable[..., object]) -> None:
        super().__init__()
        self.model = model
        self.training = False  # of its own it has nothing that trains

    def named_modules(self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True) -> Any:
        """List this module, and those of the model by their names there."""

        def found() -> Iterator[tuple[str, nn.Module]]:
            yield prefix, self
            if isinstance(self.model, nn.Module):
                yield from self.model.named_modules(memo, prefix, remove_duplicate)

        return found()


def first_tensor(output: object, name: str) -> Tensor:
    """Return the tensor that a layer's output means: itself, or a tuple's first entry; else raise an `InputError`."""
    value = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(value, Tensor):
        got = f"a tuple that starts with {type(value).__name__}" if value is not output else type(output).__name__
        raise bad_argument(
            "layer", "a layer whose output is a tensor, or a tuple with a tensor first", f"{name}: {got}"
        )
    return value


def replace_first_tensor(output: object, tensor: Tensor) -> object:
    """Put another tensor in the place of what `first_tensor` gives; a tuple, also a named one, keeps its type."""
    if not isinstance(output, tuple):
        return tensor
    values = (tensor, *output[1:])
    make = getattr(type(output), "_make", type(output))
    replaced: object = make(values)
    return replaced


@contextlib.contextmanager
def hooked(modules: Sequence[nn.Module], hook: Callable[[nn.Module, Any, Any], object]) -> Iterator[None]:
    """Have a hook after modules. What was compiled runs as it was written, since hooks reach only that."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext():
            yield
    finally:
        for handle in handles:
            handle.remove()


class CapturedOutput:
    """What a layer gave within `capture_output`.

    Args:
        name: of the layer.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs = 0
        self._tensor: Tensor | None = None

    def keep(self, tensor: Tensor) -> None:
        """Count a run, and keep its output where it is the first."""
        self.runs += 1
        self._tensor = tensor if self.runs == 1 else None

    @property
    def tensor(self) -> Tensor:
        """The output of the only run.

        Raises:
            InputError: the layer did not run, or ran more than once.
        """
        if self._tensor is not None:
            return self._tensor
        got = f"{self.name}, which ran {self.runs} times"
        if self.runs == 0:
            got = f"{self.name}, which did not run (is it used, and is the model itself not compiled or scripted?)"
        raise bad_argument("layer", "a layer that runs once in a pass through the model", got)


@contextlib.contextmanager
def capture_gradient(model: Callable[..., object], layer: Layer) -> Iterator[list[Tensor]]:
    """See a layer inside a reentrant checkpoint, which has a graph only while it is run again on the way back.

    Args:
        model: a module.
        layer: a submodule of it, or its dotted name.

    Yields:
        A list that holds, after ``backward``, the layer's output and the gradient with respect to it.
    """
    name, module = find_layer(model, layer)
    seen: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if torch._C._current_graph_task_id() != _NO_BACKWARD:
            tensor = first_tensor(output, name)
            seen.append(tensor.detach().clone())
            tensor.register_hook(seen.append)  # type: ignore[no-untyped-call]  # torch

    with hooked([module], hook):
        yield seen


@contextlib.contextmanager
def capture_output(
    model: Callable[..., object], layer: Layer, *, cut: bool = False, others: Sequence[CapturedOutput] = ()
) -> Iterator[CapturedOutput]:
    """See the output of a layer while the model runs once, in this thread.

    What comes after the layer gets a copy, so that an operation in place (such as ``ReLU(inplace=True)``) does not
    change the captured tensor. The hook is taken out at the end, also after an exception.

    Args:
        model: a module.
        layer: a submodule of it, or its dotted name.
        cut: capture a detached tensor that requires a gradient, on which all that comes after the layer depends, and
            enable gradients from there on; so a gradient with respect to it costs nothing before the layer.
        others: what is captured with ``cut`` in the same pass; behind one of these the tensor stays attached to it.

    Yields:
        What is captured; its ``tensor`` is there once the model ran.

    Raises:
        InputError: there is no such layer, or (from the model's call) its output is no tensor.
    """
    name, module = find_layer(model, layer)
    captured = CapturedOutput(name)
    thread = threading.get_ident()

    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        if threading.get_ident() != thread:  # somebody else's pass through the same model
            return output
        tensor = first_tensor(output, name)
        if cut:
            if not tensor.is_floating_point():
                raise bad_argument("layer", "a layer with a floating-point output", f"{name}: {tensor.dtype}")
            if not (tensor.requires_grad and any(other.runs for other in others)):
                tensor = tensor.detach().clone() if tensor.is_inference() else tensor.detach()
                tensor.requires_grad_()
                behind.enter_context(torch.enable_grad())
        # On the way back, a checkpoint runs its part of the model again: the same operations, but no run of its own.
        if torch._C._current_graph_task_id() == _NO_BACKWARD:
            captured.keep(tensor)
        return replace_first_tensor(output, tensor.clone())

    with hooked([module], hook), contextlib.ExitStack() as behind:
        yield captured
