"""T-NID's local effects in a job: for each row of a table, how much each set of features acts together there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.objective import SCORES, Objective, Target
from xai_fast.errors import ZeroCurvatureError, bad_argument
from xai_fast.graph.smooth import SMOOTH, smoothed
from xai_fast.interaction.effects import EFFECTS, effect_of
from xai_fast.interaction.tnid import MAX_ORDER
from xai_fast.jobs.explainers.base import BatchExplainer, Chunk, Explained
from xai_fast.jobs.values import nearest
from xai_fast.taylor import differentiable, prepare
from xai_fast.taylor.sets import SetDerivatives

__all__ = ["BatchTNID"]

_MEMORY_LIMIT = 1 << 30
_MOST_SETS = 1_000_000


class BatchTNID(BatchExplainer):
    """Mixed derivatives F_T of the score at each row, for each of some sets T of features.

    Fields: ``effects`` (T,), one for each set in the order in which they were given (or of `torch.combinations`),
    ``scores`` and, where there are classes, ``targets``.

    Args:
        model: in evaluation mode, from rows (B, D).
        parameters: "sets", lists of features by number (or by name, where the source is a table), all of one length;
            else all sets of "order", 2 by default; "scales", a length for each feature along which it is moved, such as
            its standard deviation, 1 by default; "effect", "signed" (F_T itself), "absolute" or "square"; "score",
            "logit" by default; "smooth"; "memory_limit", a gigabyte by default.
        seed: not used.
        columns: names of the features, where the source has them.

    Raises:
        InputError: a parameter is out of range.
    """

    def __init__(
        self, model: nn.Module, parameters: Mapping[str, Any], seed: int, columns: Sequence[str] | None = None
    ) -> None:
        del seed
        given = dict(parameters)
        self._score = given.pop("score", "logit")
        self._effect = given.pop("effect", "signed")
        self._smooth = given.pop("smooth", None)
        self._memory_limit = given.pop("memory_limit", _MEMORY_LIMIT)
        self._order = check_integer("order", given.pop("order", 2), 1, MAX_ORDER)
        self._scales = _checked_scales(given.pop("scales", None))
        self._sets = _checked_sets(given.pop("sets", None), columns)
        check_choice("score", self._score, SCORES)
        check_choice("effect", self._effect, EFFECTS)
        if self._smooth is not None:
            check_choice("smooth", self._smooth, tuple(SMOOTH))
        self._model = model
        self._traced: SetDerivatives | None = None

    @property
    def settings(self) -> dict[str, object]:
        """The options that are in effect; sets and scales have no defaults that may change."""
        return {"order": self._order, "score": self._score, "effect": self._effect, "smooth": self._smooth}

    def explain(self, chunk: Chunk) -> Explained:
        """Compute the effects at the rows of a chunk."""
        x = chunk.inputs
        if x.ndim != 2:
            raise bad_argument("source", "rows of numbers (D,)", f"items {tuple(x.shape[1:])}")
        sets = self._sets_of(x.shape[1]).to(x.device)
        objective = Objective(chunk.target, self._score)
        with smoothed(self._smooth) if self._smooth else contextlib.nullcontext():
            started = time.perf_counter()
            with torch.no_grad():
                outputs = self._model(x)
                classes = objective.targets(outputs, start=0, batch=len(x))
                scores = objective(outputs, classes)
            seconds = time.perf_counter() - started if x.device.type == "cpu" else None
            found = self._derivatives(x, chunk.target).of(sets)
        fields = {"effects": effect_of(found, self._effect), "scores": scores}
        if classes is not None:
            fields["targets"] = classes
        return Explained(fields, 2 * len(x), model_seconds=seconds)

    def _derivatives(self, x: Tensor, target: Target) -> SetDerivatives:
        """Trace the model at the first chunk, and take over the trace at the others."""
        if self._traced is None or self._traced.x.shape[1:] != x.shape[1:]:
            directions = torch.diag(self._lengths(x))
            self._check_curvature(x[:1], target[:1] if isinstance(target, Tensor) else target)
            self._traced = SetDerivatives(
                self._model, x, directions, target=target, score=self._score, memory_limit=self._memory_limit
            )
            return self._traced
        return self._traced.at(x, target=target)

    def _check_curvature(self, x: Tensor, target: Target) -> None:
        order = self._order if self._sets is None else self._sets.shape[1]
        function = prepare(self._model, x, target=target, score=self._score)
        if order > 1 and not differentiable(function, x).program.curved:
            raise ZeroCurvatureError(
                "model: expected a score that bends, got one that is piecewise linear in the features, so that every "
                'effect is zero; pass smooth="gelu" or "softplus", or explain score="probability" or "log_probability"'
            )

    def _sets_of(self, features: int) -> Tensor:
        if self._sets is None:
            if features < self._order:
                raise bad_argument("order", f"at most {features}, the number of features", self._order)
            every = torch.combinations(torch.arange(features), self._order)
            if len(every) > _MOST_SETS:
                raise bad_argument("sets", f"at most {_MOST_SETS} sets a row", f"{len(every)}; name those that matter")
            return every
        if int(self._sets.min()) < 0:
            raise bad_argument("sets", "features by number, since this source has no names for them", "names")
        if int(self._sets.max()) >= features:
            raise bad_argument("sets", f"features from 0 to {features - 1}", int(self._sets.max()))
        return self._sets

    def _lengths(self, x: Tensor) -> Tensor:
        if self._scales is None:
            return torch.ones(x.shape[1], dtype=x.dtype, device=x.device)
        if len(self._scales) != x.shape[1]:
            raise bad_argument("scales", f"a number for each of {x.shape[1]} features", f"{len(self._scales)}")
        return torch.tensor(self._scales, dtype=x.dtype, device=x.device)


def _checked_sets(sets: object, columns: Sequence[str] | None) -> Tensor | None:
    if sets is None:
        return None
    if not isinstance(sets, Sequence) or not sets or not all(isinstance(s, list | tuple) and s for s in sets):
        raise bad_argument("sets", "lists of features, such as [[0, 1], [0, 2]]", repr(sets)[:200])
    if len({len(entry) for entry in sets}) > 1 or len(sets[0]) > MAX_ORDER:
        raise bad_argument("sets", f"sets of one length, up to {MAX_ORDER}", repr(sets)[:200])
    rows = [sorted(_number(feature, columns) for feature in entry) for entry in sets]
    if any(len(set(row)) < len(row) for row in rows):
        raise bad_argument("sets", "different features in a set", repr(sets)[:200])
    return torch.tensor(rows)


def _number(feature: object, columns: Sequence[str] | None) -> int:
    """Give the place of a feature; where names are not known yet, any number stands for one."""
    if not isinstance(feature, str):
        return check_integer("sets", feature, 0)
    if columns is None:
        return -1 - int.from_bytes(feature.encode("utf-8", "surrogateescape"), "big") % 2**62
    if feature not in columns:
        raise bad_argument("sets", f"a column of the table, {nearest(feature, columns)}", repr(feature))
    return list(columns).index(feature)


def _checked_scales(scales: object) -> list[float] | None:
    if scales is None:
        return None
    if not isinstance(scales, Sequence) or isinstance(scales, str):
        raise bad_argument("scales", "a number for each feature", repr(scales)[:200])
    for value in scales:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise bad_argument("scales", "positive numbers", repr(value))
    return [float(value) for value in scales]
