"""Small derivatives without the interpreter: the operations of one run are recorded and run again.

For a network of a few layers and a handful of items the interpreter's Python takes longer than the arithmetic. What it
does depends on shapes only, so the operations of the first run are recorded, and later runs with the same shapes are a
plain sequence of calls.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

__all__ = ["WORTH_RECORDING", "Replay"]

aten = torch.ops.aten

WORTH_RECORDING = 1 << 28
"""Floating-point operations above which the arithmetic takes so long that the interpreter does not matter."""


class Replay:
    """Recorded runs, by what their operations depend on."""

    def __init__(self) -> None:
        self._recorded: dict[Hashable, Callable[..., Tensor]] = {}

    def run(self, key: Hashable, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """Return what a function of tensors gives, by the record of its first run with this key.

        The key is all that decides which operations it runs, shapes and dtypes among it; values must not.
        """
        # A record fixes how tensors are viewed, so it is made and run for one layout.
        tensors = tuple(t.clone() if t.storage_offset() else t for t in map(Tensor.contiguous, tensors))
        if key not in self._recorded:
            self._recorded[key] = _recorded(function, tensors).forward
        return self._recorded[key](*tensors)


# Python's own functions take half the time of the overloads that they call, where their arguments are the same.
_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    f"aten.{name}": getattr(torch, name.partition(".")[0])
    for name in (
        "add.Tensor", "sub.Tensor", "mul.Tensor", "exp", "log", "reciprocal", "sigmoid", "tanh", "pow.Tensor_Scalar",
        "mm", "bmm", "bmm.out", "addmm", "cat", "gather", "scatter_add", "select.int", "unsqueeze", "transpose.int",
        "permute", "sum.dim_IntList", "amax", "detach", "index_select", "ones_like", "as_strided",
    )
} | {
    f"aten.{name}": getattr(Tensor, name.partition(".")[0])
    for name in ("view", "expand", "new_zeros", "new_empty", "add_.Tensor", "copy_")
}  # fmt: skip


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down the operations that are run under it.

    `make_fx` does too, but makes a fake tensor of every value, which takes milliseconds per operation. A view is one
    step here from the tensor that owns the memory, however many operations led to it, and none where it is a constant.

    Args:
        inputs: of the record, contiguous, each at the start of its memory.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self._nodes: dict[int, fx.Node] = {}
        self._owners: dict[int, Tensor] = {}  # by storage
        self._alive: list[Tensor] = []  # so that no tensor takes the identity of another one
        for i, tensor in enumerate(inputs):
            self._register(tensor, self.graph.placeholder(f"x{i}"))

    def node(self, value: Any) -> Any:
        """Return the node of a tensor, and anything else as it is; a tensor from elsewhere is a constant."""
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._nodes:
            name = f"constant{len(self.constants)}"
            self.constants[name] = value
            self._register(value, self.graph.create_node("get_attr", name))
        return self._nodes[id(value)]

    def _register(self, value: object, node: fx.Node) -> None:
        if isinstance(value, Tensor):
            self._nodes[id(value)] = node
            self._owners.setdefault(value.untyped_storage()._cdata, value)
            self._alive.append(value)
        elif isinstance(value, list | tuple):
            for i, part in enumerate(value):
                self._register(part, self.graph.call_function(operator.getitem, (node, i)))

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        parts = result if isinstance(result, list | tuple) else [result]
        if func._schema.is_mutable or not all(self._is_one_step(part, args) for part in parts):
            given = tree_map(self.node, (args, kwargs or {}))
            self._register(result, self.graph.call_function(func, *given))
        return result

    def _is_one_step(self, value: object, args: Sequence[object]) -> bool:
        """Write a view as one step from the owner of its memory; False for what is no view, or cannot be written so."""
        if not isinstance(value, Tensor):
            return False
        storage = value.untyped_storage()._cdata
        owner = self._owners.get(storage)
        if owner is None or self._nodes[id(owner)].op == "get_attr":
            # A view of a constant is one too; it gets a node where it is read.
            return any(isinstance(arg, Tensor) and arg.untyped_storage()._cdata == storage for arg in args)
        if value.dtype != owner.dtype:
            return False
        node = self._nodes[id(owner)]
        place = (value.shape, value.stride(), value.storage_offset())
        if place != (owner.shape, owner.stride(), owner.storage_offset()):
            node = self.graph.call_function(aten.as_strided.default, (node, *place))
        self._register(value, node)
        return True


def _recorded(function: Callable[..., Tensor], tensors: Sequence[Tensor]) -> fx.GraphModule:
    with _Recorder(tensors) as recorder:
        result = function(*tensors)
    recorder.graph.output(recorder.node(result))
    recorder.graph.eliminate_dead_code()  # a rule computes all derivatives of a function, of which most are not read
    for node in recorder.graph.nodes:
        node.target = _FUNCTIONS.get(str(node.target).removesuffix(".default"), node.target)
    return fx.GraphModule(recorder.constants, recorder.graph)
