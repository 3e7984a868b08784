"""How far an explanation moves, in proportion to how far the input, the output or a representation moves.

Agarwal, Johnson, Pawelczyk, Krishna, Saxena, Zitnik and Lakkaraju, "Rethinking Stability for Attribution-based
Explanations", 2022: RIS (Eq. 2), RRS (Eq. 3) and ROS (Eq. 5).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_integer, check_positive
from xai_fast.engine.draws import MAX_SEED
from xai_fast.engine.layers import Layer, capture_output, find_layer
from xai_fast.method import Method
from xai_fast.metrics.explained import Explained, MethodCallOptions, only_map, row_norm
from xai_fast.metrics.results import Array, MetricResult

__all__ = ["RelativeStability", "relative_stability"]

_SMALLEST = 1e-6
"""In the place of a zero that would be divided by."""


@dataclass(frozen=True, repr=False, kw_only=True)
class RelativeStability(MetricResult):
    """Relative stability of the explanation of each item; smaller is better in all three.

    Each is the largest ratio over the changed inputs of which the model predicts the same class (any, for a single
    output); NaN where there is none.

    Attributes:
        values: (B,) RIS, by the relative change of the input.
        output: (B,) ROS, by the change of the model's outputs, or of the score of a callable target.
        representation: (B,) RRS, by the relative change of the layer's output; None without a layer.
        kept: (B,) int64, the changed inputs that have the same class.
    """

    output: Tensor
    representation: Tensor | None
    kept: Tensor


def relative_stability(
    method: Method[Any],
    inputs: Array,
    *,
    layer: Layer | None = None,
    samples: int = 10,
    radius: float = 0.05,
    perturbation: str = "box",
    seed: int = 0,
    **call: Unpack[MethodCallOptions],
) -> RelativeStability:
    """Explain each item again under small changes of it, and set the change of the map beside that of the model.

    All numbers come from the same explanations, ``samples + 1`` per item, and as many passes forward.

    Args:
        method: see `xai_fast.metrics.sensitivity`, like all that is not here.
        inputs: see there.
        layer: whose output is the representation; a submodule or its dotted name, None for no RRS.
        samples: see there.
        radius: see there.
        perturbation: see there.
        seed: see there.
        **call: see there.

    Returns:
        The numbers of each item.

    Raises:
        InputError: an argument does not fit.
        ModelError: see `Method.explain`.
    """
    samples = check_integer("samples", samples, 1, MAX_SEED)
    radius = check_positive("radius", radius)
    seed = check_integer("seed", seed, 0, MAX_SEED)
    name = None if layer is None else find_layer(method.model, layer)[0]
    of = Explained(method, inputs, **call)
    everyone = torch.arange(of.call.batch, device=of.call.device)
    parts = [_seen(of, name, of.inputs[chunk], everyone[chunk]) for chunk in of.row_chunks(of.call.batch)]
    seen = [torch.cat(column) for column in zip(*parts, strict=True)]
    evaluations = of.clean.evaluations + 1
    ratios = of.maps.new_empty(len(seen), of.call.batch * samples)
    for chunk, item, rows, found in of.perturbed(samples, radius, perturbation, seed):
        moved = row_norm(_relative(only_map(found), of.maps[item]))
        classes, outputs, *inner = _seen(of, name, rows, item)
        divisors = [_relative(rows, of.inputs[item]), outputs - seen[1][item]]
        divisors += [_relative(there, here[item]) for there, here in zip(inner, seen[2:], strict=True)]
        same = classes == seen[0][item]
        for ratio, divisor in zip(ratios, divisors, strict=True):
            ratio[chunk] = torch.where(same, moved / row_norm(divisor).clamp(min=_SMALLEST), -torch.inf)
        evaluations.index_add_(0, item, found.evaluations + 1)
    largest = ratios.view(len(seen), -1, samples).amax(2)
    largest = torch.where(largest.isneginf(), torch.nan, largest)
    return RelativeStability(
        values=largest[0],
        evaluations=evaluations,
        targets=of.clean.targets,
        kept=(~ratios[0].view(-1, samples).isneginf()).sum(1),
        output=largest[1],
        representation=largest[2] if name else None,
    )


def _relative(there: Tensor, here: Tensor) -> Tensor:
    return (there - here) / torch.where(here == 0, _SMALLEST, here)


def _seen(of: Explained, layer: str | None, rows: Tensor, item: Tensor) -> list[Tensor]:
    """Give predicted classes (r,), outputs (r, C), and the layer's output (r, ...), of rows."""
    inner = contextlib.nullcontext() if layer is None else capture_output(of.method.model, layer)
    with of.call.context(), inner as captured:
        outputs = of.call.run([of.call.formatted(rows.clone())], item)
    objective = of.call.objective
    logits = objective(outputs, None)[:, None] if callable(objective.target) else objective.logits(outputs)
    return [logits.argmax(1), logits] + ([] if captured is None else [captured.tensor])
