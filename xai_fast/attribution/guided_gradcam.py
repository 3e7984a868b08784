"""Guided Grad-CAM: guided backpropagation where Grad-CAM says that it matters to the class.

Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra, "Grad-CAM: Visual Explanations from Deep Networks via
Gradient-based Localization", ICCV 2017, Section 3.1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from typing_extensions import override

from xai_fast.attribution.gradcam import GradCAM
from xai_fast.attribution.guided import GuidedBackprop
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer
from xai_fast.engine.places import at_positions, input_positions
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph.embeddings import embedding_layer

__all__ = ["GuidedGradCAM"]


class GuidedGradCAM(GradCAM):
    """Grad-CAM, as large as the input, times guided backpropagation.

    Attributions are like the inputs (B, ...): the map of `GradCAM` with ``upsample=True``, the same for all channels,
    times `GuidedBackprop`, for which the model has to be one that can be traced. Arguments as for `GradCAM`; ``smooth``
    is of the map alone.

    Cost: ``7 if smooth else 2`` gradients per item.
    Limits: the detail is that of `GuidedBackprop`, with its limits; only where it shows depends on the target.

    Args:
        embeddings: the layer whose output (B, ...) is explained, such as that of token ids; None to explain the inputs.
    """

    name = "guided_gradcam"
    integers = False

    def __init__(
        self,
        model: Callable[..., object],
        layer: Layer | Sequence[str] | Sequence[nn.Module],
        *,
        against: bool = False,
        score: str = "logit",
        layout: str | None = None,
        grid: Sequence[int] | None = None,
        skip_tokens: int | None = None,
        smooth: bool = False,
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(
            model,
            layer,
            against=against,
            score=score,
            upsample=True,
            layout=layout,
            grid=grid,
            skip_tokens=skip_tokens,
            smooth=smooth,
        )
        self.embeddings = embedding_layer(model, embeddings)
        self._guided = GuidedBackprop(model, score=score)

    @override
    def _explain(self, call: Call) -> Explanation:
        if call.several:
            raise bad_argument("inputs", "one tensor (further inputs go to additional_forward_args)", "a tuple")
        found, inputs = super()._explain(call), call.values[0]
        guided = self._guided._explain(call.with_targets(found.targets))
        places = input_positions(inputs, self._axes[0].of(call)) or ()
        assert isinstance(found.attributions, Tensor)
        assert isinstance(guided.attributions, Tensor)
        return dataclasses.replace(
            found,
            attributions=guided.attributions * at_positions(found.attributions, inputs, places),
            evaluations=found.evaluations + guided.evaluations,
        )
