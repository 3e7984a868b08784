"""Small derivatives without the interpreter: the operations of one run are recorded and run again.

For a network of a few layers and a handful of items the interpreter's Python takes longer than the arithmetic. What it
does depends on shapes only, so its operations are recorded once, those whose results nothing needs are left out, and
later runs with the same shapes are a plain sequence of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["WORTH_RECORDING", "Replay"]

WORTH_RECORDING = 1 << 28
"""Floating-point operations above which the arithmetic takes so long that the interpreter does not matter."""


class Replay:
    """Recorded runs, by what their operations depend on.

    Args:
        compile: record at the first run, and let `torch.compile` make one program of each record.
    """

    def __init__(self, compile: bool = False) -> None:
        self.compile = compile
        self._seen: set[Hashable] = set()
        self._recorded: dict[Hashable, Callable[..., Tensor]] = {}

    def run(self, key: Hashable, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Run a function; from its second run with this key on, record it and run the record.

        Args:
            key: all that decides which operations the function runs, shapes and dtypes of the tensors among it.
            function: of the tensors alone; its operations must not depend on their values.
            tensors: its arguments.

        Returns:
            What the function returns.
        """
        recorded = self._recorded.get(key)
        if recorded is None:
            if key not in self._seen and not self.compile:
                self._seen.add(key)
                return function(*tensors)
            traced = make_fx(function)(*tensors)
            traced.graph.eliminate_dead_code()
            traced.recompile()
            recorded = torch.compile(traced, fullgraph=True, dynamic=False) if self.compile else traced.forward
            self._recorded[key] = recorded
        result: Tensor = recorded(*tensors)
        return result
