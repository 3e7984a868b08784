"""From a function of one item to a graph of ATen operations.

The function is traced for a batch of one item. The interpreter (`xai_fast.graph.interpreter`) then carries any number
of items, and of directions per item, as leading dimensions of every tensor: one trace serves all batch sizes, and no
operation can mix items.
"""

from __future__ import annotations

import contextlib
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.traceback import preserve_node_meta
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from xai_fast.errors import ModelError, UnsupportedOperation, XaiFastError
from xai_fast.graph.decompositions import NOT_DIFFERENTIABLE, RANDOM, WrittenOut, decompositions
from xai_fast.graph.nodes import Graph, Node, Ref, filled, pruned

__all__ = ["SCORE", "at_path", "trace"]

_PATH = "xai_fast_path"
SCORE = "(score)"
"""The path of the operations between a model's outputs and the score."""


def trace(function: Callable[..., Tensor], x: Tensor, extras: Sequence[Tensor] = (), model: object = None) -> Graph:
    """Trace a function of one item.

    Args:
        function: from (1, ...) and the extras, likewise with one row each, to the score (1,). It is traced under
            `torch.func.functionalize`, attention on its mathematical path, in a context of `frozen_parameters`.
        x: (1, ...) an example; the graph holds for every item of this shape and dtype.
        extras: further tensors (1, ...) that belong to the item and are not differentiated.
        model: the module whose submodules give nodes their path.

    Returns:
        The graph, without what the score does not need.

    Raises:
        ModelError: the function does not return one score, or draws random numbers.
        UnsupportedOperation: it cannot be traced.
    """
    with _traceable(), preserve_node_meta(), _annotated(model):
        try:
            traced = _without_writes(function, (x.detach(), *(extra.detach() for extra in extras)))
        except XaiFastError:
            raise
        except (RuntimeError, TypeError, ValueError) as error:
            raise UnsupportedOperation(
                f"model: expected a forward pass that torch.fx can trace, got {type(error).__name__}: {error}; second "
                'derivatives by method="hvp" need no trace'
            ) from error
    traced.graph.eliminate_dead_code()
    return _convert(traced, 1 + len(extras))


def at_path(path: str) -> contextlib.AbstractContextManager[object]:
    """Trace operations under this path; see `Node.path`. Before torch 2.9 nodes have none."""
    annotate: Any = getattr(torch.fx.traceback, "annotate", None)
    entered: contextlib.AbstractContextManager[object]
    entered = contextlib.nullcontext() if annotate is None else annotate({_PATH: path})
    return entered


@contextlib.contextmanager
def _annotated(model: object) -> Iterator[None]:
    """Write down the module in whose forward pass each operation runs."""
    names = {module: name for name, module in model.named_modules()} if isinstance(model, torch.nn.Module) else {}
    thread = threading.get_ident()
    running: list[contextlib.ExitStack] = []

    def enter(module: torch.nn.Module, inputs: object) -> None:
        if threading.get_ident() == thread:
            running.append(contextlib.ExitStack())
            if module in names:
                running[-1].enter_context(at_path(names[module]))

    def leave(module: torch.nn.Module, inputs: object, output: object) -> None:
        if threading.get_ident() == thread:
            running.pop().close()

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        while running:  # an exception went through them
            running.pop().close()


@contextlib.contextmanager
def _traceable() -> Iterator[None]:
    """Keep attention on its mathematical path, and have models take their general way; find fake tensors quickly."""
    # make_fx notes the shape of every value with a fake tensor, and builds a mode for each unless it finds one: most of
    # the time of a trace.
    fake = TracingContext(FakeTensorMode(allow_fallback_kernels=True))
    before = torch.compiler.is_compiling()
    # Models that look at values, such as a mask, to take a shorter way take the general one while they are compiled.
    torch.compiler._is_compiling_flag = True
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), WrittenOut(), tracing(fake):
            yield
    finally:
        torch.compiler._is_compiling_flag = before


