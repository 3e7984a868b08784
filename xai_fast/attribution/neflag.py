"""NeFLAG: attribution from negative gradient fluxes on a small sphere around the input.

Li, Pan, Li, Qiang and Zhu, "Negative Flux Aggregation to Estimate Feature Attributions", IJCAI 2023. The literal
algorithm is `xai_fast.attribution.neflag_reference`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer, check_positive, item_id_tensor, name_items
from xai_fast.engine.call import (
    ExtraArguments,
    check_device,
    check_eval_mode,
    check_inputs,
    default_rows,
    frozen_parameters,
    preferred_memory_format,
)
from xai_fast.engine.gradients import (
    PRECISIONS,
    FlatInputs,
    ScoreGradient,
    compiled,
)
from xai_fast.engine.objective import SCORES, Objective, Target
from xai_fast.engine.points import HostReads, PointQueue, Statistics, Walk
from xai_fast.errors import ModelError, bad_argument
from xai_fast.kernels.sphere_step import RULES
from xai_fast.results import NeFLAGResult

__all__ = ["AGGREGATES", "NeFLAG"]

AGGREGATES = ("signed", "magnitude")
FIRST_ROUND = 4
"""Points an item that are drawn before a tolerance is first looked at; each further look is at twice as many."""
_MAX_SEED = 2**32 - 1


class NeFLAG:
    """Attribution maps from negative gradient fluxes.

    For each of ``points`` points: draw x~ uniformly on the L2 sphere of ``radius`` around x; then up to ``max_steps``
    times take a step and stop as soon as the flux is negative, f(x~) < f(x) (Eq. 6); then add F(x~) * (x - x~), F =
    grad f. The attribution is the mean over the points whose flux turned negative; the others are left out and counted.

    The result for an item depends on the item, the model and the seed, not on the batch that it comes in (up to the
    rounding of the model itself).

    Args:
        model: a module in evaluation mode, or any callable from input tensors to an output.
        radius: of the sphere, in the model's input units. With ``step="sign"`` it is also the largest change of an
            entry.
        points: flux points an item (n in the paper), at least 1.
        max_steps: steps a point at most (m in the paper), at least 1.
        step: "sign" (Algorithm 1), "normalized" (Eq. 7) or "tangent" (Eq. 8); see `xai_fast.kernels.sphere_step`.
        score: f: "probability", "logit" or "log_probability" of the target.
        seed: of the random points, 0 to 2**32 - 1.
        precision: "fp32" computes in the dtype of the inputs, "bf16" runs the model under bfloat16 autocast.
        aggregate: "signed" averages the flux (the paper), "magnitude" its absolute value.
        tolerance: draw points until the standard error of the map, relative to its norm, is at most this, with
            ``points`` as the limit. Looked at after 4, 8, 16, ... points. None draws all points.
        compile: run the model's passes through ``torch.compile``; shapes stay static, so one compilation serves a whole
            run.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        radius: float = 0.1,
        points: int = 10,
        max_steps: int = 20,
        step: str = "sign",
        score: str = "probability",
        seed: int = 0,
        precision: str = "fp32",
        aggregate: str = "signed",
        tolerance: float | None = None,
        compile: bool = False,
    ) -> None:
        if not callable(model):
            raise bad_argument("model", "a module or another callable", type(model).__name__)
        for name, value, choices in (
            ("step", step, RULES),
            ("score", score, SCORES),
            ("precision", precision, PRECISIONS),
            ("aggregate", aggregate, AGGREGATES),
        ):
            check_choice(name, value, choices)
        self.model = model
        self.points = check_integer("points", points, 1)
        self.score = score
        self.precision = precision
        self.aggregate = aggregate
        self.tolerance = None if tolerance is None else check_positive("tolerance", tolerance)
        self.compile = bool(compile)
        self._walk = Walk(
            radius=check_positive("radius", radius),
            max_steps=check_integer("max_steps", max_steps, 1),
            step=step,
            seed=check_integer("seed", seed, 0, _MAX_SEED),
            magnitude=aggregate == "magnitude",
        )
        self._compiled: dict[str, Callable[..., object]] = {}
        self._host = HostReads()

    @property
    def settings(self) -> dict[str, object]:
        """The options of the method, by name."""
        walk = self._walk
        return {
            "method": "NeFLAG",
            "radius": walk.radius,
            "points": self.points,
            "max_steps": walk.max_steps,
            "step": walk.step,
            "score": self.score,
            "seed": walk.seed,
            "precision": self.precision,
            "aggregate": self.aggregate,
            "tolerance": self.tolerance,
        }

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        item_ids: Sequence[int] | Tensor | None = None,
        internal_batch_size: int | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Compute attribution maps.

        Args:
            inputs: (B, ...) float32 or float64 in the model's input units, or a tuple of them: then each has its own
                attribution, and the sphere is in their joint space.
            target: None for the predicted class, an int, a list or tensor (B,) of classes, or a callable from the
                model's output to scores (R,); see `xai_fast.engine.objective.Objective`.
            additional_forward_args: one value or a tuple, passed to the model after the inputs. Tensors whose first
                dimension is B go along with their items.
            item_ids: (B,) integers, not negative: the identity of each item for the random points, such as its position
                in the data set. By default the position in this batch.
            internal_batch_size: rows that go through the model at once; bounds the memory. By default 8 on a CPU (its
                caches hold that much of a CNN's activations), 64 elsewhere.

        Returns:
            Attributions like ``inputs``, in units of the score.

        Raises:
            InputError: an argument does not fit.
            ModelError: the model is in training mode, its score has no gradient path to the inputs, or is not finite.
        """
        statistics, layout, _, _ = self._run(
            inputs, target, additional_forward_args, item_ids, internal_batch_size, with_error=False
        )
        return _like(inputs, layout, statistics.mean)

    def explain(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        item_ids: Sequence[int] | Tensor | None = None,
        internal_batch_size: int | None = None,
    ) -> NeFLAGResult:
        """Compute attribution maps with their standard error and what they cost. Arguments as for `attribute`.

        Args:
            inputs: as for `attribute`.
            target: as for `attribute`.
            additional_forward_args: as for `attribute`.
            item_ids: as for `attribute`.
            internal_batch_size: as for `attribute`.

        Returns:
            The result of the batch.

        Raises:
            InputError: an argument does not fit.
            ModelError: the model cannot be explained as it is.
        """
        statistics, layout, scores, targets = self._run(
            inputs, target, additional_forward_args, item_ids, internal_batch_size, with_error=True
        )
        return NeFLAGResult(
            attributions=_like(inputs, layout, statistics.mean),
            standard_error=_like(inputs, layout, _standard_error(statistics)),
            negative_points=statistics.negative_points,
            evaluations=statistics.evaluations,
            scores=scores,
            targets=targets,
            settings=self.settings,
        )

    def _run(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target,
        additional_forward_args: object,
        item_ids: Sequence[int] | Tensor | None,
        internal_batch_size: int | None,
        *,
        with_error: bool,
    ) -> tuple[Statistics, FlatInputs, Tensor, Tensor | None]:
        values = check_inputs(inputs)
        batch, device = values[0].shape[0], values[0].device
        objective = Objective(target, self.score)
        check_eval_mode(self.model)
        check_device(self.model, device)
        ids = item_id_tensor(item_ids, batch, device)
        if internal_batch_size is not None:
            check_integer("internal_batch_size", internal_batch_size, 1)
        # Inside inference mode no graph could be built; leaving it does not change what the caller sees.
        with torch.inference_mode(False), torch.no_grad(), frozen_parameters(self.model):
            layout = FlatInputs(values)
            size = internal_batch_size or default_rows(layout.entries, device)
            centers = layout.join([value.detach() for value in values])
            if centers.is_inference():
                centers = centers.clone()
            gradient = ScoreGradient(
                self._forward(device),
                objective,
                layout,
                ExtraArguments(additional_forward_args, batch),
                self.precision,
                preferred_memory_format(self.model, device, self.precision),
            )
            statistics = Statistics.zeros(centers, with_error or self.tolerance is not None)
            scores, targets = self._base(gradient, centers, size)
            queue = PointQueue(
                gradient,
                centers,
                ids,
                scores,
                targets,
                self._walk,
                statistics,
                rows=size,
                static=self.compile,
                host=self._host,
            )
            self._rounds(queue, statistics)
            self._check_outcome(statistics)
        return statistics, layout, scores, targets

    def _forward(self, device: torch.device) -> Callable[..., object]:
        if not self.compile:
            return self.model
        if device.type not in self._compiled:
            self._compiled[device.type] = compiled(self.model, device)
        return self._compiled[device.type]

    def _base(self, gradient: ScoreGradient, centers: Tensor, size: int) -> tuple[Tensor, Tensor | None]:
        """Score the items themselves; a static shape is padded with the last item."""
        scores, targets = [], []
        batch = centers.shape[0]
        for start in range(0, batch, size):
            stop = min(start + size, batch)
            item = torch.arange(start, start + size if self.compile else stop, device=centers.device).clamp(
                max=batch - 1
            )
            rows = centers[start:stop] if len(item) == stop - start else centers[item]
            s, t = gradient.score(rows, item, start, batch)
            scores.append(s[: stop - start].clone())
            targets.append(None if t is None else t[: stop - start].clone())
        if not scores:
            empty = centers.new_empty(0)
            return empty, None if callable(gradient.objective.target) else empty.long()
        joined = torch.cat(scores)
        bad = self._host.items(~joined.isfinite())
        if bad:
            raise ModelError(f"model: expected finite scores, got NaN or infinity for {name_items(bad)}")
        classes = [t for t in targets if t is not None]
        return joined, torch.cat(classes) if classes else None

    def _rounds(self, queue: PointQueue, statistics: Statistics) -> None:
        """Draw all points, or rounds of them until each item's tolerance is met.

        A round ends for all its items before anyone looks, so the points of an item do not depend on the others.
        """
        items = torch.arange(statistics.mean.shape[0], device=statistics.mean.device)
        first, last = 0, self.points if self.tolerance is None else min(FIRST_ROUND, self.points)
        while True:
            queue.run(items, first, last)
            if last == self.points or self.tolerance is None:
                return
            error = _standard_error(statistics, keep=True).norm(dim=1)
            wanted = ~(error <= self.tolerance * statistics.mean.norm(dim=1))
            unmet = set(self._host.items(wanted))
            items = torch.tensor([i for i in items.tolist() if i in unmet], dtype=torch.int64, device=items.device)
            if items.numel() == 0:
                return
            first, last = last, min(2 * last, self.points)

    def _check_outcome(self, statistics: Statistics) -> None:
        bad = self._host.items((statistics.not_finite > 0) | ~statistics.mean.isfinite().all(1))
        if bad:
            raise ModelError(
                f"model: expected finite scores and gradients within the radius {self._walk.radius}, "
                f"got NaN or infinity around {name_items(bad)}"
            )
        without = self._host.items(statistics.negative_points == 0)
        if without:
            warnings.warn(
                f"NeFLAG found no negative flux around {name_items(without)} (negative_points is 0): the attribution "
                "there is zero. The score may be saturated or constant; a log_probability or logit score, a larger "
                "radius, or more max_steps help.",
                stacklevel=4,
            )


def _standard_error(statistics: Statistics, keep: bool = False) -> Tensor:
    """Standard error of the mean; in the memory of m2 unless it is to be kept."""
    if statistics.m2 is None:
        raise ValueError("the squared deviations were not kept")
    n = statistics.negative_points.to(statistics.m2.dtype)[:, None]
    m2 = statistics.m2.clone() if keep else statistics.m2
    error = m2.div_((n * (n - 1)).clamp_(min=1)).sqrt_()
    return error.masked_fill_(n < 2, math.inf)


def _like(inputs: Tensor | tuple[Tensor, ...], layout: FlatInputs, rows: Tensor) -> Tensor | tuple[Tensor, ...]:
    parts = layout.split(rows)
    return parts if isinstance(inputs, tuple) else parts[0]
