"""NeFLAG: attribution from negative gradient fluxes on a small sphere around the input.

Li, Pan, Li, Qiang and Zhu, "Negative Flux Aggregation to Estimate Feature Attributions", IJCAI 2023. The literal
algorithm is `xai_fast.attribution.neflag_reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from typing_extensions import Unpack, override

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.attribution.sampled import SampledExplanation, SampledMethod, SampledOptions
from xai_fast.attribution.sphere_steps import STEPS, stepped
from xai_fast.engine.call import Call
from xai_fast.engine.draws import MAX_SEED
from xai_fast.engine.points import Items, Rows, Statistics, Walk
from xai_fast.kernels import flux_accumulate, random_points

__all__ = ["AGGREGATES", "STARTS", "FluxExplanation", "NeFLAG"]

AGGREGATES = ("signed", "magnitude")
STARTS = ("sphere", "box")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FluxExplanation(SampledExplanation):
    """Attributions by NeFLAG, with what is needed to judge them.

    ``attributions`` are like the inputs: the mean over the item's negative points of ``F * (x - x~)``; zero where there
    is none (the fact "no_negative_flux"). ``evaluations`` are gradient evaluations at points.

    Attributes:
        negative_points: (B,) int64, points whose flux turned negative (the size of S^-), over which means are taken.
    """

    negative_points: Tensor


@dataclass(frozen=True)
class _FluxWalk(Walk):
    """Points around the item that step until their flux is negative."""

    radius: float
    begin: str
    max_steps: int
    step: str
    seed: int
    magnitude: bool

    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        draw = (rows.item, items.ids, rows.point, which, self.radius, self.begin, self.seed)
        random_points(rows.points, items.centers, *draw)

    def end(self, items: Items, rows: Rows, scores: Tensor) -> tuple[Tensor, Tensor]:
        negative = items.below(scores, rows.item, rows.steps > 0)  # Eq. 6
        return negative, negative | (rows.steps >= self.max_steps)

    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        flux_accumulate(
            statistics.mean,
            statistics.m2,
            statistics.count,
            items.centers,
            rows.points,
            gradients,
            rows.item,
            which,
            self.magnitude,
        )

    def move(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor) -> None:
        # Of all rows: those that ended begin anew or are never looked at again.
        rows.points = stepped(rows.points, items.centers[rows.item], gradients, self.radius, self.step)


class NeFLAG(SampledMethod[FluxExplanation]):
    """Attribution maps from negative gradient fluxes.

    For each of ``points`` points: draw x~ on the L2 sphere of ``radius`` around x; then up to ``max_steps`` times take
    a step and stop as soon as the flux is negative, f(x~) < f(x) (Eq. 6); then add F(x~) * (x - x~), F = grad f. The
    attribution is the mean over the points whose flux turned negative; the others are left out and counted.

    With several inputs each has its own attribution, and the sphere is in their joint space.

    Cost: at most ``points * (max_steps + 1)`` gradients per item, often 2 per point.
    Limits: zero where no point finds a negative flux, as around a saturated score; ``radius`` sets the scale.

    Args:
        model: a module in evaluation mode, or any callable from input tensors to an output.
        radius: of the sphere, in the model's input units. With ``step="sign"`` it is also the largest change of an
            entry.
        points: flux points per item (n in the paper), at least 1.
        max_steps: steps per point at most (m in the paper), at least 1.
        start: "sphere" draws the first x~ on the L2 sphere (the paper), "box" every entry by itself within the radius.
            On the sphere each of N entries changes by about radius / sqrt(N), 0.0003 for a radius of 0.1 and a photo of
            150,000 entries: all points begin at nearly the same gradient, and a step by "sign" takes them to nearly the
            same corner. In the box each changes by up to the radius, as by a step by "sign": points differ.
        step: "sign" (Algorithm 1), "normalized" (Eq. 7) or "tangent" (Eq. 8); see `xai_fast.attribution.sphere_steps`.
        score: f, see `xai_fast.engine.objective.SCORES`: by default the probability of the target, or a single output
            itself.
        seed: of the random points, 0 to 2**32 - 1.
        precision: "fp32" computes in the dtype of the inputs, "bf16" runs the model under bfloat16 autocast.
        aggregate: "signed" averages the flux (the paper), "magnitude" its absolute value.
        tolerance: see `SampledMethod`, as for the options that follow; ``points`` is the limit.
        embeddings: see there.
        compile: see there.

    Raises:
        InputError: an option is out of range.
    """

    name = "neflag"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        radius: float = 0.1,
        points: int = 10,
        max_steps: int = 20,
        start: str = "sphere",
        step: str = "sign",
        seed: int = 0,
        aggregate: str = "signed",
        **options: Unpack[SampledOptions],
    ) -> None:
        super().__init__(model, **options)
        self.radius = check_positive("radius", radius)
        self.points = check_integer("points", points, 1)
        self.max_steps = check_integer("max_steps", max_steps, 1)
        self.start = check_choice("start", start, STARTS)
        self.step = check_choice("step", step, STEPS)
        self.seed = check_integer("seed", seed, 0, MAX_SEED)
        self.aggregate = check_choice("aggregate", aggregate, AGGREGATES)

    @override
    def _explain(self, call: Call) -> FluxExplanation:
        magnitude = self.aggregate == "magnitude"
        walk = _FluxWalk(self.radius, self.start, self.max_steps, self.step, self.seed, magnitude)
        fields, _, found = self._walked(call, walk, self.points)
        return FluxExplanation(**fields, negative_points=found.count, facts={"no_negative_flux": found.count == 0})
