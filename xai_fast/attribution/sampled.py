"""What methods share that average contributions of points: options, the run of their walk, the result."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_positive
from xai_fast.engine.call import Call
from xai_fast.engine.gradients import PRECISIONS, ScoreGradient, compiled
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES
from xai_fast.engine.points import Items, Statistics, Walk, walk_items
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.method import Method

__all__ = [
    "PathExplanation",
    "SampledExplanation",
    "SampledMethod",
    "SampledOptions",
    "like_inputs",
    "noise_scale",
    "relative_error",
    "value_range",
]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SampledExplanation(Explanation):
    """Attributions that are means over points, with what is needed to judge them.

    Attributes:
        standard_error: like ``attributions``: standard error of the mean; infinite below two contributions. None where
            the attributions are no mean, and where they were not stored.
        relative_standard_error: (B,) the norm of the standard error over the norm of the map, or None.
    """

    standard_error: Tensor | tuple[Tensor, ...] | None = None
    relative_standard_error: Tensor | None = None

    not_stored = frozenset({"standard_error"})


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PathExplanation(Explanation):
    """Attributions along a path, with what they lack to be complete.

    Attributes:
        delta: (B,) the sum of the attributions, less ``scores - baseline_scores``: zero but for the accuracy of the
            path.
        baseline_scores: (B,) the score of the baseline, where the path begins; the mean of several.
    """

    delta: Tensor
    baseline_scores: Tensor


S = TypeVar("S", bound=Explanation)


class SampledOptions(TypedDict, total=False):
    """Options of `SampledMethod`, which subclasses pass on."""

    score: str
    precision: str
    tolerance: float | None
    embeddings: Layer | None
    compile: bool


class SampledMethod(Method[S], abc.ABC):
    """A method that averages the contributions of points, as a walk on the queue of `xai_fast.engine.points`.

    Args:
        model: a module in evaluation mode, or any callable from input tensors to an output.
        score: f, see `xai_fast.engine.objective.SCORES`: by default the probability of the target, or a single output
            itself.
        precision: "fp32" computes in the dtype of the inputs, "bf16" runs the model under bfloat16 autocast.
        tolerance: draw points until the standard error of the map, relative to its norm, is at most this. Checked after
            4, 8, 16, ... points. None draws all points.
        embeddings: the layer whose output (B, ...) is explained, such as that of token ids: a submodule or its dotted
            name; "name#k" is the k-th run of one that runs several times. None to explain the inputs.
        compile: run the model's passes through ``torch.compile``; shapes stay static, so one compilation serves a whole
            run. Not with ``embeddings``.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        score: str = "auto",
        precision: str = "fp32",
        tolerance: float | None = None,
        embeddings: Layer | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(model)
        self.score = check_choice("score", score, SCORES)
        self.precision = check_choice("precision", precision, PRECISIONS)
        self.tolerance = None if tolerance is None else check_positive("tolerance", tolerance)
        self.embeddings = embedding_layer(model, embeddings)
        self.compile = bool(compile)
        if self.compile and self.embeddings is not None:
            raise bad_argument("compile", "False with embeddings", "True")
        self._compiled: dict[str, Callable[..., object]] = {}

    def _gradient(self, call: Call) -> ScoreGradient:
        """Give the function from points to scores and gradients, as the options say that the model is run."""
        forward = None
        if self.compile:
            kind = call.device.type
            if kind not in self._compiled:
                self._compiled[kind] = compiled(self.model, call.device)
            forward = self._compiled[kind]
        return ScoreGradient(call, precision=self.precision, forward=forward, static=self.compile)

    def _walked(
        self, call: Call, walk: Walk, points: int, *, variance: bool = False
    ) -> tuple[dict[str, Any], Items, Statistics]:
        """Return the fields of a `SampledExplanation`, items and statistics of a walk of at most so many points.

        With ``variance`` attributions are that of the contributions, which has no standard error here, instead of their
        mean. The squared deviations of the statistics are used up.
        """
        gradient = self._gradient(call)
        scores, items, found = walk_items(gradient, walk, points=points, tolerance=self.tolerance)
        fields: dict[str, Any] = {"evaluations": found.evaluations, "scores": scores, "targets": items.targets}
        if variance:
            return {**fields, "attributions": like_inputs(gradient, found.m2 / found.count[:, None])}, items, found
        error = found.standard_error()
        fields |= {
            "attributions": like_inputs(gradient, found.mean),
            "standard_error": like_inputs(gradient, error),
            "relative_standard_error": relative_error(found.mean, error),
        }
        return fields, items, found


def relative_error(mean: Tensor, error: Tensor) -> Tensor:
    """Compute the norm of standard errors over the norm of means, both (B, N): (B,), zero where there is no error."""
    norm = error.norm(dim=1)
    return torch.where(norm == 0, norm, norm / mean.norm(dim=1))


def value_range(call: Call) -> tuple[Tensor, Tensor]:
    """Give the least and the largest value of each input of each item: (B, 1), or (B, N) where there are several."""
    found = [torch.stack(value.flatten(1).aminmax(dim=1), 1) for value in call.values]
    sizes = [value[0].numel() for value in call.values] if len(found) > 1 else [1]
    low, high = torch.cat([ends[:, :, None].expand(-1, -1, n) for ends, n in zip(found, sizes, strict=True)], 2).unbind(
        1
    )
    return low, high


def noise_scale(call: Call, noise: float, relative: bool) -> Tensor:
    """Give the standard deviation of noise on items, (B, 1) or (B, N): a share of max - min, or the number itself."""
    low, high = value_range(call)
    return (high - low).mul_(noise) if relative else torch.full_like(low, noise)


def like_inputs(gradient: ScoreGradient, rows: Tensor) -> Tensor | tuple[Tensor, ...]:
    """Bring rows (B, N) to the form of the inputs: (B, ...), or a tuple of them where there are several."""
    parts = gradient.layout.split(rows)
    return parts if gradient.call.several else parts[0]
