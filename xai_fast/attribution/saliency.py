"""Saliency, and the gradient times the input: one gradient per item.

Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification Models and
Saliency Maps", ICLR 2014 (workshop). Shrikumar, Greenside, Shcherbina and Kundaje, "Not Just a Black Box: Learning
Important Features Through Propagating Activation Differences", 2016.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.arguments import check_choice
from xai_fast.engine.call import Call
from xai_fast.engine.gradients import ScoreGradient
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES
from xai_fast.explanation import Explanation
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.method import Method

__all__ = ["GradientXInput", "Saliency"]


class GradientXInput(Method[Explanation]):
    """The gradient of the score times the input: what each input contributes to a score that is linear.

    Attributions are like the inputs (B, ...), in units of the score.

    Cost: ``1`` gradient per item.
    Limits: noisy in ReLU networks, near zero where the score is saturated; zero where the input is.

    Args:
        model: a module in evaluation mode, or any callable from input tensors to an output.
        score: see `xai_fast.engine.objective.SCORES`: by default the probability of the target, or a single output
            itself.
        embeddings: the layer whose output (B, ...) is explained, such as that of token ids: a submodule or its dotted
            name; "name#k" is the k-th run of one that runs several times. None to explain the inputs.

    Raises:
        InputError: an option is out of range.
    """

    name = "gradient_x_input"

    def __init__(self, model: Callable[..., object], *, score: str = "auto", embeddings: Layer | None = None) -> None:
        super().__init__(model)
        self.score = check_choice("score", score, SCORES)
        self.embeddings = embedding_layer(model, embeddings)

    def _gradients(self, call: Call) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """Compute scores (B,), the gradients of each input (B, ...), and targets."""
        return ScoreGradient(call).at_items()

    def _attribution(self, x: Tensor, gradient: Tensor) -> Tensor:
        """Compute (B, ...) from an input and its gradient, both (B, ...)."""
        return gradient * x

    @override
    def _explain(self, call: Call) -> Explanation:
        scores, gradients, targets = self._gradients(call)
        parts = tuple(self._attribution(x, g) for x, g in zip(call.values, gradients, strict=True))
        return Explanation(
            attributions=parts if call.several else parts[0],
            scores=scores,
            targets=targets,
            evaluations=torch.ones_like(call.item_ids),
        )


class Saliency(GradientXInput):
    """The gradient of the score with respect to each input, or its magnitude.

    Attributions are like the inputs (B, ...), in units of the score per unit of the input. Arguments as for
    `GradientXInput`; the paper's ``score`` is "logit".

    Limits: what would change the score, not what made it; noisy in ReLU networks, near zero if saturated.

    Args:
        magnitude: give absolute values (the paper); without, what lowers the score is negative.
    """

    name = "saliency"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        score: str = "auto",
        magnitude: bool = True,
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model, score=score, embeddings=embeddings)
        self.magnitude = bool(magnitude)

    @override
    def _attribution(self, x: Tensor, gradient: Tensor) -> Tensor:
        return gradient.abs() if self.magnitude else gradient
