"""Expected gradients: integrated gradients, averaged over baselines and over the place on the path at once.

Erion, Janizek, Sturmfels, Lundberg and Lee, "Improving performance of deep learning models with axiomatic attribution
priors and expected gradients", Nature Machine Intelligence 2021, Eq. 3. With noise on the item: GradientSHAP, Lundberg
and Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017, as in shap and captum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Unpack, override

from xai_fast.arguments import check_integer, check_positive
from xai_fast.attribution.sampled import SampledExplanation, SampledMethod, SampledOptions, noise_scale, value_range
from xai_fast.engine.baselines import GivenBaselines, UniformBaselines, baseline_rows, read_baseline
from xai_fast.engine.call import Call
from xai_fast.engine.draws import MAX_SEED, random_entries, random_words
from xai_fast.engine.points import Items, Rows, Statistics, Walk
from xai_fast.errors import bad_argument
from xai_fast.kernels import flux_accumulate

__all__ = ["ExpectedGradients"]


@dataclass
class _RandomPaths(Walk):
    """Points at random places of lines from baselines to the item, alone or with their mirror images."""

    baselines: Callable[[Items, Rows], Tensor]
    noise: Tensor | None
    seed: int
    points: int
    antithetic: bool
    places: Tensor | None = None  # (B, points) alpha

    def __post_init__(self) -> None:
        self.keeps = 1 + self.antithetic  # the baseline less the noise, and the gradient at the first of two

    @override
    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        if self.places is None:
            self.places = _places(items, self.points, self.seed)
        alpha = self.places[rows.item, rows.point]
        alpha = torch.where(rows.steps > 0, 1 - alpha, alpha)[:, None]  # also of rows whose mirror image is next
        rows.kept[0], noise = self.baselines(items, rows), None
        if self.noise is not None:
            noise = random_entries(rows.points, items.ids[rows.item], rows.point, "normal", self.seed, 1)
            rows.kept[0] -= noise.mul_(self.noise[rows.item])
        rows.points = torch.lerp(rows.kept[0], items.centers.index_select(0, rows.item), alpha)
        if noise is not None:
            rows.points += noise

    @override
    def end(self, items: Items, rows: Rows, scores: Tensor) -> tuple[Tensor, Tensor]:
        last = rows.steps >= self.antithetic
        return last, last

    @override
    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        F = torch.lerp(rows.kept[1], gradients, 0.5) if self.antithetic else gradients
        flux_accumulate(
            statistics.mean, statistics.m2, statistics.count, items.centers, rows.kept[0], F, rows.item, which
        )

    @override
    def move(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor) -> None:
        rows.kept[1:] = [gradients.clone()] * self.antithetic  # `start` places the mirror image


def _places(items: Items, points: int, seed: int) -> Tensor:
    """Draw alpha from 0 to 1, (B, points)."""
    batch = len(items.ids)
    number = torch.arange(points, device=items.ids.device).repeat(batch)
    words = random_words(items.ids.repeat_interleave(points), number, 1, seed)
    return ((words.to(items.centers) + 0.5) / 2**32).view(batch, points)


class ExpectedGradients(SampledMethod[SampledExplanation]):
    """The gradient at x' + alpha (x - x') times x - x', averaged over baselines x' and over alpha from 0 to 1.

    Attributions are like the inputs (B, ...), in units of the score; the expectation of their sum is the item's score
    less the mean of the baselines'. Each item takes the baselines in a random order of its own, all before one comes
    again, so the standard error is an upper bound.

    Cost: at most ``samples`` gradients per item.
    Limits: complete in expectation, with an error like 1 / sqrt(samples); "uniform" is unlike any data.

    Args:
        model: see `SampledMethod`, as for ``score`` and what follows ``seed``.
        baselines: (K, ...) items, such as training data, as a tensor, an array, or the file NAME.npy of one; several
            inputs have a sequence with one each. "uniform": every entry is drawn between the least and the largest
            value of the item (of each input). Also what ``baseline`` of `IntegratedGradients` may be.
        samples: gradients per item; ``tolerance`` has at most these.
        antithetic: take samples in pairs, alpha and 1 - alpha on the way from the same baseline, whose errors partly
            cancel; then ``samples`` is even.
        noise: on the item, see `SmoothGrad`: with it, this is GradientSHAP.
        relative: ``noise`` is a share of the largest less the least value of the item, not in the model's input units.
        seed: of baselines and places, 0 to 2**32 - 1.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        baselines: str | float | Sequence[float | Tensor] | Tensor = "uniform",
        samples: int = 50,
        antithetic: bool = True,
        noise: float = 0.0,
        relative: bool = True,
        seed: int = 0,
        **options: Unpack[SampledOptions],
    ) -> None:
        super().__init__(model, **options)
        self.baselines = baselines
        self._baselines = read_baseline("baselines", baselines)
        self.antithetic = bool(antithetic)
        self.samples = check_integer("samples", samples, 1)
        if self.antithetic and self.samples % 2:
            raise bad_argument("samples", "an even number, since antithetic samples come in pairs", samples)
        self.noise = check_positive("noise", noise) if noise else 0.0
        self.relative = bool(relative)
        self.seed = check_integer("seed", seed, 0, MAX_SEED)

    @override
    def _explain(self, call: Call) -> SampledExplanation:
        uniform = isinstance(self._baselines, str) and self._baselines == "uniform"
        baselines: Callable[[Items, Rows], Tensor] = (
            UniformBaselines(*value_range(call), self.seed)
            if uniform
            else GivenBaselines(baseline_rows("baselines", self._baselines, call), self.seed)
        )
        noise = noise_scale(call, self.noise, self.relative) if self.noise else None
        points = self.samples // (1 + self.antithetic)
        walk = _RandomPaths(baselines, noise, self.seed, points, self.antithetic)
        return SampledExplanation(**self._walked(call, walk, points)[0])
