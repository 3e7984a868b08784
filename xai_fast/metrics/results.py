"""What metrics of faithfulness take and give alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict

from numpy.typing import NDArray
from torch import Tensor

from xai_fast.engine.call import Call
from xai_fast.engine.objective import Objective, Target
from xai_fast.terminal import ShortRepr

__all__ = ["Array", "CallOptions", "MetricResult", "Model", "ModelCallOptions", "make_call"]

Array: TypeAlias = "Tensor | NDArray[Any]"
Model: TypeAlias = Callable[..., object]


class ModelCallOptions(TypedDict, total=False):
    """How the model is called, the same for all metrics.

    Attributes:
        target: None for the class predicted for the unchanged input, a class, a class per item, or a callable from the
            outputs to scores; it stays the same for all changes of an item.
        additional_forward_args: further arguments of the model, one or a tuple; tensors with B rows are taken by row.
        item_ids: (B,) identities of the items, for what is random; their positions by default.
        internal_batch_size: the most rows that reach the model at once, which bounds the memory.
    """

    target: Target
    additional_forward_args: object
    item_ids: Sequence[int] | Tensor | None
    internal_batch_size: int | None


class CallOptions(ModelCallOptions, total=False):
    """How the model is called, see `ModelCallOptions`, by metrics of any score.

    Attributes:
        score: one of `xai_fast.engine.objective.SCORES`; by default the probability of several classes, and a single
            output itself.
    """

    score: str


@dataclass(frozen=True, repr=False)
class MetricResult(ShortRepr):
    """A metric of each item.

    Attributes:
        values: (B,) the metric.
        evaluations: (B,) int64, rows of the item that went through the model.
        targets: (B,) int64, the class that the scores are about; None where there are no classes.
        curves: (B, ...) what the values sum up, as the metric says; None where there is nothing.
    """

    values: Tensor
    evaluations: Tensor
    targets: Tensor | None
    curves: Tensor | None = None


def make_call(model: Model, inputs: Array, target: Target = None, score: str = "auto", **options: Any) -> Call:
    """Check a batch and how the model is called, see `CallOptions`."""
    return Call.of(model, inputs, Objective(target, score), **options)
