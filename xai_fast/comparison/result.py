"""What a comparison of methods has measured, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from xai_fast.errors import InputError, bad_argument
from xai_fast.files import read_tensors, write_tensors
from xai_fast.terminal import ShortRepr

if TYPE_CHECKING:
    import pandas

__all__ = ["Comparison"]

_METADATA = "xai_fast.Comparison"
_COLUMNS = ("item", "method", "metric", "value", "evaluations")
_TUPLES = ("methods", "items", "seconds")


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

    def rows(self) -> Iterator[tuple[str, str, str, float, float]]:
        """List item, method, metric, value and evaluations, item by item."""
        scores = {metric: values.tolist() for metric, values in self.scores.items()}
        evaluations = self.evaluations.tolist()
        for n, item in enumerate(self.items):
            for m, method in enumerate(self.methods):
                for metric, values in scores.items():
                    yield item, method, metric, values[m][n], evaluations[m][n]

    def to_dataframe(self) -> pandas.DataFrame:
        """Make a table with a row per item, method and metric.

        Returns:
            The DataFrame; columns are item, method, metric, value and evaluations.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_dataframe: expected pandas, which is not installed; pip install pandas") from error
        return pandas.DataFrame(self.rows(), columns=list(_COLUMNS))

    def save(self, path: str | Path) -> None:
        """Write the comparison to one safetensors file; a file that is there is replaced.

        Args:
            path: where to; the name is used as it is.
        """
        tensors = {"evaluations": self.evaluations, "maps": self.maps}
        tensors |= {f"scores.{metric}": values for metric, values in self.scores.items()}
        about: dict[str, Any] = {name: getattr(self, name) for name in _TUPLES}
        about |= {"better": dict(self.better), "settings": dict(self.settings)}
        write_tensors(Path(path), {n: t for n, t in tensors.items() if t is not None}, _METADATA, about)

    @staticmethod
    def load(path: str | Path) -> Comparison:
        """Read a comparison that `save` wrote. Nothing in the file is executed.

        Args:
            path: the file.

        Returns:
            The same comparison, on the CPU.

        Raises:
            InputError: the file is damaged, or holds something else.
        """
        tensors, about = read_tensors(Path(path), _METADATA)
        try:
            scores = {metric: tensors[f"scores.{metric}"] for metric in about["better"]}
            fixed = {name: value and tuple(value) for name, value in about.items() if name in _TUPLES}
            return Comparison(
                **(about | fixed), scores=scores, evaluations=tensors["evaluations"], maps=tensors.get("maps")
            )
        except (TypeError, KeyError) as error:
            raise InputError(f"path: expected a file that Comparison.save wrote, got {path}: {error}") from error
