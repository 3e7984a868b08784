"""DeepLIFT: the difference of a score to that of a baseline, shared out by multipliers.

Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating Activation Differences", ICML 2017.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_fast.arguments import check_choice
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer
from xai_fast.engine.masked import baseline_inputs
from xai_fast.engine.objective import SCORES
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.graph.whole import WholeModel, side_by_side
from xai_fast.method import Method
from xai_fast.relevance.differences import Differences

__all__ = ["DeepLIFT", "DifferenceAttribution", "checked_baseline"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DifferenceAttribution(Explanation):
    """Attributions of the difference between an item's score and that of its baselines.

    Attributes:
        baseline_scores: (B,) the score of the baseline; the mean of several.
        delta: (B,) the sum of the attributions less the difference of the scores.
        standard_error: of the mean over several baselines, like the attributions; None for a single one.
    """

    baseline_scores: Tensor
    delta: Tensor
    standard_error: Tensor | tuple[Tensor, ...] | None = None

    not_stored = frozenset({"standard_error"})


class DeepLIFT(Method[DifferenceAttribution]):
    """What each input contributes to the difference F(x) - F(x') to a baseline, by the Rescale rule.

    A nonlinearity y = s(x) has the multiplier (y - y') / (x - x') (Section 3.5.2), or the derivative where the two are
    equal; linear operations keep their weights, and multipliers follow the chain rule (Eq. 3). On the traced graph that
    is one walk back through all operations, also functional ones, modules that run twice, residual sums, norms and
    attention. What the paper leaves open is chosen so that the differences add up exactly: each of two factors has the
    mean of the other; a maximum passes its difference to the entry that it is where it is larger; softmax has its
    derivative at the logarithmic mean of p and p'. Attributions (B, ...) are signed, in units of the score.

    Cost: ``2`` evaluations per item, and a walk back.
    Limits: where what a layer norm reads is constant in the baseline, large multipliers cancel: see ``delta``.

    Args:
        model: a module in evaluation mode.
        baseline: x': a number, "blur" for the blurred item (a Gaussian of 20 pixels), or a tensor or an array that
            broadcasts to the inputs; for several inputs one for all, or a sequence with one for each.
        score: see `xai_fast.engine.objective.SCORES`; by default the target's output, before a softmax (Section 3.6).
        embeddings: the layer whose output is explained in the place of the inputs, such as token ids.

    Raises:
        InputError: an option is out of range, or there is no such layer.
    """

    name = "deeplift"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        baseline: float | str | Tensor | Sequence[float | str | Tensor] = 0.0,
        score: str = "output",
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model)
        self.baseline = baseline
        self.score = check_choice("score", score, SCORES)
        self.embeddings = embedding_layer(model, embeddings)
        self._whole = WholeModel(model)

    def _baselines(self, call: Call) -> list[list[Tensor]]:
        """Give the baselines, each with a tensor (B, ...) for every input."""
        return [checked_baseline("baseline", self.baseline, call)]

    def _explain(self, call: Call) -> DifferenceAttribution:
        baselines = self._baselines(call)
        step = max(1, call.rows // len(baselines))
        with torch.autocast(call.device.type, enabled=False):
            chunks = [range(i, min(i + step, call.batch)) for i in range(0, call.batch, step)]
            return DifferenceAttribution.cat([self._mean(call, chunk, baselines) for chunk in chunks])

    def _mean(self, call: Call, chunk: range, baselines: list[list[Tensor]]) -> DifferenceAttribution:
        """Average over the baselines, (item, baseline) rows at a time."""
        values = self._whole.values(call, chunk)
        differences = values.traced.derived(Differences)
        at_once = max(1, call.rows // len(chunk))
        mean = squares = baseline_scores = torch.zeros((), device=call.device)
        for count in range(0, len(baselines), at_once):
            given = baselines[count : count + at_once]
            new = len(given)
            item = torch.arange(len(chunk), device=call.device).repeat(new)
            # A baseline that all items share runs once.
            point = item.new_tensor(range(new)).repeat_interleave(len(chunk)) if _are_shared(given) else None
            rows = slice(1) if point is not None else slice(chunk.start, chunk.stop)
            points = torch.cat([side_by_side([value[rows] for value in one]) for one in given])
            state, baseline = values.of_items(item) if new > 1 else values.state, values.at(points, item, point)
            parts = differences.multipliers(state, baseline) * (state.tensor(0) - baseline.tensor(0))[:, 0]
            parts = parts.view(new, len(chunk), *parts.shape[1:])
            scores = baseline.tensor(values.graph.output).view(new, len(chunk)).sum(0)
            baseline_scores = baseline_scores + scores / len(baselines)
            # The mean and the squared deviations of all so far, from those of the parts (Chan et al. 1979).
            change = parts.mean(0) - mean
            squares = squares + (parts - parts.mean(0)).square().sum(0) + change.square() * count * new / (count + new)
            mean = mean + change * (new / (count + new))
        most = len(baselines)
        error = (squares / (most * (most - 1))).sqrt() if most > 1 else None
        total = mean.flatten(1).sum(1, dtype=torch.float64)
        return DifferenceAttribution(
            attributions=self._whole.inputs(call, mean),
            scores=values.scores,
            targets=values.targets,
            evaluations=torch.full((len(chunk),), 1 + len(baselines), device=call.device),
            baseline_scores=baseline_scores,
            delta=(total - values.scores + baseline_scores).to(mean.dtype),
            standard_error=None if error is None else self._whole.inputs(call, error),
        )


def _are_shared(baselines: list[list[Tensor]]) -> bool:
    return all(value.stride(0) == 0 for one in baselines for value in one)


def checked_baseline(name: str, baseline: Any, call: Call) -> list[Tensor]:
    """Give a baseline as a tensor (B, ...) for each input; an `InputError` names the option where it does not fit."""
    each = baseline if call.several and isinstance(baseline, tuple | list) else [baseline] * len(call.values)
    if len(each) != len(call.values):
        raise bad_argument(name, f"one baseline for each of {len(call.values)} inputs", f"{len(each)}")
    found = []
    for one, value in zip(each, call.values, strict=True):
        is_number = isinstance(one, numbers.Real) and not isinstance(one, bool)
        given = value.new_tensor(one) if is_number else one
        found.append(baseline_inputs(name, given, value, black=0.0, blur_sigma=20.0))
    return found
