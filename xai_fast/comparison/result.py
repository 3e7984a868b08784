"""What a comparison of methods has measured, and what follows from it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from xai_fast.arguments import check_choice
from xai_fast.comparison.conclusions import SIGNIFICANT, conclude, is_baseline
from xai_fast.comparison.statistics import agreement, mean_and_error, paired_differences, pareto_front
from xai_fast.errors import InputError, bad_argument, needs
from xai_fast.files import read_tensors, write_tensors
from xai_fast.terminal import ShortRepr

if TYPE_CHECKING:
    import pandas

__all__ = ["Comparison", "Difference"]

_METADATA = "xai_fast.Comparison"
_TUPLES = ("methods", "items", "seconds")
_APART = 10
"""Items listed per metric."""


@dataclass(frozen=True)
class Difference:
    """By how much the mean score of a method is above that of another.

    Attributes:
        a: the method.
        b: the other.
        mean: of a - b over the items that have both scores.
        low: lower end of the 95 % interval, of this pair alone.
        high: upper end.
        p: two-sided p-value of this pair alone.
        corrected_low: lower end of the interval after Holm's correction for all pairs of methods.
        corrected_high: upper end.
        corrected_p: the p-value after the correction.
        count: items with both scores.
    """

    a: str
    b: str
    mean: float
    low: float
    high: float
    p: float
    corrected_low: float
    corrected_high: float
    corrected_p: float
    count: int

    @property
    def found(self) -> bool:
        """Whether there is a difference, at 5 % after the correction."""
        return self.corrected_p <= SIGNIFICANT

    def reversed(self) -> Difference:
        """Give b - a."""
        corrected = (-self.corrected_high, -self.corrected_low, self.corrected_p)
        return Difference(self.b, self.a, -self.mean, -self.high, -self.low, self.p, *corrected, self.count)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(ShortRepr):
    """M methods on the same N items, by one or more metrics.

    Attributes:
        methods: M names, as asked for, such as "neflag(points=20)" or "random".
        scores: metric to (M, N) float64, NaN where it is not defined for an item.
        better: metric to "higher" or "lower".
        evaluations: (M, N) float64, cost of each item in gradient evaluations of the model.
        items: N names.
        maps: (M, N, H, W) or (M, N, F) float32, what is ranked, for the agreement of the methods; None where their
            kinds differ.
        seconds: M, the wall time of each method, or None.
        settings: model, options of the metrics, seed, versions and others, as JSON holds them.

    Raises:
        InputError: shapes or names do not fit together.
    """

    methods: tuple[str, ...]
    scores: Mapping[str, Tensor]
    better: Mapping[str, str]
    evaluations: Tensor
    items: tuple[str, ...]
    maps: Tensor | None = None
    seconds: tuple[float, ...] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)

    columns: ClassVar = ("item", "method", "metric", "value", "evaluations")
    """Of `rows`."""

    def __post_init__(self) -> None:
        shape = (len(self.methods), len(self.items))
        if not all(shape) or len(set(self.methods)) < shape[0]:
            expected = "at least one of each, and methods whose names differ"
            raise bad_argument("methods, items", expected, f"{self.methods}, {shape[1]} items")
        if self.scores.keys() != self.better.keys() or not set(self.better.values()) <= {"higher", "lower"}:
            raise bad_argument("better", f'"higher" or "lower" for each of {list(self.scores)}', dict(self.better))
        given = {**{f"scores[{name!r}]": one for name, one in self.scores.items()}, "evaluations": self.evaluations}
        for name, values in given.items():
            if values.shape != shape:
                raise bad_argument(name, f"{shape}: methods, items", tuple(values.shape))
        if self.maps is not None and (self.maps.shape[:2] != shape or self.maps.ndim < 3):
            raise bad_argument("maps", f"{shape} and the shape of a map", tuple(self.maps.shape))
        if self.seconds is not None and len(self.seconds) != shape[0]:
            raise bad_argument("seconds", f"{shape[0]} numbers, one per method", len(self.seconds))

    def best(self, metric: str) -> tuple[str, ...]:
        """Return the methods within error of the best mean by a metric, the best mean first.

        From these no difference was found, at 5 % after correction; none where the metric is not defined for any
        method.
        """
        sign, mean = self._sign(metric), mean_and_error(self.scores[metric])[0].tolist()
        order = sorted((m for m in range(len(mean)) if not math.isnan(mean[m])), key=lambda m: -sign * mean[m])
        names = [self.methods[m] for m in order]
        return tuple(name for name in names if name == names[0] or not self.difference(names[0], name, metric).found)

    def difference(self, a: str, b: str, metric: str) -> Difference:
        """Compare two methods.

        Args:
            a: a method.
            b: another.
            metric: its name.

        Returns:
            The paired difference of their scores.

        Raises:
            InputError: a name is unknown, or the methods are the same.
        """
        check_choice("a", a, self.methods)
        check_choice("b", b, [method for method in self.methods if method != a])
        pairs = {(one.a, one.b): one for one in self.differences(metric)}
        return pairs[a, b] if (a, b) in pairs else pairs[b, a].reversed()

    def differences(self, metric: str) -> tuple[Difference, ...]:
        """Compare all pairs of methods, see `difference`; a is before b in `methods`."""
        self._sign(metric)
        if metric not in self._differences:
            found, corrected = paired_differences(self.scores[metric])
            columns = [one.tolist() for one in (*found[:4], *corrected[1:4], found.counts)]
            rows = zip(combinations(self.methods, 2), *columns, strict=True)
            self._differences[metric] = tuple(Difference(*pair, *row) for pair, *row in rows)
        return self._differences[metric]

    def resolution(self, metric: str) -> float:
        """Give the difference below which methods are as a rule not told apart: half the median corrected interval."""
        halves = [(one.corrected_high - one.corrected_low) / 2 for one in self.differences(metric)]
        return float(torch.tensor(halves, dtype=torch.float64).nanmedian()) if halves else math.nan

    def summary(self) -> dict[str, Any]:
        """Give all that is known of the methods, without the scores of each item, as JSON holds it; NaN is None."""
        found = agreement(self.maps) if self.maps is not None else None
        rest = {"agreement": found if found is None else found.tolist(), "settings": dict(self.settings)}
        said = dict(zip(("warnings", "conclusions"), conclude(self._measured), strict=True))
        return {**self._measured, **_without_nan(rest), **said}

    def conclusions(self) -> list[str]:
        """Say in sentences what can be concluded from so many items, and what cannot."""
        warnings, findings = conclude(self._measured)
        return [*warnings, *findings]

    def rows(self) -> Iterator[tuple[str, str, str, float, float]]:
        """List the values of `columns` for each item, method and metric."""
        scores = {metric: values.tolist() for metric, values in self.scores.items()}
        evaluations = self.evaluations.tolist()
        for n, item in enumerate(self.items):
            for m, method in enumerate(self.methods):
                for metric, values in scores.items():
                    yield item, method, metric, values[m][n], evaluations[m][n]

    def to_dataframe(self) -> pandas.DataFrame:
        """Make a table with a row per item, method and metric: item, method, metric, value and evaluations."""
        return needs("pandas", "to_dataframe", "pandas").DataFrame(self.rows(), columns=list(self.columns))

    def save(self, path: str | Path) -> None:
        """Write the comparison to one safetensors file; the name is used as it is, and a file there is replaced."""
        tensors = {"evaluations": self.evaluations, "maps": self.maps}
        tensors |= {f"scores.{metric}": values for metric, values in self.scores.items()}
        about: dict[str, Any] = {name: getattr(self, name) for name in _TUPLES}
        about |= {"better": dict(self.better), "settings": dict(self.settings)}
        write_tensors(Path(path), {n: t for n, t in tensors.items() if t is not None}, _METADATA, about)

    @staticmethod
    def load(path: str | Path) -> Comparison:
        """Read a comparison that `save` wrote, on the CPU, executing nothing; an `InputError` where it is none."""
        tensors, about = read_tensors(Path(path), _METADATA)
        try:
            scores = {metric: tensors[f"scores.{metric}"] for metric in about["better"]}
            fixed = {name: value and tuple(value) for name, value in about.items() if name in _TUPLES}
            return Comparison(
                **(about | fixed), scores=scores, evaluations=tensors["evaluations"], maps=tensors.get("maps")
            )
        except (TypeError, KeyError) as error:
            raise InputError(f"path: expected a file that Comparison.save wrote, got {path}: {error}") from error

    @functools.cached_property
    def _differences(self) -> dict[str, tuple[Difference, ...]]:
        return {}

    @functools.cached_property
    def _measured(self) -> dict[str, Any]:
        cost, error, _ = mean_and_error(self.evaluations.double())
        found = {
            "methods": list(self.methods),
            "items": len(self.items),
            "metrics": {metric: self._of_metric(metric, cost) for metric in self.scores},
            "evaluations": {"mean": cost.tolist(), "error": error.tolist()},
            "seconds": self.seconds and list(self.seconds),
        }
        json: dict[str, Any] = _without_nan(found)
        return json

    def _sign(self, metric: str) -> int:
        check_choice("metric", metric, list(self.scores))
        return 1 if self.better[metric] == "higher" else -1

    def _of_metric(self, metric: str, cost: Tensor) -> dict[str, Any]:
        scores = self.scores[metric].double()
        mean, error, count = mean_and_error(scores)
        return {
            "better": self.better[metric],
            "mean": mean.tolist(),
            "error": error.tolist(),
            "count": count.tolist(),
            "best": list(self.best(metric)),
            "front": pareto_front(self._sign(metric) * mean, cost).tolist(),
            "resolution": self.resolution(metric),
            "differences": [asdict(one) for one in self.differences(metric)],
            "apart": self._apart(metric, scores),
        }

    def _apart(self, metric: str, scores: Tensor) -> list[dict[str, Any]]:
        """List the items whose scores differ most between methods, without baselines if two others are there."""
        chosen = [m for m, name in enumerate(self.methods) if not is_baseline(name)]
        chosen = chosen if len(chosen) > 1 else list(range(len(self.methods)))
        _, error, count = mean_and_error(scores[chosen].T)
        found = (error * count.double().sqrt()).nan_to_num(-1.0)
        listed = []
        for n in found.argsort(descending=True, stable=True)[:_APART].tolist():
            if found[n] <= 0:
                break
            values = {self.methods[m]: float(scores[m, n]) for m in chosen if not scores[m, n].isnan()}
            order = sorted(values, key=lambda name: -self._sign(metric) * values[name])
            ends = {"best": order[0], "worst": order[-1], "of_best": values[order[0]], "of_worst": values[order[-1]]}
            listed.append({"item": self.items[n], "place": n, "spread": float(found[n]), **ends})
        return listed


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
