"""NeFLAG: attribution from negative gradient fluxes on a small sphere around the input.

Li, Pan, Li, Qiang and Zhu, "Negative Flux Aggregation to Estimate Feature Attributions", IJCAI 2023. The literal
algorithm is `xai_fast.attribution.neflag_reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.engine.call import Call
from xai_fast.engine.gradients import PRECISIONS, ScoreGradient, compiled
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES
from xai_fast.engine.points import Items, Rows, Statistics, Walk, walk_items
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.kernels import flux_accumulate, sphere_points, sphere_step
from xai_fast.kernels.sphere_step import RULES
from xai_fast.method import Method

__all__ = ["AGGREGATES", "FluxExplanation", "NeFLAG"]

AGGREGATES = ("signed", "magnitude")
_MAX_SEED = 2**32 - 1


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FluxExplanation(Explanation):
    """Attributions by NeFLAG, with what is needed to judge them.

    ``attributions`` are like the inputs: the mean over the item's negative points of ``F * (x - x~)``; zero where there
    is none (the fact "no_negative_flux"). ``evaluations`` are gradient evaluations at points.

    Attributes:
        standard_error: like ``attributions``: standard error of that mean; infinite where fewer than two points are
            negative.
        relative_standard_error: (B,) the norm of the standard error over the norm of the map.
        negative_points: (B,) int64, points whose flux turned negative (the size of S^-).
    """

    standard_error: Tensor | tuple[Tensor, ...] | None = None
    relative_standard_error: Tensor
    negative_points: Tensor

    not_stored = frozenset({"standard_error"})


@dataclass(frozen=True)
class _FluxWalk(Walk):
    """Points on the sphere that step until their flux is negative."""

    radius: float
    max_steps: int
    step: str
    seed: int
    magnitude: bool

    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        sphere_points(rows.points, items.centers, rows.item, items.ids, rows.point, which, self.radius, self.seed)

    def end(self, items: Items, rows: Rows, scores: Tensor) -> tuple[Tensor, Tensor]:
        negative = (rows.steps > 0) & (scores < items.scores[rows.item])  # Eq. 6
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
        sphere_step(rows.points, items.centers, gradients, rows.item, which, self.radius, self.step)


class NeFLAG(Method[FluxExplanation]):
    """Attribution maps from negative gradient fluxes.

    For each of ``points`` points: draw x~ uniformly on the L2 sphere of ``radius`` around x; then up to ``max_steps``
    times take a step and stop as soon as the flux is negative, f(x~) < f(x) (Eq. 6); then add F(x~) * (x - x~), F =
    grad f. The attribution is the mean over the points whose flux turned negative; the others are left out and counted.

    With several inputs each has its own attribution, and the sphere is in their joint space.

    Args:
        model: a module in evaluation mode, or any callable from input tensors to an output.
        radius: of the sphere, in the model's input units. With ``step="sign"`` it is also the largest change of an
            entry.
        points: flux points per item (n in the paper), at least 1.
        max_steps: steps per point at most (m in the paper), at least 1.
        step: "sign" (Algorithm 1), "normalized" (Eq. 7) or "tangent" (Eq. 8); see `xai_fast.kernels.sphere_step`.
        score: f, see `xai_fast.engine.objective.SCORES`: by default the probability of the target, or a single output
            itself.
        seed: of the random points, 0 to 2**32 - 1.
        precision: "fp32" computes in the dtype of the inputs, "bf16" runs the model under bfloat16 autocast.
        aggregate: "signed" averages the flux (the paper), "magnitude" its absolute value.
        tolerance: draw points until the standard error of the map, relative to its norm, is at most this, with
            ``points`` as the limit. Checked after 4, 8, 16, ... points. None draws all points.
        embeddings: the layer whose output (B, ...) is explained, such as that of token ids: a submodule or its dotted
            name; "name#k" is the k-th run of one that runs several times. None to explain the inputs.
        compile: run the model's passes through ``torch.compile``; shapes stay static, so one compilation serves a whole
            run. Not with ``embeddings``.

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
        step: str = "sign",
        score: str = "auto",
        seed: int = 0,
        precision: str = "fp32",
        aggregate: str = "signed",
        tolerance: float | None = None,
        embeddings: Layer | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(model)
        self.radius = check_positive("radius", radius)
        self.points = check_integer("points", points, 1)
        self.max_steps = check_integer("max_steps", max_steps, 1)
        self.step = check_choice("step", step, RULES)
        self.score = check_choice("score", score, SCORES)
        self.seed = check_integer("seed", seed, 0, _MAX_SEED)
        self.precision = check_choice("precision", precision, PRECISIONS)
        self.aggregate = check_choice("aggregate", aggregate, AGGREGATES)
        self.tolerance = None if tolerance is None else check_positive("tolerance", tolerance)
        self.embeddings = embedding_layer(model, embeddings)
        self.compile = bool(compile)
        if self.compile and self.embeddings is not None:
            raise bad_argument("compile", "False with embeddings", "True")
        self._compiled: dict[str, Callable[..., object]] = {}

    def _explain(self, call: Call) -> FluxExplanation:
        walk = _FluxWalk(self.radius, self.max_steps, self.step, self.seed, self.aggregate == "magnitude")
        forward = self._forward(call.device) if self.compile else None
        gradient = ScoreGradient(call, precision=self.precision, forward=forward, static=self.compile)
        scores, items, found = walk_items(gradient, walk, points=self.points, tolerance=self.tolerance)
        error = found.standard_error()

        def like_inputs(rows: Tensor) -> Tensor | tuple[Tensor, ...]:
            parts = gradient.layout.split(rows)
            return parts if call.several else parts[0]

        return FluxExplanation(
            attributions=like_inputs(found.mean),
            standard_error=like_inputs(error),
            relative_standard_error=error.norm(dim=1) / found.mean.norm(dim=1),
            negative_points=found.count,
            evaluations=found.evaluations,
            scores=scores,
            targets=items.targets,
            facts={"no_negative_flux": found.count == 0},
        )

    def _forward(self, device: torch.device) -> Callable[..., object]:
        if device.type not in self._compiled:
            self._compiled[device.type] = compiled(self.model, device)
        return self._compiled[device.type]
