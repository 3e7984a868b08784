"""Explanations of other inputs in the place of the items of a batch, by one method, full rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_choice
from xai_fast.engine.draws import random_entries
from xai_fast.engine.objective import Target, at_least_float32
from xai_fast.engine.regions import with_last
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.method import Method
from xai_fast.metrics.results import Array, ModelCallOptions, make_call

__all__ = ["PERTURBATIONS", "Explained", "MethodCallOptions", "only_map", "row_norm"]

PERTURBATIONS = ("box", "normal")
"""Uniform within ``radius`` of every entry, or normal with the standard deviation ``radius``."""

_STEP = 2**31
"""Of the random numbers, so that they are not those that a method draws with the same seed."""


class MethodCallOptions(ModelCallOptions, total=False):
    """How a method is called, see `ModelCallOptions`, the same for all metrics that explain again.

    Attributes:
        clean: what the method said of these items, called like this; None to ask it.
    """

    clean: Explanation | None


class Explained:
    """A batch, its explanation, and explanations of other inputs in the place of its items.

    Another input keeps the class, the additional arguments and the identity of its item. So a method that draws random
    numbers draws those of the item again, and what differs is not its noise.

    Args:
        method: explains.
        inputs: (B, ...), one tensor.
        clean: see `MethodCallOptions`.
        **call: see there.

    Attributes:
        call: the batch.
        clean: its explanation.
        maps: (B, ...) its attributions.

    Raises:
        InputError: an argument does not fit.
    """

    def __init__(
        self,
        method: Method[Any],
        inputs: Array,
        clean: Explanation | None = None,
        **call: Unpack[ModelCallOptions],
    ) -> None:
        if not isinstance(method, Method):
            raise bad_argument("method", "a method, such as xai_fast.Saliency(model)", type(method).__name__)
        self.method, self._rows = method, call.get("internal_batch_size")
        self.call = make_call(method.model, inputs, score=method.score, **call)
        if self.call.several:
            raise bad_argument("inputs", "one tensor (further inputs go to additional_forward_args)", "a tuple")
        self.clean: Explanation = method.explain(self.inputs, **call) if clean is None else clean
        self.maps = only_map(self.clean)
        target = call.get("target")
        self.target = target if callable(target) else self.clean.targets

    @property
    def inputs(self) -> Tensor:
        """(B, ...), the items."""
        return self.call.values[0]

    def explain(
        self,
        rows: Tensor,
        item: Tensor,
        *,
        method: Method[Any] | None = None,
        target: Target = None,
        last: Tensor | None = None,
    ) -> Explanation:
        """Return the explanation of other inputs (R, ...) like the items, in the place of items (R,).

        It is by another method or of another target, where given; ``last`` (B, ...) of the items is the last argument
        of a `ModelPart`.
        """
        if target is None:
            target = self.target[item] if isinstance(self.target, Tensor) else self.target
        extra = self.call.extra.given(item) if last is None else with_last(self.call.extra, last[item], item)
        found: Explanation = (method or self.method).explain(rows, target, extra, self.call.item_ids[item], self._rows)
        return found

    def explain_items(self, method: Method[Any]) -> Explanation:
        """Return the explanation of the items by a method of another model like this one, in the context of `call`.

        No owner runs that model: it goes in its prepared form.
        """
        rows = self._rows or method.rows
        call = replace(self.call, model=method.model, rows=rows or self.call.rows)
        prepared = call.prepared()
        call = replace(call, memory_format=prepared.memory_format, at=prepared.forward)
        found: Explanation = method._explain_call(call.with_targets(self.clean.targets), rows)
        return found

    def noise(self, item: Tensor, number: Tensor, kind: str, seed: int, step: int = 0) -> Tensor:
        """Draw noise (R, ...) of unit radius for draws (R,) of items (R,); see `PERTURBATIONS`."""
        like = self.inputs.new_empty(len(item), self.inputs[0].numel())
        drawn = random_entries(like, self.call.item_ids[item], number, kind, seed, _STEP + step)
        return drawn.view(-1, *self.inputs.shape[1:])

    def perturbed(
        self, samples: int, radius: float, kind: str, seed: int
    ) -> Iterator[tuple[slice, Tensor, Tensor, Explanation]]:
        """Explain each item under additive noise.

        Args:
            samples: S, noisy inputs per item.
            radius: of the noise, in the model's input units.
            kind: one of `PERTURBATIONS`.
            seed: of the noise.

        Yields:
            Which of the B * S rows, item by item, these are; the item of each (r,), the noisy inputs (r, ...) and
            their explanation.
        """
        check_choice("perturbation", kind, PERTURBATIONS)
        for chunk in self.row_chunks(self.call.batch * samples):
            row = torch.arange(chunk.start, chunk.stop, device=self.call.device)
            item, number = row.div(samples, rounding_mode="floor"), row % samples
            rows = self.inputs[item] + radius * self.noise(item, number, kind, seed)
            yield chunk, item, rows, self.explain(rows, item)

    def row_chunks(self, count: int) -> Iterator[slice]:
        """Go through rows as many at a time as go through the model at once."""
        for start in range(0, count, self.call.rows):
            yield slice(start, min(start + self.call.rows, count))


def only_map(explanation: Explanation) -> Tensor:
    """Give the attributions (B, ...) of an explanation of one input, float32 or wider."""
    maps = explanation.attributions
    if isinstance(maps, tuple):
        raise bad_argument("method", "one attribution per item", f"a tuple of {len(maps)}")
    return at_least_float32(maps)


def row_norm(values: Tensor) -> Tensor:
    """Compute the Euclidean norm of each row (R, ...), (R,)."""
    norm: Tensor = torch.linalg.vector_norm(values.flatten(1), dim=1)
    return norm
