"""Layer-wise relevance propagation.

Bach, Binder, Montavon, Klauschen, Müller and Samek, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
Layer-Wise Relevance Propagation", PLoS ONE 2015. Montavon, Binder, Lapuschkin, Samek and Müller, "Layer-Wise Relevance
Propagation: An Overview", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from xai_fast.arguments import check_choice
from xai_fast.engine.call import Call
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph import ScoreFunction, TracedFunction, run, traced
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.graph.whole import Whole
from xai_fast.method import Method
from xai_fast.relevance.composite import COMPOSITES, Composite, Position
from xai_fast.relevance.rules import Rule
from xai_fast.relevance.walk import Layers, propagate

__all__ = ["LRP"]

STARTS = ("score", "one")
BIASES = ("absorb", "zero")


class LRP(Method[Explanation]):
    """Relevance of the inputs, by rules that go back through the network layer by layer.

    Attributions have the shape of the inputs, and the unit of the score. The model needs no preparation: the rules
    apply to the operations of its traced graph, so that functional calls, modules that run twice, residual sums,
    concatenations and batch norms are what they are.

    Args:
        model: a module in evaluation mode.
        composite: which layer has which rule: a name of `xai_fast.relevance.COMPOSITES`, or a `Composite`.
        score: see `xai_fast.engine.objective.SCORES`; by default the target's output.
        start: "score" for relevances that begin with the score itself, "one" for such that begin with 1.
        low: the smallest value that an input can have, for the rule zB; None for the smallest of the batch's item.
        high: the largest.
        bias: "absorb": biases take their share of the relevance; "zero": what they would take goes to the inputs.
        embeddings: the layer whose output is explained in the place of the inputs, such as token numbers.

    Raises:
        InputError: an option is out of range.
    """

    name = "lrp"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        composite: str | Composite = "epsilon_plus",
        score: str = "output",
        start: str = "score",
        low: float | None = None,
        high: float | None = None,
        bias: str = "absorb",
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model)
        self.composite = composite if isinstance(composite, Composite) else check_choice("composite", composite, tuple(COMPOSITES))
        self.score = check_choice("score", score, SCORES)
        self.start = check_choice("start", start, STARTS)
        self.low, self.high = low, high
        self.bias = check_choice("bias", bias, BIASES)
        self.embeddings = embedding_layer(model, embeddings)
