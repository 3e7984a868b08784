"""Grad-CAM and Grad-CAM++ in a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from xai_fast.attribution.gradcam import GradCAM, GradCAMPlusPlus
from xai_fast.engine.objective import Objective
from xai_fast.errors import bad_argument
from xai_fast.jobs.explainers.base import BatchExplainer, Chunk, Explained
from xai_fast.jobs.explainers.shared import layer_pass

__all__ = ["BatchGradCAM", "BatchGradCAMPlusPlus"]


class BatchGradCAM(BatchExplainer):
    """Class activation maps at the resolution of the layer, unless ``upsample`` says otherwise.

    Fields: ``attributions`` (h, w), ``scores``, ``targets``. Explainers of one layer share the pass through the model,
    and those of one score its gradient too.

    Args:
        model: in evaluation mode.
        parameters: of `xai_fast.GradCAM`; "layer" is needed.
        seed: not used.

    Raises:
        InputError: a parameter is out of range, or there is no such layer.
    """

    method: type[GradCAM] = GradCAM

    def __init__(self, model: nn.Module, parameters: Mapping[str, Any], seed: int) -> None:
        del seed
        given = dict(parameters)
        if "layer" not in given:
            raise bad_argument("layer", "the dotted name of a layer, one of model.named_modules()", "none")
        if isinstance(given.get("upsample"), list):
            given["upsample"] = tuple(given["upsample"])
        self._model = model
        self._method = self.method(model, **given)

    def explain(self, chunk: Chunk) -> Explained:
        """Compute the maps of a chunk."""
        passed, new = layer_pass(chunk, self._model, self._method.layer)
        before = 0.0 if new else passed.seconds
        scores, classes, gradient = passed.gradient(Objective(chunk.target, self._method.score))
        with torch.no_grad():
            maps = self._method.from_gradient(passed.activation, gradient, chunk.inputs)
        fields = {"attributions": maps, "scores": scores}
        if classes is not None:
            fields["targets"] = classes
        seconds = None if passed.seconds is None or before is None else passed.seconds - before
        return Explained(fields, len(chunk.inputs) if new else 0, model_seconds=seconds)


class BatchGradCAMPlusPlus(BatchGradCAM):
    """As `BatchGradCAM`, with the weights of Grad-CAM++."""

    method = GradCAMPlusPlus
