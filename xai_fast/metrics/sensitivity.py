"""How far an explanation moves when its input moves a little: max and average sensitivity, local Lipschitz estimate.

Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, section
4; average sensitivity: Bhatt, Weller and Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI
2020, Definition 2; Alvarez-Melis and Jaakkola, "On the Robustness of Interpretability Methods", 2018, Eq. 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_integer, check_positive
from xai_fast.engine.draws import MAX_SEED
from xai_fast.method import Method
from xai_fast.metrics.explained import Explained, MethodCallOptions, only_map, row_norm
from xai_fast.metrics.results import Array, MetricResult

__all__ = ["Sensitivity", "sensitivity"]


@dataclass(frozen=True, repr=False, kw_only=True)
class Sensitivity(MetricResult):
    """Sensitivity of the explanation of each item; smaller is better in all three.

    Attributes:
        values: (B,) max sensitivity, the largest change of the map, ``norm(e(x') - e(x))``; in units of
            ``norm(e(x))`` where ``relative`` (of a map of zeros as it is).
        average: (B,) the mean of these changes.
        lipschitz: (B,) the largest ``norm(e(x') - e(x)) / norm(x' - x)``.
    """

    average: Tensor
    lipschitz: Tensor


def sensitivity(
    method: Method[Any],
    inputs: Array,
    *,
    samples: int = 10,
    radius: float = 0.02,
    perturbation: str = "box",
    relative: bool = True,
    seed: int = 0,
    **call: Unpack[MethodCallOptions],
) -> Sensitivity:
    """Explain each item again under small changes of it, and measure how far its map moves.

    All three numbers come from the same explanations. Each costs what an explanation costs, ``samples + 1`` per item.

    Args:
        method: explains; one that draws random numbers draws the same for an item and its changes.
        inputs: (B, ...), see `Method.explain`.
        samples: changed inputs per item.
        radius: of the changes, in the model's input units.
        perturbation: ``"box"``, every entry uniform within the radius, or ``"normal"``, the radius being the standard
            deviation.
        relative: divide by the norm of the unchanged map, so that methods of other units compare.
        seed: of the changes, which depend on it and on the item alone.
        **call: see `xai_fast.metrics.MethodCallOptions`.

    Returns:
        The three numbers of each item.

    Raises:
        InputError: an argument does not fit.
        ModelError: see `Method.explain`.
    """
    samples = check_integer("samples", samples, 1, MAX_SEED)
    radius = check_positive("radius", radius)
    seed = check_integer("seed", seed, 0, MAX_SEED)
    of = Explained(method, inputs, **call)
    evaluations = of.clean.evaluations.clone()
    moved = torch.empty(of.call.batch * samples, dtype=of.maps.dtype, device=of.maps.device)
    steepness = torch.empty_like(moved)
    for chunk, item, rows, found in of.perturbed(samples, radius, perturbation, seed):
        moved[chunk] = row_norm(only_map(found) - of.maps[item])
        steepness[chunk] = moved[chunk] / row_norm(rows - of.inputs[item])
        evaluations.index_add_(0, item, found.evaluations)
    changes = moved.view(-1, samples)
    if relative:
        size = row_norm(of.maps)[:, None]
        changes = changes / torch.where(size == 0, 1, size)
    return Sensitivity(
        values=changes.amax(1),
        evaluations=evaluations,
        targets=of.clean.targets,
        average=changes.mean(1),
        lipschitz=steepness.view(-1, samples).amax(1),
    )
