"""A method with the metrics of what it explains, as one method: so a comparison is made of ordinary jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.comparison.entries import Entry, call_options, metric_options
from xai_fast.engine.call import Call
from xai_fast.engine.draws import MAX_SEED
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.method import Method
from xai_fast.metrics import METRICS, rank_pixels
from xai_fast.metrics.explained import only_map

__all__ = ["Measured", "MeasuredExplanation"]


@dataclass(frozen=True, kw_only=True, repr=False)
class MeasuredExplanation(Explanation):
    """What metrics say of the explanations of B items.

    Attributes:
        attributions: (B, 1, ...) or (B, N) float32, how important each pixel or column is: magnitudes, added up over
            the channels.
        metrics: key of a metric, see `Entry.key`, to (B,) float32.
        seconds: (B,) float32, the time of the explanation, shared evenly by the items of a batch. What was measured is
            no function of the item.
    """

    metrics: Mapping[str, Tensor] = field(default_factory=dict)
    seconds: Tensor


class Measured(Method[MeasuredExplanation]):
    """Explanations of a method, reduced to what metrics say of them.

    Args:
        model: a module in evaluation mode, or any other callable.
        method: an `Entry`, or its fields.
        metrics: entries, or their fields.
        boxes: those of each item, by its identity, for the metrics that need them: tables (K, 4) or (4,) of
            x0, y0, x1, y1.
        seed: of the method and of the metrics.
    """

    integers = True

    def __init__(
        self,
        model: Callable[..., object],
        *,
        method: Entry | Mapping[str, Any],
        metrics: Sequence[Entry | Mapping[str, Any]],
        boxes: Sequence[Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(model)
        self.method, self.metrics, self.boxes = method, metrics, boxes
        self.seed = check_integer("seed", seed, 0, MAX_SEED)
        self._explained: Method[Any] = _entry(method).method(model, seed)
        if self._explained.pairs:
            raise bad_argument("methods", "methods that explain one input", f"{self._explained.name}, of pairs")
        self._entries = [
            entry.with_defaults(metric_options(entry.name), seed=self.seed) for entry in map(_entry, metrics)
        ]

    def _explain(self, call: Call) -> MeasuredExplanation:
        if call.several:
            raise bad_argument("inputs", "one tensor (further inputs go to additional_forward_args)", "a tuple")
        how: dict[str, Any] = {
            "additional_forward_args": call.extra.given(),
            "item_ids": call.item_ids,
            "internal_batch_size": call.rows,
        }
        started = time.perf_counter()
        found = self._explained.explain(call.values[0], call.objective.target, **how)
        seconds = (time.perf_counter() - started) / call.batch
        how |= {"target": call.objective.target if found.targets is None else found.targets, "clean": found}
        importance = self._importance(only_map(found), call.values[0])
        return MeasuredExplanation(
            attributions=importance,
            scores=found.scores.float(),
            targets=found.targets,
            evaluations=found.evaluations,
            facts=found.facts,
            metrics=self._measure(call, how),
            seconds=torch.full((call.batch,), seconds),
        )

    def _importance(self, maps: Tensor, inputs: Tensor) -> Tensor:
        """Check that a map has the form of its inputs, which metrics need, and give it as it is stored."""
        shape = tuple(inputs.shape[2:]) if inputs.ndim > 2 else tuple(inputs.shape[1:])
        if shape not in (maps.shape[1:], maps.shape[2:]):
            got = f"{tuple(maps.shape[1:])} of {self._explained.name}"
            raise bad_argument("methods", f"maps of the size of the inputs, {shape}", got)
        rows = maps if inputs.ndim == 2 or maps.ndim == inputs.ndim else maps[:, None]
        found = rank_pixels(rows).float()
        return found if inputs.ndim == 2 else found.view(-1, 1, *shape)

    def _measure(self, call: Call, how: Mapping[str, Any]) -> dict[str, Tensor]:
        """Compute the metrics; several numbers of one function come from one call of it."""
        x, maps = call.values[0], only_map(how["clean"])
        arguments: Mapping[str, Callable[[], tuple[Any, ...]]] = {
            "attributions": lambda: (call.model, x, maps),
            "method": lambda: (self._explained, x),
            "maps": lambda: (maps,),
            "boxes": lambda: (maps, self._boxes_of(call.item_ids.tolist())),
        }
        results: dict[tuple[Any, str], Any] = {}
        values = {}
        for entry in self._entries:
            metric = METRICS[entry.name]
            same = metric.function, json.dumps(entry.options, sort_keys=True)
            if same not in results:
                taken = {name: how[name] for name in call_options(entry.name) if name in how}
                results[same] = metric.function(*arguments[metric.needs](), **entry.options, **taken)
            values[entry.key] = getattr(results[same], metric.value).detach().float()
        return values

    def _boxes_of(self, items: Sequence[int]) -> list[Any]:
        boxes = self.boxes or ()
        if max(items) >= len(boxes):
            raise bad_argument("boxes", f"those of item {max(items)}", f"those of {len(boxes)} items")
        return [boxes[item] for item in items]


def _entry(given: Entry | Mapping[str, Any]) -> Entry:
    return given if isinstance(given, Entry) else Entry(**given)
