"""Does an explanation depend on the class? The map of the class against that of another, drawn at random.

Sixt, Granz and Landgraf, "When Explanations Lie: Why Many Modified BP Attributions Fail", ICML 2020, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_integer
from xai_fast.engine.draws import MAX_SEED, random_words
from xai_fast.errors import bad_argument
from xai_fast.method import Method
from xai_fast.metrics.explained import Explained, MethodCallOptions, only_map
from xai_fast.metrics.results import Array, MetricResult
from xai_fast.metrics.similarity import map_similarity

__all__ = ["RandomLogit", "random_logit"]


@dataclass(frozen=True, repr=False, kw_only=True)
class RandomLogit(MetricResult):
    """Similarity of the maps of two classes.

    Attributes:
        values: (B,) smaller is better; 1 for a method that does not look at the class.
        other: (B,) int64, the class drawn.
    """

    other: Tensor


def random_logit(
    method: Method[Any],
    inputs: Array,
    *,
    similarity: str = "ssim",
    seed: int = 0,
    **call: Unpack[MethodCallOptions],
) -> RandomLogit:
    """Explain each item for its class, and for one of the others.

    Args:
        method: explains a model of several classes.
        inputs: (B, ...), see `Method.explain`.
        similarity: see `xai_fast.metrics.SIMILARITIES`; the paper's is ``"ssim"``.
        seed: of the other class, which depends on it and on the item alone; all are equally likely.
        **call: see `xai_fast.metrics.MethodCallOptions`.

    Returns:
        The similarity of each item.

    Raises:
        InputError: an argument does not fit, or there are no other classes.
        ModelError: see `Method.explain`.
    """
    seed = check_integer("seed", seed, 0, MAX_SEED)
    of = Explained(method, inputs, **call)
    items, targets = of.call, of.clean.targets
    if targets is None:
        raise bad_argument("target", "classes of a model that has several", "a callable, or a single output")
    with items.context():
        classes = items.objective.classes(items.run(items.take(range(1)), items.positions(range(1))))
    zeros = torch.zeros_like(items.item_ids)
    drawn = random_words(items.item_ids, zeros, 1, seed)[:, 0] % (max(classes, 2) - 1)
    other = drawn + (drawn >= targets)
    found = of.explain(of.inputs, torch.arange(items.batch, device=items.device), target=other)
    return RandomLogit(
        values=map_similarity(of.maps, similarity)(only_map(found)),
        evaluations=of.clean.evaluations + found.evaluations,
        targets=targets,
        other=other,
    )
