"""Comparisons in this process, and how what was measured becomes a `Comparison`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xai_fast.comparison.entries import (
    METHODS,
    METRICS_OF_PICTURES,
    METRICS_OF_ROWS,
    Entry,
    read_methods,
    read_metrics,
)
from xai_fast.comparison.measured import Measured
from xai_fast.comparison.result import Comparison
from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument
from xai_fast.method import Method
from xai_fast.metrics import METRICS

__all__ = ["Found", "compare", "comparison_of"]

_MOST_CELLS = 112
"""Of a side of the maps in a comparison, whose agreement does not depend on single pixels."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What was measured of a method on N items.

    Attributes:
        entry: the method.
        numbers: those fields of `xai_fast.comparison.measured.MeasuredExplanation` that are one number per item, by
            flat names, (N,) float64; NaN of items that failed.
        maps: (N, ...) the importance of pixels, at most 112 a side, or of columns.
    """

    entry: Entry
    numbers: Mapping[str, Tensor]
    maps: Tensor

    @classmethod
    def of(cls, entry: Entry, fields: Mapping[str, Tensor], good: Tensor | bool = True) -> Found:
        """Read the fields (N, ...) by flat names, of which the items ``good`` (N,) bool have results."""
        good = torch.as_tensor(good)
        numbers = {n: torch.where(good, one.double(), torch.nan) for n, one in fields.items() if one.ndim == 1}
        return cls(entry, numbers, _smaller(fields["attributions"]))


def compare(
    model: Callable[..., object],
    inputs: Tensor | NDArray[Any],
    *,
    methods: str | Sequence[str | Method] = METHODS,
    metrics: str | Sequence[str] | None = None,
    target: Target = None,
    additional_forward_args: object = None,
    boxes: Sequence[Any] | None = None,
    items: Sequence[str] | None = None,
    seed: int = 0,
    internal_batch_size: int | None = None,
) -> Comparison:
    """Compare explanation methods on the same items: how good they are by several metrics, and what they cost.

    Random numbers, and of pictures their edges, are always among the methods. The command ``xai-fast compare`` does the
    same as jobs, which survive crashes. What can be concluded, `Comparison.conclusions` says.

    Args:
        model: a module in evaluation mode, or any other callable.
        inputs: (N, C, ...) or (N, F), what `Method.explain` takes, one tensor.
        methods: names with options, "neflag(points=20,score=output)", "captum:IntegratedGradients",
            "zennit:EpsilonPlus", "grad_cam:GradCAM(layer=stages)", or methods; or a text of them between commas.
        metrics: names of `xai_fast.metrics.METRICS` with options, "insertion_deletion(steps=14,ranking=per_channel)";
            by default six that suit pictures, or rows.
        target: see `Method.explain`.
        additional_forward_args: see there.
        boxes: (N,) tables (K, 4) or (4,) of x0, y0, x1, y1, for the metrics that need them.
        items: N names; their numbers by default.
        seed: of what is random.
        internal_batch_size: see `Method.explain`.

    Returns:
        The scores of all methods by all metrics on each item.

    Raises:
        InputError: a method, a metric or an option is unknown, an entry comes twice, or something does not fit.
        ModelError: see `Method.explain`.
    """
    if not isinstance(inputs, Tensor | np.ndarray) or not len(inputs):
        raise bad_argument("inputs", "one tensor or array (N, ...)", type(inputs).__name__)
    suit = METRICS_OF_PICTURES if inputs.ndim > 2 else METRICS_OF_ROWS
    measures = read_metrics(suit if metrics is None else metrics, boxes=boxes is not None)
    found = []
    for entry in read_methods(methods):
        if not entry.fits(inputs.shape[1:]):
            continue
        measured = Measured(model, method=entry, metrics=measures, boxes=boxes, seed=seed)
        explained = measured.explain(inputs, target, additional_forward_args, None, internal_batch_size)
        found.append(Found.of(entry, explained.to("cpu").tensors()))
    names = [str(number) for number in range(len(inputs))] if items is None else items
    if len(names) != len(inputs):
        raise bad_argument("items", f"{len(inputs)} names", f"{len(names)}")
    return comparison_of(found, measures, names, {"model": type(model).__name__, "seed": seed})


def comparison_of(
    found: Sequence[Found], metrics: Sequence[Entry], items: Sequence[str], settings: Mapping[str, object]
) -> Comparison:
    """Put together what was measured on N items; options of methods and metrics are added to the settings."""

    def numbers(name: str) -> Tensor:
        return torch.stack([one.numbers[name] for one in found])

    maps = [one.maps for one in found]
    options = {
        "methods": {one.entry.text: dict(one.entry.options) for one in found},
        "metrics": {entry.text: dict(entry.options) for entry in metrics},
    }
    return Comparison(
        methods=tuple(one.entry.text for one in found),
        scores={entry.text: numbers(f"metrics.{entry.key}") for entry in metrics},
        better={entry.text: METRICS[entry.name].better for entry in metrics},
        evaluations=numbers("evaluations"),
        items=tuple(items),
        maps=torch.stack(maps) if len({one.shape for one in maps}) == 1 else None,
        seconds=tuple(numbers("seconds").nansum(1).tolist()),
        settings={**settings, **options},
    )


def _smaller(maps: Tensor) -> Tensor:
    """Give maps (N, 1, ...) without their channel and at most `_MOST_CELLS` a side; rows (N, F) as they are."""
    if maps.ndim != 4:
        return maps if maps.ndim == 2 else maps.squeeze(1)
    height, width = (min(side, _MOST_CELLS) for side in maps.shape[2:])
    return nn.functional.adaptive_avg_pool2d(maps, (height, width)).squeeze(1)
