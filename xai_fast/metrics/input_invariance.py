"""Does an explanation stay when a constant is added to the input, and the model takes it off again?

Kindermans, Hooker, Adebayo, Alber, Schütt, Dähne, Erhan and Kim, "The (Un)reliability of Saliency Methods", 2019,
section 2 (input invariance).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.engine.layers import ModelPart
from xai_fast.engine.masked import Baseline, baseline_inputs
from xai_fast.engine.regions import without_last
from xai_fast.method import Method
from xai_fast.metrics.explained import Explained, MethodCallOptions, only_map, row_norm
from xai_fast.metrics.results import Array, MetricResult

__all__ = ["input_invariance"]


class _Shifted(ModelPart):
    """A model of inputs less a shift, which is the last argument."""

    def forward(self, x: Tensor, *values: Any, **named: Any) -> object:
        """Run the model on ``x - shift``."""
        values, named, shift = without_last(values, named)
        return self.model(x - shift, *values, **named)


def input_invariance(
    method: Method[Any],
    inputs: Array,
    *,
    shift: Baseline = 1.0,
    **call: Unpack[MethodCallOptions],
) -> MetricResult:
    """Explain shifted inputs of a model that takes the shift off: the same function of what was shifted.

    Args:
        method: see `xai_fast.metrics.sensitivity`; it is constructed again for the other model.
        inputs: see there.
        shift: a number, one per channel or column, or a tensor that broadcasts to the inputs.
        **call: see `xai_fast.metrics.MethodCallOptions`.

    Returns:
        (B,) ``norm(e' - e) / norm(e)``, the change of the map; 0 is best. For a map of zeros ``norm(e')``.

    Raises:
        InputError: an argument does not fit.
        ModelError: see `Method.explain`.
    """
    of = Explained(method, inputs, **call)
    added = baseline_inputs("shift", shift, of.inputs).contiguous()
    everyone = torch.arange(of.call.batch, device=of.call.device)
    other = method.with_model(_Shifted(method.model))
    found = of.explain(of.inputs + added, everyone, method=other, last=added)
    size = row_norm(of.maps)
    return MetricResult(
        values=row_norm(only_map(found) - of.maps) / torch.where(size == 0, 1, size),
        evaluations=of.clean.evaluations + found.evaluations,
        targets=of.clean.targets,
    )
