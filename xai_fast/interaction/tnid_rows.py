"""T-NID's local effects: how much each of some sets of features acts together at each row of a table.

The mixed derivative F_T of the score along the features in T, at the row itself; `xai_fast.TNID` looks for the sets
that matter in a whole table.

Source: Lerman et al., "Explaining local, global, and higher-order interactions in deep learning", ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.engine.call import Call
from xai_fast.engine.context import undisturbed
from xai_fast.engine.objective import SCORES
from xai_fast.errors import ZeroCurvatureError, bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph.smooth import SMOOTH
from xai_fast.interaction.effects import EFFECTS, effect_of
from xai_fast.interaction.table import like_model, read_names
from xai_fast.interaction.tnid import MAX_ORDER, NO_CURVATURE, smooth_model
from xai_fast.method import Method
from xai_fast.taylor import ScoreFunction, differentiable
from xai_fast.taylor.sets import SetDerivatives

__all__ = ["TNIDRows"]

_MOST_SETS = 1_000_000


class TNIDRows(Method):
    """Mixed derivatives F_T of the score at each row, for each of some sets T of features.

    Attributions are (B, T), one for each set in the order in which the sets are given, or of `torch.combinations`.
    Items are rows (B, D). The fact "zero_curvature" is that all effects of a row are exactly zero.

    Cost: ``1`` evaluation per row, and a mixed derivative for each set.
    Limits: tells of the row, not of what is around it. Additional arguments are refused.

    Args:
        model: in evaluation mode, rows (B, D) to (B, C), (B, 1) or (B,).
        sets: lists of features by place, or by name, all of one length; None for all sets of ``order``.
        order: features per set where ``sets`` is None, 1 to 6.
        scales: a length for each feature along which it is moved, such as its standard deviation; None for 1.
        effect: "signed" for F_T itself, "absolute" or "square".
        score: "logit", "probability" or "log_probability" of the target.
        smooth: "gelu" or "softplus" to explain the network with these in the place of its ReLUs, which have no
            curvature; None to explain it as it is.
        feature_names: of the D features, for ``sets`` by name.
        memory_limit: in bytes, for the derivatives.

    Raises:
        InputError: an option is out of range.
    """

    name = "tnid_rows"

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        sets: Sequence[Sequence[int | str]] | None = None,
        order: int = 2,
        scales: Sequence[float] | None = None,
        effect: str = "signed",
        score: str = "logit",
        smooth: str | None = None,
        feature_names: Sequence[str] | None = None,
        memory_limit: int = 1 << 30,
    ) -> None:
        super().__init__(model)
        self.feature_names = None if feature_names is None else read_names(feature_names, len(feature_names))
        self.sets = None if sets is None else _checked_sets(sets, self.feature_names)
        self.order = check_integer("order", order if self.sets is None else len(self.sets[0]), 1, MAX_ORDER)
        self.scales = None if scales is None else _checked_scales(scales)
        self.effect = check_choice("effect", effect, EFFECTS)
        self.score = check_choice("score", score, SCORES)
        self.smooth = None if smooth is None else check_choice("smooth", smooth, tuple(SMOOTH))
        self.memory_limit = check_integer("memory_limit", memory_limit, 1)
        self._explained = smooth_model(model, self.smooth)

    def _explain(self, call: Call) -> Explanation:
        if len(call.values) > 1 or call.values[0].ndim != 2:
            raise bad_argument("inputs", "rows of numbers (B, D)", [tuple(value.shape) for value in call.values])
        if call.extra.values:
            raise bad_argument("additional_forward_args", f"None, since {self.name} takes rows only", "others")
        sets, lengths = self._sets_of(call.values[0]), self._lengths(call.values[0])
        with undisturbed():  # derivatives are exact
            return Explanation.cat([self._effects(call, chunk, sets, lengths) for chunk in call.chunks()])

    def _effects(self, call: Call, chunk: range, sets: Tensor, lengths: Tensor) -> Explanation:
        x = like_model(call.model, call.take(chunk)[0])
        outputs = self._explained(x.clone())
        targets = call.targets(outputs, chunk)
        function = ScoreFunction(self._explained, call.objective, classes=targets)
        if self.order > 1 and not differentiable(function, x).program.curved:
            raise ZeroCurvatureError(NO_CURVATURE)
        derivatives = SetDerivatives(function, x, lengths.to(x), memory_limit=self.memory_limit)
        effects = effect_of(derivatives.of(sets), self.effect).to(x.dtype)
        return Explanation(
            attributions=effects,
            scores=call.objective(outputs, targets).detach(),
            targets=targets,
            evaluations=torch.ones(len(x), dtype=torch.int64, device=x.device),
            facts={} if self.order == 1 else {"zero_curvature": (effects == 0).all(1)},
        )

    def _sets_of(self, x: Tensor) -> Tensor:
        features = x.shape[1]
        if self.feature_names is not None and len(self.feature_names) != features:
            raise bad_argument("feature_names", f"{features} names, one per feature", len(self.feature_names))
        if self.sets is not None:
            sets = torch.tensor(self.sets, device=x.device)
            if int(sets.max()) >= features:
                raise bad_argument("sets", f"features from 0 to {features - 1}", int(sets.max()))
            return sets
        if features < self.order:
            raise bad_argument("order", f"at most {features}, the number of features", self.order)
        every = torch.combinations(torch.arange(features, device=x.device), self.order)
        if len(every) > _MOST_SETS:
            raise bad_argument("sets", f"at most {_MOST_SETS} sets per row", f"{len(every)}; name those that matter")
        return every

    def _lengths(self, x: Tensor) -> Tensor:
        """Give the directions (D, D): each feature by itself."""
        scales = [1.0] * x.shape[1] if self.scales is None else self.scales
        if len(scales) != x.shape[1]:
            raise bad_argument("scales", f"a number for each of {x.shape[1]} features", f"{len(scales)}")
        return torch.diag(torch.tensor(scales, dtype=x.dtype, device=x.device))


def _checked_sets(sets: object, names: Sequence[str] | None) -> list[list[int]]:
    if not isinstance(sets, Sequence) or not sets or not all(isinstance(s, list | tuple) and s for s in sets):
        raise bad_argument("sets", "lists of features, such as [[0, 1], [0, 2]]", repr(sets)[:200])
    if len({len(members) for members in sets}) > 1 or len(sets[0]) > MAX_ORDER:
        raise bad_argument("sets", f"sets of one length, up to {MAX_ORDER}", repr(sets)[:200])
    found = [sorted(_place(feature, names) for feature in members) for members in sets]
    if any(len(set(members)) < len(members) for members in found):
        raise bad_argument("sets", "different features in a set", repr(sets)[:200])
    return found


def _place(feature: object, names: Sequence[str] | None) -> int:
    if not isinstance(feature, str):
        return check_integer("sets", feature, 0)
    if names is None:
        raise bad_argument("sets", "features by place, since there are no feature_names", repr(feature))
    if feature not in names:
        raise bad_argument("sets", f"a feature, one of {', '.join(names[:20])}", repr(feature))
    return names.index(feature)


def _checked_scales(scales: object) -> list[float]:
    if not isinstance(scales, Sequence) or isinstance(scales, str):
        raise bad_argument("scales", "a number for each feature", repr(scales)[:200])
    return [check_positive("scales", value) for value in scales]
