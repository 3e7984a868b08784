"""SmoothGrad and VarGrad: the gradient under noise on the item, averaged, or its variance.

Smilkov, Thorat, Kim, Viegas and Wattenberg, "SmoothGrad: removing noise by adding noise", 2017. VarGrad: Adebayo,
Gilmer, Goodfellow and Kim, "Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values",
ICLR 2018 (workshop). Squares: Hooker, Erhan, Kindermans and Kim, "A Benchmark for Interpretability Methods in Deep
Neural Networks", NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from typing_extensions import Unpack, override

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.attribution.sampled import SampledExplanation, SampledMethod, SampledOptions, noise_scale
from xai_fast.engine.call import Call
from xai_fast.engine.draws import MAX_SEED, random_entries
from xai_fast.engine.points import Items, Rows, Statistics, Walk
from xai_fast.errors import bad_argument

__all__ = ["AGGREGATES", "SmoothGrad"]

AGGREGATES = ("signed", "magnitude", "squared", "variance")


@dataclass
class _NoisyGradients(Walk):
    """Gradients at noisy items."""

    scale: Tensor
    seed: int
    aggregate: str
    times_input: bool

    @override
    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        noise = random_entries(rows.points, items.ids[rows.item], rows.point, "normal", self.seed, 1)
        rows.points = noise.mul_(self.scale[rows.item]).add_(items.centers.index_select(0, rows.item))

    @override
    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        values = gradients * items.centers.index_select(0, rows.item) if self.times_input else gradients
        values = values.square() if self.aggregate == "squared" else values
        statistics.add(values, rows.item, which, self.aggregate == "magnitude")


class SmoothGrad(SampledMethod[SampledExplanation]):
    """The gradient of the score, averaged over noise on the item.

    Attributions are like the inputs (B, ...), in units of the score per unit of the input (of "squared" and "variance"
    squared), or those of the score with ``times_input``.

    Cost: at most ``samples`` gradients per item.
    Limits: explains a blurred score; noise beyond the data explains something else.

    Args:
        model: see `SampledMethod`, as for ``score`` and what follows ``precision``.
        samples: noisy copies per item.
        noise: standard deviation of the Gaussian noise, see ``relative``.
        relative: ``noise`` is a share of the largest less the least value of the item (the paper, 0.1 to 0.2), of each
            input where there are several; otherwise it is in the model's input units (as in captum).
        aggregate: of the gradients: "signed" is their mean (the paper), "magnitude" that of their absolute values,
            "squared" that of their squares, "variance" their variance over the samples (VarGrad), which has no standard
            error and so takes no tolerance.
        times_input: multiply each gradient by the item (without noise).
        seed: of the noise, 0 to 2**32 - 1.

    Raises:
        InputError: an option is out of range.
    """

    name = "smoothgrad"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        samples: int = 25,
        noise: float = 0.15,
        relative: bool = True,
        aggregate: str = "signed",
        times_input: bool = False,
        seed: int = 0,
        **options: Unpack[SampledOptions],
    ) -> None:
        super().__init__(model, **options)
        self.samples = check_integer("samples", samples, 1)
        self.noise = check_positive("noise", noise)
        self.relative = bool(relative)
        self.aggregate = check_choice("aggregate", aggregate, AGGREGATES)
        self.times_input = bool(times_input)
        self.seed = check_integer("seed", seed, 0, MAX_SEED)
        if self.aggregate == "variance" and self.tolerance is not None:
            raise bad_argument(
                "tolerance", 'None with aggregate="variance", which has no standard error', self.tolerance
            )

    @override
    def _explain(self, call: Call) -> SampledExplanation:
        scale = noise_scale(call, self.noise, self.relative)
        walk = _NoisyGradients(scale, self.seed, self.aggregate, self.times_input)
        fields, _, _ = self._walked(call, walk, self.samples, variance=self.aggregate == "variance")
        return SampledExplanation(**fields)
