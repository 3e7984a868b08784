"""What methods share that replace features of an item: its game, and their options."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from xai_fast.arguments import check_choice
from xai_fast.engine.call import Call
from xai_fast.engine.features import Features, Grouping
from xai_fast.engine.masked import MaskedScores, baseline_inputs
from xai_fast.engine.objective import SCORES
from xai_fast.explanation import Explanation
from xai_fast.method import Method

__all__ = ["FeatureMethod", "Game"]

E = TypeVar("E", bound=Explanation)


class Game:
    """The items of a call, each a game of its features: a coalition's value is the score where others are replaced.

    Args:
        call: the items; one input.
        features: see `xai_fast.engine.features.Features`.
        baselines: from the inputs (B, ...) to what takes their place, (B, ...), or (n, ...) to choose from.

    Attributes:
        features: of the items.
        baseline: what ``baselines`` gave.
        scores: (B,) of all features, the items' own scores.
        targets: (B,) int64, or None.
        evaluations: (B,) int64, so far.

    Raises:
        InputError: there are several inputs, or an option does not fit them.
    """

    def __init__(self, call: Call, features: Grouping, baselines: Callable[[Tensor], Tensor]) -> None:
        self.call = call
        self.masked = MaskedScores(call)
        self.features = Features(features, self.masked.inputs)
        self.baseline = baselines(self.masked.inputs)
        self.scores, self.targets = self.masked.clean()
        self.evaluations = self.masked.evaluations

    def play(self, present: Callable[[Tensor], Tensor], item: Tensor, baseline: Tensor | None = None) -> Tensor:
        """Return the values (R,) of coalitions of items (R,), whose features (r, K) bool ``present`` gives.

        ``baseline`` (R,) int64 is the place of each coalition's among the baselines, where it has one of its own.
        """

        def make(row: Tensor) -> Tensor:
            source = None if baseline is None else baseline[row]
            return self.features.replaced(present(row), item[row], self.baseline, source)

        return self.masked.score_rows(make, item, self.targets)

    @functools.cached_property
    def empty(self) -> Tensor:
        """The scores of the empty coalitions of all items, (B,): of their baselines."""
        item = torch.arange(self.call.batch, device=self.call.device)
        nothing = torch.zeros(1, self.features.count, dtype=torch.bool, device=self.call.device)
        return self.play(lambda row: nothing.expand(len(row), -1), item)


class FeatureMethod(Method[E]):
    """A method that gives a value to each feature of an item, from scores where others are replaced.

    Attributions are like the inputs (B, ...), in units of the score: each entry has the value of its feature. Inputs
    may be integers, such as token ids, and then the baseline is one too.

    Args:
        model: a module in evaluation mode, or any callable from an input tensor to an output.
        features: which entries go together: None for each by itself; a number of cells per dimension, or one for each,
            for a grid of pixels or columns; integers (B or 1, ...) that broadcast to the inputs, as captum's
            ``feature_mask``; "superpixels" or "superpixels:NUMBER" (scikit-image).
        baseline: what takes their place: a number, one per channel or column, "blur" or "mean" of the item, or a tensor
            that broadcasts to the inputs.
        score: see `xai_fast.engine.objective.SCORES`: by default the probability of the target, or a single output
            itself.

    Raises:
        InputError: an option is out of range.
    """

    integers = True

    def __init__(
        self,
        model: Callable[..., object],
        *,
        features: int | Sequence[int] | str | Tensor | None = None,
        baseline: float | Sequence[float] | str | Tensor = 0.0,
        score: str = "auto",
    ) -> None:
        super().__init__(model)
        self.features = features
        self.baseline = baseline
        self.score = check_choice("score", score, SCORES)

    def _explain(self, call: Call) -> E:
        return self._result(Game(call, self.features, self._baselines))

    def _baselines(self, inputs: Tensor) -> Tensor:
        """Give what takes the place of features, (B, ...)."""
        return baseline_inputs("baseline", self.baseline, inputs)

    @abc.abstractmethod
    def _result(self, game: Game) -> E:
        """Explain the items of a game."""

    @staticmethod
    def _fields(game: Game, values: Tensor) -> dict[str, Any]:
        """Give the fields of an explanation, from values (B, K)."""
        return {
            "attributions": game.features.spread(values.to(game.scores.dtype)),
            "scores": game.scores,
            "targets": game.targets,
            "evaluations": game.evaluations,
        }