def _without_writes(function: Callable[..., object], inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """Trace, with every operation in place written as one that is not: nobody reads what those return."""
    traced = make_fx(functionalize(function), decomposition_table=decompositions())(*inputs)
    if _writes(traced):
        # Decompositions run below functionalisation, and some write in place: circular padding, LSTM.
        first = traced.forward  # not a call of a module, which would count as one of the model's
        again = functionalize(lambda *tensors: first(*tensors))
        traced = make_fx(again, decomposition_table=decompositions())(*inputs)
    remaining = _writes(traced)
    if remaining:
        raise UnsupportedOperation(
            f"model: expected operations that xai_fast.taylor has rules for, got {remaining[0]}, which writes in "
            'place; second derivatives by method="hvp" need none'
        )
    return traced


def _writes(traced: fx.GraphModule) -> list[object]:
    return [
        node.target
        for node in traced.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
    ]


def _attribute(module: torch.nn.Module, name: str) -> Tensor:
    value: object = module
    for part in name.split("."):
        value = getattr(value, part)
    if not isinstance(value, Tensor):
        raise ModelError(f"model: expected tensors as constants, got a {type(value).__name__} in {name}")
    return value.detach()


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _convert(traced: fx.GraphModule, inputs: int) -> Graph:
    """Turn torch.fx nodes into ours: fold what is constant, mark what depends on the item and on the input."""
    nodes: list[Node] = []
    constants: dict[int, object] = {}
    reads: list[Tensor] = []
    index: dict[fx.Node, int] = {}
    output = -1
    for node in traced.graph.nodes:
        if node.op == "output":
            result = node.args[0]
            if not isinstance(result, fx.Node) or _shape(result) != (1,):
                got = tuple(_shape(result) or ()) if isinstance(result, fx.Node) else type(result).__name__
                raise ModelError(f"model: expected one score per item, (B,), got {got} for one item")
            output = index[result]
            continue
        at = len(nodes)
        index[node] = at
        if node.op == "placeholder":
            nodes.append(Node(at, node.name, None, (), {}, (), _shape(node), True, at == 0))
            continue
        if node.op == "get_attr":
            tensor = _attribute(traced, str(node.target))
            constants[at] = tensor
            reads.append(tensor)
            nodes.append(Node(at, node.name, None, (), {}, (), tuple(tensor.shape), False, False))
            continue
        nodes.append(_operation(node, at, index, nodes, constants))
    return pruned(Graph(tuple(nodes), constants, inputs - 1, output, tuple(reads)))


def _reference(index: int) -> Any:
    return Ref(index)


def _has_shape_of_its_own(node: fx.Node, per_item: Sequence[bool]) -> bool:
    """Tell whether an item's values decide the shape: nonzero, and picking by a mask."""
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.dynamic_output_shape not in node.target.tags:
        return False
    if node.target is not torch.ops.aten.index.Tensor:
        return any(per_item)
    places: Any = node.args[1]
    return any(
        depends and read in places and read.meta["val"].dtype in (torch.bool, torch.uint8)
        for read, depends in zip(node.all_input_nodes, per_item, strict=True)
    )


def _operation(
    node: fx.Node, at: int, index: dict[fx.Node, int], nodes: list[Node], constants: dict[int, object]
) -> Node:
    target = node.target
    if target in RANDOM:
        raise ModelError(f"model: expected a deterministic forward pass, got {target}")
    if _has_shape_of_its_own(node, [nodes[index[n]].per_item for n in node.all_input_nodes]):
        raise UnsupportedOperation(
            f"model: expected shapes that do not depend on the values of an item, got {target}; torch.where keeps the "
            'shape where a mask picks entries, and second derivatives by method="hvp" need no trace'
        )
    args: Any = fx.node.map_arg(node.args, lambda n: _reference(index[n]))
    kwargs: Any = fx.node.map_arg(node.kwargs, lambda n: _reference(index[n]))
    reads = tuple(index[n] for n in node.all_input_nodes)
    per_item = any(nodes[i].per_item for i in reads)
    active = target not in NOT_DIFFERENTIABLE and any(nodes[i].active for i in reads)
    if target is operator.getitem and isinstance(args[1], int) and active:
        # The other outputs of max, sort and pooling are indices.
        value = node.meta.get("val")
        active = isinstance(value, Tensor) and value.is_floating_point()
    if not per_item:
        with torch.no_grad():
            constants[at] = target(*filled(args, constants), **filled(kwargs, constants))  # type: ignore[operator]
    path = node.meta.get("custom", {}).get(_PATH, "")
    return Node(at, node.name, target, tuple(args), dict(kwargs), reads, _shape(node), per_item, active, path)  # type: ignore[arg-type]
