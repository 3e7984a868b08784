"""Smooth activations in the place of piecewise linear ones, which have no curvature."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xai_fast.arguments import check_choice

__all__ = ["SMOOTH", "remedy", "smoothed"]

SHARPNESS = 10.0
"""beta of the softplus: it is within log(2) / beta of the ReLU."""


def _gelu(x: Tensor) -> Tensor:
    return functional.gelu(x)


def _softplus(x: Tensor) -> Tensor:
    return functional.softplus(x, beta=SHARPNESS)


SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {"gelu": _gelu, "softplus": _softplus}
"""Name to the smooth function that takes the place of max(x, 0)."""

_RELU = {functional.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_RELU6 = {functional.relu6}
_LEAKY = {functional.leaky_relu, torch.nn.functional.leaky_relu_}
_CLAMP = {functional.hardtanh, functional.hardtanh_, torch.clamp, Tensor.clamp, Tensor.clamp_, torch.clip, Tensor.clip}


class _Swapped(TorchFunctionMode):
    """Intercepts activations, whether called by modules or as functions; the model itself is not touched."""

    def __init__(self, ramp: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.ramp = ramp

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Swapped) and self.ramp is other.ramp

    def __hash__(self) -> int:
        return hash(self.ramp)

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        kwargs = dict(kwargs or {})
        if func in _RELU:
            return self.ramp(args[0])
        if func in _RELU6:
            return self.ramp(args[0]) - self.ramp(args[0] - 6)
        if func in _LEAKY:
            slope = args[1] if len(args) > 1 else kwargs.get("negative_slope", 0.01)
            return slope * args[0] + (1 - slope) * self.ramp(args[0])
        if func in _CLAMP:
            low, high = self._limits(func, args, kwargs)
            if isinstance(low, int | float) and isinstance(high, int | float):
                return self.ramp(args[0] - low) - self.ramp(args[0] - high) + low
        return func(*args, **kwargs)

    @staticmethod
    def _limits(func: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        names = ("min_val", "max_val") if func in (functional.hardtanh, functional.hardtanh_) else ("min", "max")
        defaults = (-1.0, 1.0) if names[0] == "min_val" else (None, None)
        low = args[1] if len(args) > 1 else kwargs.get(names[0], defaults[0])
        high = args[2] if len(args) > 2 else kwargs.get(names[1], defaults[1])
        return low, high


@contextlib.contextmanager
def smoothed(name: str | None) -> Iterator[None]:
    """Swap ReLU, ReLU6, leaky ReLU and clamping to an interval for smooth functions while a model runs.

    max(x, 0) becomes gelu(x) or softplus(x); the others are written with max(x, 0), as in
    ReLU6(x) = max(x, 0) - max(x - 6, 0).

    Args:
        name: one of `SMOOTH`, or None to change nothing.

    Yields:
        Nothing.
    """
    if name is None:
        yield
        return
    check_choice("smooth", name, tuple(SMOOTH))
    with _Swapped(SMOOTH[name]):
        yield


def remedy(name: str | None) -> str | None:
    """Say in words what `smoothed` does, for results."""
    if name is None:
        return None
    return "GELU in place of ReLU" if name == "gelu" else f"softplus (beta {SHARPNESS:g}) in place of ReLU"
