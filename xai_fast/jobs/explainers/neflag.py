"""NeFLAG in a job."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from xai_fast.attribution import NeFLAG
from xai_fast.errors import InputError
from xai_fast.jobs.explainers.base import BatchExplainer, Chunk, Explained
from xai_fast.jobs.explainers.clock import model_clock

__all__ = ["BatchNeFLAG"]


class BatchNeFLAG(BatchExplainer):
    """Maps of fluxes.

    Fields: ``attributions`` like the input, ``scores``, ``targets``, ``negative_points``, ``evaluations``, and
    ``relative_standard_error``, the norm of the map's standard error over the norm of the map.

    Args:
        model: in evaluation mode.
        parameters: of `xai_fast.NeFLAG`.
        seed: of the random points.

    Raises:
        InputError: a parameter is out of range.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, Any], seed: int) -> None:
        self._model = model
        self._method = NeFLAG(model, **parameters, seed=seed)

    def explain(self, chunk: Chunk) -> Explained:
        """Compute the maps of a chunk."""
        with warnings.catch_warnings():
            # The field negative_points says it for each item; the warning knows only positions in the chunk.
            warnings.filterwarnings("ignore", message="NeFLAG found no negative flux")
            timed = contextlib.nullcontext() if self._method.compile else model_clock(self._model)
            with timed as clock:
                result = self._method.explain(chunk.inputs, target=chunk.target, item_ids=chunk.item_ids)
        mean, error = result.attributions, result.standard_error
        if not isinstance(mean, Tensor) or not isinstance(error, Tensor):
            raise InputError("model: expected one input tensor")
        fields = {
            "attributions": mean,
            "scores": result.scores,
            "negative_points": result.negative_points,
            "evaluations": result.evaluations,
            "relative_standard_error": error.flatten(1).norm(dim=1) / mean.flatten(1).norm(dim=1),
        }
        if result.targets is not None:
            fields["targets"] = result.targets
        # Beside the points, each item goes through the model once for its own score.
        evaluations = int(result.evaluations.sum()) + len(mean)
        seconds = None if clock is None else clock.seconds
        return Explained(fields, evaluations, frozenset({"relative_standard_error"}), model_seconds=seconds)
