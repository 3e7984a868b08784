"""Deconvolution and guided backpropagation: gradients of which ReLUs let pass only what is positive.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. Springenberg, Dosovitskiy, Brox
and Riedmiller, "Striving for Simplicity: The All Convolutional Net", ICLR 2015 (workshop).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.saliency import GradientXInput
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer
from xai_fast.graph import State
from xai_fast.graph.whole import WholeModel
from xai_fast.taylor.program import Program
from xai_fast.taylor.rules import Rule

__all__ = ["Deconvolution", "GuidedBackprop"]

aten = torch.ops.aten

_FROM_ZERO = (aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default)
"""ReLUs where their second argument is 0; ReLU6 is written as hardtanh."""


class Deconvolution(GradientXInput):
    """The gradient of which each ReLU lets pass the positive part, whatever its input was.

    Where g arrives at the output of a ReLU, max(g, 0) goes to its input. ReLUs are found in the traced graph, so that
    functional calls and modules that run several times are like any other: relu, relu6, and hardtanh and clamp from 0.
    All other operations, also other activations such as GELU or leaky ReLU, have their own gradient.

    Attributions are like the inputs (B, ...), in units of the score per unit of the input. Arguments as for
    `xai_fast.GradientXInput`, but that ``score`` is the target's output by default.

    Cost: ``1`` gradient per item.
    Limits: shows edges, much the same for other targets or random weights; the model has to be traceable.

    Args:
        times_input: multiply by the input.
    """

    name = "deconvolution"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        score: str = "output",
        times_input: bool = False,
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model, score=score, embeddings=embeddings)
        self.times_input = bool(times_input)
        self._whole = WholeModel(model, ("attention", "layer_norm"))

    @override
    def _attribution(self, x: Tensor, gradient: Tensor) -> Tensor:
        return gradient * x if self.times_input else gradient

    @override
    def _gradients(self, call: Call) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        with torch.autocast(call.device.type, enabled=False):
            found = [self._of_chunk(call, chunk) for chunk in call.chunks()]
        scores, rows, targets = zip(*found, strict=True)
        gradients = self._whole.inputs(call, torch.cat(rows))
        parts = gradients if isinstance(gradients, tuple) else (gradients,)
        return torch.cat(scores), parts, None if targets[0] is None else torch.cat(targets)

    def _of_chunk(self, call: Call, chunk: range) -> tuple[Tensor, Tensor, Tensor | None]:
        values = self._whole.values(call, chunk)
        program = values.traced.derived(Program)
        pulls = {index: functools.partial(self._pull, rule) for index, rule in program.rules.items() if _is_relu(rule)}
        found = program.adjoints(values.state, [0], pulls=pulls)
        return values.scores, found[0][0, :, 0], values.targets

    @staticmethod
    def _pull(rule: Rule, state: State, rows: Tensor) -> dict[int, Tensor]:
        """Go back through a ReLU: from what arrives at its output (R, B, *shape) to that of its input."""
        return {rule.inputs[0]: rows.clamp(min=0)}


class GuidedBackprop(Deconvolution):
    """The gradient of which each ReLU lets pass the positive part, where its input was positive.

    Where g arrives at the output of a ReLU, its derivative times max(g, 0) goes to its input. Otherwise like
    `Deconvolution`, with its arguments.
    """

    name = "guided_backprop"

    @staticmethod
    @override
    def _pull(rule: Rule, state: State, rows: Tensor) -> dict[int, Tensor]:
        return rule.pull(state, rows.clamp(min=0))


def _is_relu(rule: Rule) -> bool:
    node = rule.node
    return node.target is aten.relu.default or (node.target in _FROM_ZERO and node.args[1:2] == (0,))
