"""DeepSHAP: the mean of DeepLIFT over several baselines.

Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017 (Section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.deeplift import DeepLIFT, checked_baseline
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer
from xai_fast.errors import bad_argument

__all__ = ["DeepSHAP"]


class DeepSHAP(DeepLIFT):
    """The mean of DeepLIFT over several baselines: an approximation of Shapley values whose absent features are these.

    The attributions add up to the score less the mean score of the baselines; ``standard_error`` is that of this mean.
    Arguments as for `DeepLIFT`.

    Cost: ``1 + len(baselines)`` evaluations per item, and a walk back for each baseline.
    Limits: those of `DeepLIFT`; near Shapley values where features are independent and multipliers nearly constant.

    Args:
        baselines: K of what `DeepLIFT` takes as one: a tensor or an array (K, ...), such as items of the training data,
            or a sequence.
    """

    name = "deepshap"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        baselines: Tensor | Sequence[float | str | Tensor],
        score: str = "output",
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model, score=score, embeddings=embeddings)
        several = isinstance(baselines, list | tuple) or getattr(baselines, "ndim", 0) > 0
        if not several or len(baselines) == 0:
            raise bad_argument("baselines", "a tensor (K, ...) or a sequence of K >= 1 baselines", repr(baselines))
        self.baselines = baselines

    @override
    def _baselines(self, call: Call) -> list[list[Tensor]]:
        return [checked_baseline(f"baselines[{k}]", one, call) for k, one in enumerate(self.baselines)]
