"""The method: estimators explained feature by feature."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from xai_fast.engine.call import Call
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.method import Method
from xai_fast.neuralize.estimators import neuralize
from xai_fast.neuralize.network import Neuralized

__all__ = ["Neuralize"]


class Neuralize(Method[Explanation]):
    """Relevance of the features for what a density, one-class model, clustering or kernel machine says of rows.

    Attributions are like the inputs (B, ...).

    Cost: ``1`` evaluation per row, and a pass back through the network that stands for the estimator.
    Limits: values sum to the score but for constants of the model, such as a density's normalisation or an intercept,
    and for what a unit at the very place of the row holds. Other estimators, such as trees, are refused.

    Args:
        model: an estimator that `xai_fast.neuralize` takes, or what it returned, there with options.

    Raises:
        InputError: the estimator does not fit.
    """

    name = "neuralize"
    score = "output"
    model: Neuralized

    def __init__(self, model: Any) -> None:
        super().__init__(model if isinstance(model, Neuralized) else neuralize(model))

    def _explain(self, call: Call) -> Explanation:
        if callable(call.objective.target):
            raise bad_argument("target", "None, a class or a cluster, or one per item", "a callable")
        rows = min(call.rows, max(1, 2**17 // self.model.entries))  # the memory does not grow with the batch
        parts: dict[
            str, torch.Tensor
        ] = {}  # written in place: small results between large ones would keep the heap in pieces
        with torch.autocast(call.device.type, enabled=False):
            for chunk in dataclasses.replace(call, rows=rows).chunks():
                for key, part in self._chunk(call, chunk).tensors().items():
                    parts.setdefault(key, part.new_empty(call.batch, *part.shape[1:]))[chunk.start : chunk.stop] = part
        return Explanation.from_parts(parts, {"kind": "Explanation"})

    def _chunk(self, call: Call, chunk: range) -> Explanation:
        model, (x,) = self.model, call.take(chunk)
        seen: Any = call.run([x], call.positions(chunk), model.activate)
        outputs = model.scoring(seen[2])
        targets = call.targets(outputs, chunk)
        shares = model.scoring.shares(seen[2], None if outputs.ndim == 1 else targets)
        found, kept = model.spread(seen, shares, torch.finfo(x.dtype).eps)
        if outputs.ndim == 1 and targets is not None:
            found = torch.where(targets[:, None] == 1, found, -found)
        return Explanation(
            attributions=found.to(x.dtype).reshape(x.shape),
            scores=call.objective(outputs, targets).to(x.dtype),
            targets=targets,
            evaluations=torch.ones_like(call.positions(chunk)),
            facts={"no_relevance": found.eq(0).all(1), "own_unit": kept},
        )
