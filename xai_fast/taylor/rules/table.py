"""The one table: which ATen operation has which rule."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xai_fast.errors import UnsupportedOperation
from xai_fast.graph.interpreter import State
from xai_fast.graph.lift import ATTENTION, LAYER_NORM, aligned
from xai_fast.graph.nodes import Graph, Node, Ref, filled
from xai_fast.graph.overloads import overloads_of
from xai_fast.taylor.rules.base import Rule, unsupported
from xai_fast.taylor.rules.bilinear import MatrixProduct, Product
from xai_fast.taylor.rules.choice import Choice, Extremum, Picked
from xai_fast.taylor.rules.elementwise import Attention, Elementwise, LayerNorm, Selection, Softmax
from xai_fast.taylor.rules.linear import Concatenation, Convolution, Structural, Sum
from xai_fast.taylor.rules.writes import WRITES, Write

__all__ = ["rule_of", "with_softmax"]

aten = torch.ops.aten


def _argument(node: Node, at: int, name: str, default: object) -> Any:
    value = node.args[at] if len(node.args) > at else node.kwargs.get(name, default)
    return value


def _gelu(node: Node) -> tuple[str, tuple[float, ...]]:
    return ("gelu_tanh" if node.kwargs.get("approximate", "none") == "tanh" else "gelu"), ()


# Smooth elementwise functions: ATen operation to the activation's name and its parameters.
_SMOOTH: dict[object, Callable[[Node], tuple[str, tuple[float, ...]]]] = {
    getattr(aten, name).default: lambda node, name=name: (name, ())  # type: ignore[misc]
    for name in (
        "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "reciprocal", "tanh", "sigmoid", "silu", "mish", "hardswish",
        "sin", "cos", "erf",
    )
}  # fmt: skip
_SMOOTH |= {
    aten.gelu.default: _gelu,
    aten.pow.Tensor_Scalar: lambda node: ("pow", (float(node.args[1]),)),  # type: ignore[arg-type]
    aten.softplus.default: lambda node: (
        "softplus",
        (_argument(node, 1, "beta", 1.0), _argument(node, 2, "threshold", 20.0)),
    ),
    aten.elu.default: lambda node: (
        "elu",
        (_argument(node, 1, "alpha", 1.0), _argument(node, 2, "scale", 1.0), _argument(node, 3, "input_scale", 1.0)),
    ),
}


def _inside(low: Any, high: Any, *, closed: bool) -> Callable[[Tensor], Tensor]:
    def slope(z: Tensor) -> Tensor:
        inside = torch.ones_like(z, dtype=torch.bool)
        if low is not None:
            inside &= (z >= low) if closed else (z > low)
        if high is not None:
            inside &= (z <= high) if closed else (z < high)
        return inside

    return slope


def _leaky(slope: float) -> Callable[[Tensor], Tensor]:
    # torch.where of two numbers would be float32, whatever z is.
    return lambda z: torch.where(z > 0, torch.ones_like(z), slope)


# Piecewise linear elementwise functions: ATen operation to the slope at z, by PyTorch's convention at the kinks.
_SLOPES: dict[object, Callable[[Node], Callable[[Tensor], Tensor]]] = {
    aten.relu.default: lambda node: lambda z: z > 0,
    aten.abs.default: lambda node: torch.sign,
    aten.leaky_relu.default: lambda node: _leaky(_argument(node, 1, "negative_slope", 0.01)),
    aten.hardtanh.default: lambda node: _inside(
        _argument(node, 1, "min_val", -1.0), _argument(node, 2, "max_val", 1.0), closed=False
    ),
    aten.relu6.default: lambda node: _inside(0.0, 6.0, closed=False),
    aten.clamp.default: lambda node: _inside(
        _argument(node, 1, "min", None), _argument(node, 2, "max", None), closed=True
    ),
    aten.clamp_min.default: lambda node: _inside(node.args[1], None, closed=True),
    aten.clamp_max.default: lambda node: _inside(None, node.args[1], closed=True),
    aten.hardsigmoid.default: lambda node: lambda z: ((z > -3) & (z < 3)).to(z.dtype) / 6,
    aten.threshold.default: lambda node: lambda z: z > _argument(node, 1, "threshold", 0.0),
    aten.fmod.Scalar: lambda node: torch.ones_like,
    aten.remainder.Scalar: lambda node: torch.ones_like,
}

# Linear in the only input that may depend on x.
_STRUCTURAL = overloads_of(
    aten.view, aten._unsafe_view, aten.reshape, aten.permute, aten.transpose, aten.t, aten.unsqueeze, aten.squeeze,
    aten.expand, aten.select, aten.slice, aten.sum, aten.mean, aten.clone, aten.alias, aten.neg, aten.avg_pool1d,
    aten.avg_pool2d, aten.avg_pool3d, aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.reflection_pad1d,
    aten.reflection_pad2d, aten.replication_pad1d, aten.replication_pad2d, aten.index_select, aten.index,
    aten.gather, aten.cumsum, aten.flip, aten.roll, aten.repeat, aten.unfold, aten.im2col, aten.col2im,
    aten.diagonal, aten.tril, aten.triu, aten._to_copy, aten.pixel_shuffle, aten.pixel_unshuffle,
    aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.upsample_bicubic2d,
    aten.upsample_trilinear3d, aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa,
    aten.contiguous, aten.trace, aten.lift_fresh_copy, aten.view_copy, aten.movedim, aten.channel_shuffle,
)  # fmt: skip
_SEVERAL_OUTPUTS = overloads_of(aten.split, aten.split_with_sizes, aten.unbind, aten.chunk)
_PICKED = {
    aten.max.dim: 0, aten.min.dim: 0, aten.topk.default: 0, aten.sort.default: 0, aten.sort.stable: 0,
    aten.median.dim: 0, aten.kthvalue.default: 0, aten.cummax.default: 0, aten.cummin.default: 0,
    aten.max_pool2d_with_indices.default: 2, aten.max_pool3d_with_indices.default: 3,
    aten.adaptive_max_pool2d.default: 2, aten.adaptive_max_pool3d.default: 3,
}  # fmt: skip
_FUSED = {ATTENTION: Attention, LAYER_NORM: LayerNorm}


def _where(graph: Graph, node: Node) -> Rule:
    condition = node.args[0]

    def share(state: State) -> Tensor:
        value = filled(condition, state.values)
        value = aligned(value, 1, len(node.shape or ())) if graph.nodes[condition.index].per_item else value  # type: ignore[attr-defined]
        return value.to(_floating(state))

    def _floating(state: State) -> torch.dtype:
        return state.tensor(node.index).dtype

    return Choice(graph, node, (node.args[1], node.args[2]), share)


def _larger(graph: Graph, node: Node) -> Rule:
    sign = 1 if node.target is aten.maximum.default else -1

    def operand(state: State, which: int) -> Tensor:
        argument = node.args[which]
        value = state.tensor(argument.index)  # type: ignore[attr-defined]
        return aligned(value, 1, len(node.shape or ())) if graph.nodes[argument.index].per_item else value  # type: ignore[attr-defined]

    def share(state: State) -> Tensor:
        a, b = operand(state, 0), operand(state, 1)
        return (1 + sign * torch.sign(a - b)) / 2

    return Choice(graph, node, (node.args[0], node.args[1]), share)


def _prelu(graph: Graph, node: Node) -> Rule:
    weight = graph.constants.get(node.args[1].index)  # type: ignore[attr-defined]
    if not isinstance(weight, Tensor):
        raise UnsupportedOperation(unsupported(node, "whose slope depends on the item"))
    rank = len(node.shape or ())
    slope = weight.reshape(1, -1, *([1] * (rank - 2))) if rank > 1 else weight
    return Selection(graph, node, lambda z: torch.where(z > 0, torch.ones_like(z), slope))


def _addmm(graph: Graph, node: Node) -> Rule:
    bias = node.args[0]
    if isinstance(bias, Ref) and graph.nodes[bias.index].per_item:
        raise UnsupportedOperation(unsupported(node, "whose added row depends on the item"))
    return MatrixProduct(graph, node, node.args[1], node.args[2])


def _padding(graph: Graph, node: Node) -> Rule:
    # The value around the edge is no part of the derivative.
    return Structural(graph, node, replace(node, args=node.args[:2], kwargs={}))


def _power(graph: Graph, node: Node) -> Rule:
    exponent = graph.constants.get(node.args[1].index)  # type: ignore[attr-defined]
    if not isinstance(exponent, Tensor) or exponent.numel() != 1:
        raise UnsupportedOperation(unsupported(node, "with an exponent that is not one constant"))
    return Elementwise(graph, node, "pow", (float(exponent),))


def _getitem(graph: Graph, node: Node) -> Rule:
    operation = graph.nodes[node.args[0].index]  # type: ignore[attr-defined]
    if operation.target in _SEVERAL_OUTPUTS:
        return Structural(graph, node, operation, node.args[1])  # type: ignore[arg-type]
    if operation.target in _PICKED and node.args[1] == 0:
        return Picked(graph, node, operation, _PICKED[operation.target])
    if operation.target in _FUSED:
        return _FUSED[operation.target](graph, node, operation)
    raise UnsupportedOperation(unsupported(operation))


def _product(graph: Graph, node: Node) -> Rule:
    return Product(graph, node, node.args[0], node.args[1])


def _matrix_product(graph: Graph, node: Node) -> Rule:
    return MatrixProduct(graph, node, node.args[0], node.args[1])


_OTHERS: dict[object, Callable[[Graph, Node], Rule]] = {
    aten.convolution.default: Convolution,
    aten.add.Tensor: Sum,
    aten.add.Scalar: Sum,
    aten.sub.Tensor: Sum,
    aten.sub.Scalar: Sum,
    aten.rsub.Tensor: Sum,
    aten.rsub.Scalar: Sum,
    aten.cat.default: Concatenation,
    aten.where.self: _where,
    aten.maximum.default: _larger,
    aten.minimum.default: _larger,
    aten.amax.default: Extremum,
    aten.amin.default: Extremum,
    aten.max.default: Extremum,
    aten.min.default: Extremum,
    aten.prelu.default: _prelu,
    aten._prelu_kernel.default: _prelu,
    aten.constant_pad_nd.default: _padding,
    aten.pow.Tensor_Tensor: _power,
    aten.mul.Tensor: _product,
    aten.mul.Scalar: _product,
    aten.mm.default: _matrix_product,
    aten.bmm.default: _matrix_product,
    aten.addmm.default: _addmm,
    operator.getitem: _getitem,
}
_OTHERS |= dict.fromkeys(WRITES, Write)
_NORMALISED = [aten.mul.Tensor, aten.exp.default, aten.reciprocal.default]


def rule_of(graph: Graph, node: Node) -> Rule | None:
    """Find the rule of an operation; the error names the operation and says what to do where there is none."""
    # Inputs, what does not depend on x, and operations with several outputs, whose rules are those of the outputs.
    if not node.active or node.target is None or node.shape is None:
        if node.active and node.target is not None and node.target not in {*_SEVERAL_OUTPUTS, *_PICKED, *_FUSED}:
            raise UnsupportedOperation(unsupported(node))
        return None
    if node.target in _SMOOTH:
        return Elementwise(graph, node, *_SMOOTH[node.target](node))
    if node.target in _SLOPES:
        return Selection(graph, node, _SLOPES[node.target](node))
    if node.target in _STRUCTURAL:
        return Structural(graph, node)
    if node.target in _OTHERS:
        return _OTHERS[node.target](graph, node)
    raise UnsupportedOperation(unsupported(node))


def with_softmax(graph: Graph, rules: dict[int, Rule]) -> dict[int, Rule]:
    """Put one rule in the place of those of exp, sum, reciprocal and product, where nothing else reads these."""
    found = dict(rules)
    for index, rule in rules.items():
        parts = [graph.nodes[i] for i in rule.node.inputs]
        if [rule.node.target, *(part.target for part in parts)] != _NORMALISED:
            continue
        chain = [parts[1], graph.nodes[parts[1].inputs[0]]]
        if chain[-1].target is aten.add.Tensor and rules[chain[-1].index].inputs == chain[-1].inputs[:1]:
            chain.append(graph.nodes[chain[-1].inputs[0]])  # 1 is added where a whole row is masked
        total = chain[-1]
        readers = [set(graph.users[part.index]) for part in (parts[0], *chain)]
        # A comparison with zero may read the sum too: it has no derivative.
        readers[-1] -= {i for i in readers[-1] if not graph.nodes[i].active}
        expected = [{total.index, index}, {index}, *({part.index} for part in chain[:-1])]
        if total.target is aten.sum.dim_IntList and total.args[2:] == (True,) and readers == expected:
            found[index] = Softmax(graph, rule.node, parts[0].inputs[0], total.args[1])  # type: ignore[arg-type]
            for part in (parts[0], *chain):
                del found[part.index]
    return found
