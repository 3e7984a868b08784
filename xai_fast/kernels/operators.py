"""How the contract of a kernel, a function that checks its arguments, becomes a ``torch.library`` operator."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Sequence
from typing import ParamSpec

import torch
from torch import Tensor

from xai_fast import backends

__all__ = ["operator"]

P = ParamSpec("P")

_TYPES = {
    Tensor: "Tensor",
    Tensor | None: "Tensor?",
    bool: "bool",
    int: "SymInt",
    float: "float",
    str: "str",
    Sequence[int]: "int[]",
    Sequence[float]: "float[]",
    Sequence[str]: "str[]",
}


def operator(
    *, writes: Sequence[str], needs: Sequence[str], run: str = "run"
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return a decorator that makes an operator of the kernel in whose package the decorated function is.

    The decorated function documents the arguments, and its body checks them. The operator has the function's name; it
    checks, chooses a backend, and calls the function ``run`` of its module. ``writes`` are the tensors that change.
    Where one of ``needs`` has no entries there is nothing to do; the backend has to run on the first one's device.
    """

    def decorate(contract: Callable[P, None]) -> Callable[P, None]:
        check: Callable[..., None] = contract
        kernel, parameters = check.__module__.rpartition(".")[2], inspect.signature(check).parameters
        needed = [list(parameters).index(name) for name in needs]
        defaults = tuple(parameter.default for parameter in parameters.values())

        def checked_run(*arguments: typing.Any) -> None:
            arguments += defaults[len(arguments) :]  # torch leaves out what equals its default
            check(*arguments)
            if all(arguments[at].numel() for at in needed):
                getattr(backends.select(kernel, (arguments[needed[0]],)), run)(*arguments)

        made = torch.library.custom_op(
            f"xai_fast::{check.__name__}", checked_run, mutates_args=writes, schema=_schema(check, writes)
        )
        made.register_fake(check)

        @functools.wraps(contract)
        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            if kwargs or _is_watched(args):
                made(*args, **kwargs)
            else:  # the way through torch takes several times as long as a small kernel runs
                checked_run(*args)

        return call

    return decorate


def _is_watched(arguments: Sequence[object]) -> bool:
    """Tell whether a gradient, a mode, a transform, a compiler or another kind of tensor has to see a call."""
    modes = torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack()
    transform = torch._C._functorch.maybe_current_level() is not None
    if modes or transform or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return True
    return any(isinstance(a, Tensor) and (type(a) is not Tensor or a.is_meta) for a in arguments)


def _schema(check: Callable[..., None], writes: Sequence[str]) -> str:
    """Write the operator's schema. Not left to torch: version 2.6 does not read ``Sequence[int]``."""
    types, written = typing.get_type_hints(check), iter("abcdefgh")
    arguments = []
    for name, parameter in inspect.signature(check).parameters.items():
        kind = _TYPES[types[name]]
        if name in writes:
            kind = kind.replace("Tensor", f"Tensor({next(written)}!)")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        arguments.append(f"{kind} {name}{default}")
    return f"({', '.join(arguments)}) -> ()"
