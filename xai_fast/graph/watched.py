"""What a trace has read: a change of it is noticed, so that a stale trace is not used.

Tensors are compared by identity, storage and version, which counts changes in place; submodules, hooks and what a
Python function reads besides its arguments (its closure, defaults and globals) by identity; numbers and strings by
value. What is inside lists, dictionaries and other objects is not looked at.
"""

from __future__ import annotations

import contextlib
import operator
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

__all__ = ["References", "Watched", "recorded_modules"]

_BY_VALUE = (bool, int, float, complex, str, bytes, types.NoneType, types.MethodType, torch.dtype, torch.device)


class References:
    """Values that are compared with others later, held weakly where that is possible.

    Args:
        values: of any kind.
    """

    def __init__(self, values: Iterable[object]) -> None:
        self._held = [_held(value) for value in values]

    def are(self, values: Iterable[object]) -> bool:
        """Tell whether these are the same, unchanged values in the same order."""
        others = list(values)
        return len(others) == len(self._held) and all(
            held.is_same(value) for held, value in zip(self._held, others, strict=True)
        )


@dataclass(frozen=True)
class _Held:
    """A value, and what a tensor's content was."""

    get: Callable[[], object]
    content: tuple[int, ...] | None

    def is_same(self, value: object) -> bool:
        before = self.get()
        if before is not value:
            return isinstance(before, _BY_VALUE) and type(before) is type(value) and before == value
        return not isinstance(value, Tensor) or (self.content is not None and self.content == _content(value))


def _held(value: object) -> _Held:
    content = _content(value) if isinstance(value, Tensor) else None
    try:
        weak = weakref.WeakMethod(value) if isinstance(value, types.MethodType) else weakref.ref(value)
    except TypeError:  # numbers, strings, containers
        return _Held(lambda: value, content)
    return _Held(weak, content)


def _content(tensor: Tensor | None) -> tuple[int, ...] | None:
    """Number the content of a tensor; None where changes are not counted, which equals nothing."""
    return None if tensor is None or tensor.is_inference() else (tensor._version, tensor.data_ptr())


class Watched:
    """What a function has read while it was traced.

    Args:
        functions: the Python functions that make it up.
        modules: that were called.
        tensors: that it took from elsewhere, see `xai_fast.graph.nodes.Graph.reads`.
    """

    def __init__(self, functions: Iterable[object], modules: Iterable[nn.Module], tensors: Iterable[Tensor]) -> None:
        self._tensors = [(tensor, _content(tensor)) for tensor in tensors]
        unique = dict.fromkeys(part for module in modules for part in module.modules())
        self._modules = [_State(module) for module in unique]
        self._functions = [(_held(f).get, References(_read_by_function(f))) for f in functions]

    def is_unchanged(self) -> bool:
        """Tell whether all of it is as it was."""
        if any(content is None or content != _content(tensor) for tensor, content in self._tensors):
            return False
        if not all(state.is_unchanged() for state in self._modules):
            return False
        owners = [(get(), parts) for get, parts in self._functions]
        return all(owner is not None and parts.are(_read_by_function(owner)) for owner, parts in owners)


class _State:
    """The tensors, submodules, hooks and numbers of a module; comparing them takes part of every call."""

    def __init__(self, module: nn.Module) -> None:
        self._module = weakref.ref(module)
        self._tensors = _tensors_of(module)
        self._contents = [_content(tensor) for tensor in self._tensors]
        self._is_counted = all(
            c is not None for t, c in zip(self._tensors, self._contents, strict=True) if t is not None
        )
        # Numbers of the module itself are looked at by name, with their type: a tensor in their place has no one truth.
        numbers = {name: value for name, value in vars(module).items() if isinstance(value, bool | int | float | str)}
        self._names, self._numbers = list(numbers), [(type(value), value) for value in numbers.values()]
        self._size = len(vars(module))
        self._others = [_held(value).get for value in _others_of(module)]

    def is_unchanged(self) -> bool:
        module = self._module()
        if module is None or not self._is_counted:
            return False
        tensors, state = _tensors_of(module), vars(module)
        return (
            len(tensors) == len(self._tensors)
            and all(map(operator.is_, tensors, self._tensors))
            and [_content(tensor) for tensor in tensors] == self._contents
            and len(state) == self._size
            and [(type(value), value) for value in map(state.get, self._names)] == self._numbers
            and [get() for get in self._others] == _others_of(module)
        )


def _others_of(module: nn.Module) -> list[object]:
    return [*module._modules.values(), *module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _tensors_of(module: nn.Module) -> list[Tensor | None]:
    return [*module._parameters.values(), *module._buffers.values()]


def _read_by_function(function: Any) -> Iterable[object]:
    if isinstance(function, types.FunctionType):
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # not assigned yet
                yield cell.cell_contents
        yield from function.__defaults__ or ()
        yield from (function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__)
    elif not isinstance(function, nn.Module):
        yield from getattr(function, "__dict__", {}).values()


@contextlib.contextmanager
def recorded_modules() -> Iterator[list[nn.Module]]:
    """List the modules that this thread calls.

    Yields:
        The list, which grows.
    """
    called: list[nn.Module] = []
    thread = threading.get_ident()

    def record(module: nn.Module, inputs: object) -> None:
        if threading.get_ident() == thread:
            called.append(module)

    handle = register_module_forward_pre_hook(record)
    try:
        yield called
    finally:
        handle.remove()
