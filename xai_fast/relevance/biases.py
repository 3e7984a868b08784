"""The full gradient: what each operation's bias has in the score, beside the gradient times the input.

Near its values an operation is y = J a + b with its derivative J, so b = y - J a is what it adds by itself: the bias
of a layer, a constant, or the implicit bias of a function that is not linear. From the score back, mu y = mu J a + mu b
with the adjoint mu, and mu J is the adjoint of a: so the score is the gradient times the input plus all mu b, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from xai_fast.graph import Graph, State
from xai_fast.graph.overloads import overloads_of
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules import Rule
from xai_fast.taylor.rules.bilinear import Bilinear, Product
from xai_fast.taylor.rules.choice import Choice, Extremum, Picked
from xai_fast.taylor.rules.elementwise import Elementwise, Selection, Softmax
from xai_fast.taylor.rules.linear import Concatenation, Convolution, Structural, Sum
from xai_fast.taylor.rules.writes import Write

__all__ = ["Biases"]

aten = torch.ops.aten

_HOMOGENEOUS = overloads_of(aten.relu, aten.abs, aten.leaky_relu, aten.prelu, aten._prelu_kernel)
_KEEPS_CHANNELS = overloads_of(
    aten.avg_pool1d, aten.avg_pool2d, aten.avg_pool3d, aten._adaptive_avg_pool2d, aten._adaptive_avg_pool3d, aten.clone,
    aten.alias, aten.constant_pad_nd, aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_bilinear2d,
)  # fmt: skip
_ENTRYWISE = (Elementwise, Selection, Sum, Product, Concatenation, Choice, Picked)


class Biases:
    """A graph as a sum of biases, made once per trace.

    Args:
        graph: the graph.

    Attributes:
        names: of the L operations that may have a bias, from the input to the score: module and operation.
        has_maps: whether there are convolutions with a map.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.program = Program(graph, 2)
        rules = self.program.rules
        self._biased = [index for index, rule in rules.items() if _may_have_bias(rule)]
        self.names = tuple(_name(rules[index]) for index in self._biased)
        self._maps = _maps(graph, rules)
        self.has_maps = any(isinstance(rules[index], Convolution) for index in self._maps)

    def back(self, state: State, of_map: Callable[[Tensor], object]) -> tuple[Tensor, Tensor]:
        """Carry the gradient back.

        Args:
            state: the values.
            of_map: is given the terms (B, C, ...) of each layer and activation with a map of more than one place.

        Returns:
            The gradient of the input (B, ...), and the terms (B, L), summed over each operation.
        """
        sums: dict[int, Tensor] = {}

        def at(rule: Rule) -> Callable[[State, Tensor], dict[int, Tensor]]:
            def pull(state: State, rows: Tensor) -> dict[int, Tensor]:
                terms = rows[0] * _bias(rule, state)
                sums[rule.node.index] = terms.flatten(1).sum(1)
                if rule.node.index in self._maps:
                    of_map(terms[:, 0])
                return rule.pull(state, rows)

            return pull

        pulls = {index: at(self.program.rules[index]) for index in self._biased}
        gradient = self.program.adjoints(state, [0], pulls=pulls)[0][0, :, 0]
        found = gradient.new_zeros(len(gradient), len(self._biased))
        for column, index in enumerate(self._biased):
            if index in sums:
                found[:, column] = sums[index]
        return gradient, found


def _may_have_bias(rule: Rule) -> bool:
    node = rule.node
    if isinstance(rule, Convolution):
        return node.args[2] is not None
    if isinstance(rule, Structural):
        return node.target is aten.constant_pad_nd.default and len(node.args) > 2 and node.args[2] != 0
    if isinstance(rule, Sum):
        return len(rule.terms) < 2
    if isinstance(rule, Bilinear):
        return rule.curved or node.target is aten.addmm.default
    if isinstance(rule, Choice | Concatenation | Write):
        return len(rule.inputs) < len(set(node.inputs)) or node.target is aten.scatter.value
    return node.target not in _HOMOGENEOUS and not isinstance(rule, Extremum | Picked)


def _bias(rule: Rule, state: State) -> Tensor:
    """Give y - J a, (B, *shape) or what broadcasts to it."""
    node = rule.node
    if isinstance(rule, Convolution):
        return state.tensor(node.args[2].index).reshape(-1, *[1] * (len(rule.shape) - 2))  # type: ignore[attr-defined]
    if node.target is aten.addmm.default and not rule.curved:
        return state.tensor(node.args[0].index)  # type: ignore[attr-defined]
    # A mask adds -inf: no adjoint comes from there.
    rows = {i: state.tensor(i).nan_to_num(0, 0, 0).unsqueeze(0) for i in rule.inputs}
    return (state.tensor(node.index) - rule.tangent(state, rows)[0]).nan_to_num(0, 0, 0)


def _name(rule: Rule) -> str:
    operation: Any = getattr(rule.node.target, "overloadpacket", rule.node.target)
    return f"{rule.node.path} {'softmax' if isinstance(rule, Softmax) else operation.__name__}".strip()


def _maps(graph: Graph, rules: Mapping[int, Rule]) -> frozenset[int]:
    """Find the layers and activations whose values are maps (1, C, ...) like the input, of more than one place."""
    rank, maps = len(graph.input_shape), {0}
    for index, rule in rules.items():
        keeps = isinstance(rule, _ENTRYWISE) or rule.node.target in _KEEPS_CHANNELS
        keeps = isinstance(rule, Convolution) or (keeps and maps.issuperset(rule.inputs))
        if keeps and len(rule.shape) == rank and math.prod(rule.shape[2:]) > 1:
            maps.add(index)
    return frozenset(i for i in maps if isinstance(rules.get(i), Convolution | Sum | Elementwise | Selection))
