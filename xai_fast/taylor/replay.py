"""Small derivatives without the interpreter: the operations of one run are recorded and run again.

For a network of a few layers and a handful of items the interpreter's Python takes longer than the arithmetic. What it
does depends on shapes only, so `make_fx` records its operations at the first run, and later runs with the same shapes
are a plain sequence of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["WORTH_RECORDING", "Replay"]

WORTH_RECORDING = 1 << 28
"""Floating-point operations above which the arithmetic takes so long that the interpreter does not matter."""


class Replay:
    """Recorded runs, by what their operations depend on.

    Args:
        compile: let `torch.compile` make one program of each record.
    """

    def __init__(self, compile: bool = False) -> None:
        self._compile = compile
        self._recorded: dict[Hashable, Callable[..., Tensor]] = {}
        self._ran: set[Hashable] = set()

    def run(self, key: Hashable, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Run a function, or the record of its second run with this key: recording takes as long as many runs.

        Args:
            key: all that decides which operations the function runs, shapes and dtypes of the tensors among it.
            function: of the tensors alone; its operations must not depend on their values.
            tensors: its arguments.

        Returns:
            What the function returns.
        """
        if key not in self._recorded:
            if not self._compile and key not in self._ran:
                self._ran.add(key)
                return function(*tensors)
            module = _quick(make_fx(function)(*tensors))
            compiled = torch.compile(module, fullgraph=True, dynamic=False) if self._compile else module.forward
            self._recorded[key] = compiled
        return self._recorded[key](*tensors)


# Python's own functions take half the time of the overloads that they call, where their arguments are the same.
_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    f"aten.{name}": getattr(torch, name.partition(".")[0])
    for name in (
        "add.Tensor", "sub.Tensor", "mul.Tensor", "exp", "log", "reciprocal", "sigmoid", "tanh", "pow.Tensor_Scalar",
        "mm", "bmm", "addmm", "cat", "gather", "scatter_add", "select.int", "unsqueeze", "transpose.int", "permute",
        "sum.dim_IntList", "amax", "detach", "index_select", "ones_like",
    )
} | {
    f"aten.{name}": getattr(Tensor, name.partition(".")[0])
    for name in ("view", "expand", "new_zeros")
}  # fmt: skip


def _quick(module: fx.GraphModule) -> fx.GraphModule:
    for node in module.graph.nodes:
        node.target = _FUNCTIONS.get(str(node.target).removesuffix(".default"), node.target)
    module.recompile()
    return module
