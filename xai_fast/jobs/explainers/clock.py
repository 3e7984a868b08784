"""How much of an explanation's time goes into the model itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["ModelClock", "model_clock"]


class ModelClock:
    """Adds up the passes through a model: forward, and back from its output to its input.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._forward = self._backward = 0.0

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Note that the model begins; a hook before its forward pass."""
        del module
        for value in inputs:
            if isinstance(value, Tensor) and value.requires_grad:
                value.register_hook(self._back_at_input)  # type: ignore[no-untyped-call]  # torch
                break
        self._forward = time.perf_counter()

    def leave(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Note that the model ended; a hook after its forward pass."""
        del module, inputs
        self.seconds += time.perf_counter() - self._forward
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(self._back_at_output)  # type: ignore[no-untyped-call]  # torch

    def _back_at_output(self, gradient: Tensor) -> None:
        del gradient
        self._backward = time.perf_counter()

    def _back_at_input(self, gradient: Tensor) -> None:
        del gradient
        if self._backward:
            self.seconds += time.perf_counter() - self._backward
            self._backward = 0.0


@contextlib.contextmanager
def model_clock(model: nn.Module) -> Iterator[ModelClock | None]:
    """Time the passes through a model.

    Args:
        model: not compiled, since its compiler would follow the hooks.

    Yields:
        The clock; None where it would need to wait for a GPU to tell the time.
    """
    if any(value.device.type != "cpu" for value in model.parameters()):
        yield None
        return
    clock = ModelClock()
    handles = [model.register_forward_pre_hook(clock.enter), model.register_forward_hook(clock.leave)]
    try:
        yield clock
    finally:
        for handle in handles:
            handle.remove()
