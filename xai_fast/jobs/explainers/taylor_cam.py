"""Taylor-CAM in a job."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument
from xai_fast.interaction.interaction_map import InteractionMap
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.jobs.explainers.base import BatchExplainer, Chunk, Explained
from xai_fast.jobs.explainers.shared import layer_pass

__all__ = ["BatchTaylorCAM"]

_MEMORY_LIMIT = 1 << 30
_FLAT = (
    "all interactions are zero: the score is saturated, or no path behind the layer bends; explain "
    'score="probability" or "log_probability", or pass smooth="gelu" or "softplus"'
)


class BatchTaylorCAM(BatchExplainer):
    """Interactions between the cells of a layer's map.

    Fields: ``cells`` (k, order, 2), row and column of the cells of the k strongest interactions (one number for
    tokens), ``saliency`` (k,) how strong they are, ``scores`` and ``targets``; where the cells lie in the picture,
    ``boxes`` (k, order, 4), x0, y0, x1, y1 in pixels of the model's input, and its ``input_size`` (height, width), if
    that is known. Where an item has fewer than k, the rest has cells -1, no salience and boxes of zeros. With ``full``,
    ``saliency`` has them all instead, (n, ..., n), and there are no cells.

    Args:
        model: in evaluation mode.
        parameters: of `xai_fast.TaylorCAM`, "layer" is needed; "top_k", 20 by default; "full". The memory limit is a
            gigabyte unless it is given, not half of what is free, so that equal chunks give equal bits everywhere.
        seed: not used.

    Raises:
        InputError: a parameter is out of range, or there is no such layer.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, Any], seed: int) -> None:
        del seed
        given = {"memory_limit": _MEMORY_LIMIT, **parameters}
        if "layer" not in given:
            raise bad_argument("layer", "the dotted name of a layer, one of model.named_modules()", "none")
        self._full = given.pop("full", False)
        if not isinstance(self._full, bool):
            raise bad_argument("full", "True or False", repr(self._full))
        self._top_k = check_integer("top_k", given.pop("top_k", 20), 1)
        self._model = model
        self._method = TaylorCAM(model, **given)
        self._layer = str(self._method.settings["layer"])

    @property
    def settings(self) -> dict[str, object]:
        """The options that are in effect, with those of the fields."""
        return {**super().settings, "top_k": self._top_k, "full": self._full}

    def explain(self, chunk: Chunk) -> Explained:
        """Compute the interactions of a chunk."""
        started = time.perf_counter()
        forward_pass, evaluations = self._forward_pass(chunk)
        seconds = time.perf_counter() - started if chunk.inputs.device.type == "cpu" else None
        with warnings.catch_warnings():
            # Said with the items themselves, or of no use where nobody looks at boxes.
            warnings.filterwarnings("ignore", message="all interactions of the items")
            warnings.filterwarnings("ignore", message="no boxes in the image")
            found = self._method.attribute(chunk.inputs, target=chunk.target, forward_pass=forward_pass)
        flat = (found.saliency.flatten(1) == 0).all(1) & (self._method.order > 1)
        fields = {"saliency": found.saliency} if self._full else self._strongest(found)
        fields["scores"] = found.scores
        if found.targets is not None:
            fields["targets"] = found.targets
        # Whether an item fails must not depend on the others: the method itself raises where all are flat.
        reasons = {position: _FLAT for position in flat.nonzero().flatten().tolist()}
        return Explained(fields, evaluations, reasons=reasons, model_seconds=seconds)

    def _forward_pass(self, chunk: Chunk) -> tuple[tuple[Tensor, Tensor] | None, int]:
        """Give the pass that Grad-CAM made at this layer, or makes next; none where the pass is one of its own."""
        if self._method.smooth is not None or "#" in self._layer:
            return None, len(chunk.inputs)
        passed, new = layer_pass(chunk, self._model, self._layer)
        evaluations = len(chunk.inputs) if new else 0
        if not isinstance(passed.outputs, Tensor):
            return None, evaluations + len(chunk.inputs)
        return (passed.activation.detach(), passed.outputs.detach()), evaluations

    def _strongest(self, found: InteractionMap) -> dict[str, Tensor]:
        shape = (len(found), self._top_k, found.order, len(found.grid))
        cells = torch.full(shape, -1, dtype=torch.int32)
        saliency = torch.zeros(shape[:2], dtype=found.saliency.dtype)
        finite = found.saliency.flatten(1).isfinite().all(1).cpu()
        saliency[~finite] = float("nan")
        for item in finite.nonzero().flatten().tolist():
            interactions = found[item].top_k(self._top_k)[0]
            if interactions:
                cells[item, : len(interactions)] = torch.tensor([i.cells for i in interactions], dtype=torch.int32)
                saliency[item, : len(interactions)] = torch.tensor([i.saliency for i in interactions]).to(saliency)
        return {"cells": cells, "saliency": saliency, **self._boxes(found, finite)}

    def _boxes(self, found: InteractionMap, finite: Tensor) -> dict[str, Tensor]:
        """Say where the cells lie in the picture, if that is known."""
        if found.geometry is None or len(found.geometry.axes) != 2:
            return {}
        boxes = torch.zeros(len(found), self._top_k, found.order, 4)
        for item in finite.nonzero().flatten().tolist():
            corners = found[item].boxes(self._top_k)[0]
            if corners:
                boxes[item, : len(corners)] = torch.tensor(corners)
        size = torch.tensor(found.geometry.image, dtype=torch.int32)
        return {"boxes": boxes, "input_size": size.expand(len(found), 2).clone()}
