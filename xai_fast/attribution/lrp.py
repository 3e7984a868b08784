"""Layer-wise relevance propagation.

Bach, Binder, Montavon, Klauschen, Müller and Samek, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by
Layer-Wise Relevance Propagation", PLoS ONE 2015. Montavon, Binder, Lapuschkin, Samek and Müller, "Layer-Wise Relevance
Propagation: An Overview", 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES
from xai_fast.errors import bad_argument
from xai_fast.graph.cut import Downstream
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.graph.whole import Values, WholeModel
from xai_fast.method import Method
from xai_fast.relevance.composite import Composite, check_bounds, check_composite, outside_bounds
from xai_fast.relevance.ledger import Relevance
from xai_fast.relevance.walk import Layers, Walk

__all__ = ["LRP"]

STARTS = ("score", "one")
BIASES = ("absorb", "zero", "keep")


class LRP(Method[Relevance]):
    """Relevance of the inputs, by rules that go back through the network layer by layer.

    Attributions are signed and have the shape of the inputs, and the unit of the score. The model needs no preparation:
    the rules apply to the operations of its traced graph, so that functional calls, modules that run twice, residual
    sums, concatenations and batch norms are what they are.

    Cost: ``1`` evaluation per item, and a walk back that takes as long as 1 to 2.5 gradients, by the composite.
    Limits: relevance is conserved only as far as biases, stabilisers and rules let it: the ledger says where it went.
    Rules for ReLU networks do not suit attention; "attn_lrp" does. Models that cannot be traced are refused.

    Args:
        model: a module in evaluation mode.
        composite: which layer has which rule: "epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box",
            "w2_gamma", "epsilon_alpha2_beta1", "epsilon_alpha2_beta1_flat", "gamma_by_depth", "deep_taylor",
            "deep_taylor_box", "attn_lrp", "cp_lrp" (`xai_fast.relevance.COMPOSITES`), or a `Composite`.
        score: see `xai_fast.engine.objective.SCORES`; by default the target's output.
        start: "score" for relevance that begins with the score itself, "one" for such that begins with 1.
        layer: a layer, or several, whose relevance is given too, by `Relevance.inner`.
        low: the smallest value that an input can have, or one per channel, for the rule zB; None for that of each item.
        high: the largest.
        bias: what happens to the share of biases: "absorb": it stays there, "zero": the rules leave biases out, "keep":
            it goes to the inputs by the size of their contributions.
        classes: several classes to explain at once, in the place of the target.
        embeddings: the layer whose output is explained in the place of the inputs, such as token ids.
        ledger: whether to count where relevance is lost.

    Raises:
        InputError: an option is out of range, or there is no such layer.
    """

    name = "lrp"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        composite: str | Composite = "epsilon_gamma_box",
        score: str = "output",
        start: str = "score",
        layer: Layer | Sequence[Layer] | None = None,
        low: float | Sequence[float] | None = None,
        high: float | Sequence[float] | None = None,
        bias: str = "absorb",
        classes: Sequence[int] | None = None,
        embeddings: Layer | None = None,
        ledger: bool = True,
    ) -> None:
        super().__init__(model)
        self.composite = composite
        self._composite = check_composite(composite)
        self.score = check_choice("score", score, SCORES)
        self.start = check_choice("start", start, STARTS)
        layers: Sequence[Any] = () if layer is None else layer if isinstance(layer, list | tuple) else (layer,)
        self.layer = tuple(Downstream(model, one).name for one in layers)
        self.low, self.high = low, high
        self._bounds = check_bounds(low, high)
        self.bias = check_choice("bias", bias, BIASES)
        self.classes = None if classes is None else tuple(check_integer("classes", index, 0) for index in classes)
        if self.classes == ():
            raise bad_argument("classes", "at least one class, or None", "an empty sequence")
        self.embeddings = embedding_layer(model, embeddings)
        self.ledger = bool(ledger)
        self._whole = WholeModel(model, ("attention", "layer_norm"))

    def _explain(self, call: Call) -> Relevance:
        if self.classes is not None and callable(call.objective.target):
            raise bad_argument("target", "None or classes, where the option classes is given", "a callable")
        step = max(1, call.rows // len(self.classes or (0,)))
        with torch.autocast(call.device.type, enabled=False):
            parts = [self._relevance(call, range(i, min(i + step, call.batch))) for i in range(0, call.batch, step)]
        return Relevance.cat(parts)

    def _relevance(self, call: Call, chunk: range) -> Relevance:
        values = self._whole.values(call, chunk)
        nodes = [self._whole.node(call, values, name) for name in self.layer]
        walk = self._walk(values)
        class_scores, seeds = self._seeds(values)
        found = walk.back(seeds, (0, *nodes))
        several = self.classes is not None
        rows = len(self.classes or (0,))

        def shaped(index: int) -> Tensor:
            """Give a node's relevance, (B, *shape), or (B, T, *shape) for several classes."""
            shape = (values.graph.nodes[index].shape or ())[1:]
            empty = values.scores.new_zeros(()).expand(rows, len(chunk), *shape)
            relevance = found[index].reshape(empty.shape) if index in found else empty
            return relevance.transpose(0, 1) if several else relevance[0]

        names, ledger = walk.entries(rows, values.scores)
        attributions = self._whole.inputs(call, shaped(0), 1 + several)
        facts = {"no_relevance": shaped(0).flatten(1).eq(0).all(1)}
        if self._bounds is not None:
            facts["outside_bounds"] = outside_bounds(values.state.tensor(0)[:, 0], self._bounds)
        return Relevance(
            attributions=attributions,
            scores=values.scores,
            targets=values.targets,
            evaluations=torch.ones_like(values.scores, dtype=torch.int64),
            facts=facts,
            inner=tuple(shaped(i) for i in nodes),
            layers=self.layer,
            ledger=ledger if several else ledger[:, 0],
            operations=names,
            class_scores=class_scores,
            classes=self.classes or (),
        )

    def _walk(self, values: Values) -> Walk:
        layers = values.traced.derived(Layers)
        return Walk(layers, values.state, self._composite, self.bias, self._bounds, self.ledger)

    def _seeds(self, values: Values) -> tuple[Tensor | None, dict[int, Tensor]]:
        """Give the scores of the classes (B, T), and the coefficients where the walk begins."""
        output = values.graph.output
        if self.classes is None:
            return None, {output: self._start(values.scores)}
        shape = values.traced.output_shape
        count = None if shape is None else max((2, *shape))
        if count is not None and max(self.classes, default=0) >= count:
            raise bad_argument("classes", f"classes from 0 to {count - 1}", str(max(self.classes)))
        scores, seeds = [], []
        depends = values.class_nodes
        for index in self.classes:
            state = values.of_class(index)
            scores.append(state.tensor(output)[:, 0])
            walk = self._walk(values)
            walk.state, walk.keep_ledger = state, False
            seeds.append(walk.back({output: self._start(scores[-1])}, until=lambda i: i not in depends))
        places = {i for found in seeds for i in found}
        return torch.stack(scores, 1), {i: torch.cat([found[i] for found in seeds]) for i in places}

    def _start(self, scores: Tensor) -> Tensor:
        """Give the coefficients of the score, (1, B, 1)."""
        ones = torch.ones_like(scores)
        first = ones if self.start == "score" else torch.where(scores == 0, 0, ones / scores)
        return first[None, :, None]
