"""What an explainer of a job is given, and what it gives back."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from xai_fast.engine.objective import Target
from xai_fast.jobs.values import plain

__all__ = ["BatchExplainer", "Chunk", "Explained", "Prepare"]


@dataclass
class Chunk:
    """Items that are explained together.

    Attributes:
        inputs: (B, ...) on the model's device.
        target: as methods take it.
        item_ids: (B,) identities for random points.
        passes: forward passes by layer, which explainers of the chunk share; see `shared.layer_pass`.
    """

    inputs: Tensor
    target: Target
    item_ids: Sequence[int]
    passes: dict[object, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """What an explainer found for a chunk.

    Attributes:
        fields: name to (B, ...).
        evaluations: rows that went through the model.
        undefined: fields in which NaN and infinity say something, and are no failure.
        reasons: position to why there is nothing to store for this item.
        model_seconds: spent in the model itself, forward and backward; None where that is not known.
    """

    fields: Mapping[str, Tensor]
    evaluations: int
    undefined: frozenset[str] = frozenset()
    reasons: Mapping[int, str] = field(default_factory=dict)
    model_seconds: float | None = None


class BatchExplainer(abc.ABC):
    """A method with its options and its model."""

    @property
    def settings(self) -> dict[str, object]:
        """The options that are in effect, also those that nobody has given, as JSON holds them."""
        method = getattr(self, "_method", None)
        return {} if method is None else {name: plain(name, value) for name, value in method.settings.items()}

    @abc.abstractmethod
    def explain(self, chunk: Chunk) -> Explained:
        """Explain the items of a chunk.

        Args:
            chunk: at least one item.

        Returns:
            A row an item in each field.
        """


Prepare = Callable[[nn.Module, Mapping[str, object], int], BatchExplainer]
"""From a model, parameters and the job's seed to an explainer."""
