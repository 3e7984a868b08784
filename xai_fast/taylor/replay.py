"""Small derivatives without the interpreter: the operations of one run are recorded and run again.

For a network of a few layers and a handful of items the interpreter's Python takes longer than the arithmetic. What it
does depends on shapes only, so its operations are recorded at the first run, those whose results nothing needs are left
out, and later runs with the same shapes are a plain sequence of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

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

    def run(self, key: Hashable, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Run a function, or the record of its first run with this key.

        Args:
            key: all that decides which operations the function runs, shapes and dtypes of the tensors among it.
            function: of the tensors alone; its operations must not depend on their values.
            tensors: its arguments.

        Returns:
            What the function returns.
        """
        recorded = self._recorded.get(key)
        if recorded is not None:
            return recorded(*tensors)
        recorder = _Recorder(tensors)
        with recorder:
            result = function(*tensors)
        module = recorder.module(result)
        self._recorded[key] = torch.compile(module, fullgraph=True, dynamic=False) if self._compile else module.forward
        return result


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down the operations below autograd and vmap, without keeping a tensor alive that they make."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._nodes: Any = WeakTensorKeyDictionary()
        for i, tensor in enumerate(tensors):
            self._nodes[tensor] = self._graph.placeholder(f"input_{i}")

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if _is_view(func) and args[0] not in self._nodes:
            return result  # of a constant, which is one itself
        args, kwargs = tree_map_only(Tensor, self._node, (args, kwargs))
        node = self._graph.call_function(_quick(func), args, kwargs)
        several = isinstance(result, list | tuple)
        for i, output in enumerate(result if several else (result,)):
            if isinstance(output, Tensor):
                made = self._graph.call_function(_item, (node, i)) if several else node
                self._nodes[output] = made
        return result

    def _node(self, tensor: Tensor) -> fx.Node:
        """Find what made a tensor; what was there before the run is a constant."""
        if tensor not in self._nodes:
            name = f"constant_{len(self._graph.nodes)}"
            self._root.register_buffer(name, tensor)
            self._nodes[tensor] = self._graph.get_attr(name)
        return self._nodes[tensor]  # type: ignore[no-any-return]

    def module(self, result: Tensor) -> fx.GraphModule:
        """Make a program of what was recorded."""
        self._graph.output(self._nodes[result])
        self._graph.eliminate_dead_code()
        return fx.GraphModule(self._root, self._graph)


# Python's own functions take half the time of the overloads that they call, where their arguments are the same. What
# writes in place stays an overload: it is known by its schema, and not left out.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    f"aten::{name}": getattr(torch, name.partition(".")[0])
    for name in (
        "add.Tensor", "sub.Tensor", "mul.Tensor", "exp", "log", "reciprocal", "sigmoid", "tanh", "pow.Tensor_Scalar",
        "mm", "bmm", "addmm", "cat", "gather", "scatter_add", "select.int", "unsqueeze", "transpose.int", "permute",
        "sum.dim_IntList", "amax", "detach", "index_select", "ones_like",
    )
} | {
    f"aten::{name}": getattr(Tensor, name.partition(".")[0])
    for name in ("view", "expand", "new_zeros")
}  # fmt: skip


def _quick(func: Any) -> Any:
    return _FUNCTIONS.get(func.name(), func)


def _is_view(func: Any) -> bool:
    return any(output.alias_info is not None and not output.alias_info.is_write for output in func._schema.returns)


def _item(outputs: Sequence[Tensor], which: int) -> Tensor:
    return outputs[which]
