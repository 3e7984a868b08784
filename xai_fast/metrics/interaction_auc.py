"""How well ranked interactions agree with the true ones: AUC of pairs and of higher orders, and R-precision.

Source: Tsang, Cheng and Liu, "Detecting statistical interactions from neural network weights", ICLR 2018, sections 5.2
and 5.3; Lerman et al., "Explaining local, global, and higher-order interactions in deep learning", ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from xai_fast.arguments import as_tensor, check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.order_ranking import FeatureInteraction

__all__ = ["area_under_roc", "interaction_auc", "interaction_auc_on_union", "is_interaction", "r_precision"]


def area_under_roc(strengths: Tensor, positive: Tensor) -> Tensor:
    """Compute the area under the ROC curve: how often a positive is stronger than a negative, a tie counting half.

    Args:
        strengths: (..., n) of a floating type; many rankings of the same n things at once.
        positive: (n,) bool, at least one of each.

    Returns:
        (...) float64, from 0 to 1; 0.5 is chance.

    Raises:
        InputError: shapes or types do not fit, a strength is NaN, or all are positive or none is.
    """
    strengths, positive = as_tensor(strengths), as_tensor(positive)
    if positive.dtype != torch.bool or positive.ndim != 1 or strengths.shape[-1:] != positive.shape:
        raise bad_argument("positive", f"bool ({strengths.shape[-1:].numel()},)", f"{positive.dtype} {positive.shape}")
    if not strengths.is_floating_point() or bool(strengths.isnan().any()):
        raise bad_argument("strengths", "a floating type without NaN", f"{strengths.dtype}, or NaN")
    positives = int(positive.sum())
    negatives = positive.numel() - positives
    if not positives or not negatives:
        raise bad_argument("positive", "at least one true and one false", f"{positives} true, {negatives} false")
    ordered = strengths.sort(-1).values.contiguous()
    wanted = strengths[..., positive].contiguous()
    # Mann and Whitney: ranks of the positives, where ties share the mean of their ranks.
    below = torch.searchsorted(ordered, wanted)
    up_to = torch.searchsorted(ordered, wanted, right=True)
    ranks = (below + up_to + 1).double().sum(-1) / 2
    return (ranks - positives * (positives + 1) / 2) / (positives * negatives)


def is_interaction(features: Collection[int], truth: Collection[Collection[int]]) -> bool:
    """Tell whether a set of features is part of a true interaction; the parts of what interacts interact too."""
    return any(set(features) <= set(known) for known in truth)


def _by_position(truth: Collection[Collection[int | str]], ranking: InteractionRanking) -> list[set[int]]:
    if not isinstance(ranking, InteractionRanking):
        raise bad_argument("ranking", "an InteractionRanking", type(ranking).__name__)
    try:
        return [set(ranking.indices(tuple(set(members)))) for members in truth]
    except (TypeError, InputError) as error:
        raise bad_argument("truth", "sets of features of the ranking, by name or position", repr(truth)) from error


def interaction_auc(ranking: InteractionRanking, truth: Collection[Collection[int | str]], order: int = 2) -> float:
    """Return the AUC, from 0 to 1, of a ranking's sets of an order: parts of a true interaction are positives.

    The truth is the largest true interactions, by name or position; for the published pairwise AUC, all pairs are
    ranked. An `InputError` says that there is no such order or feature, or no positive or no negative set.
    """
    known = _by_position(truth, ranking)
    sets = ranking.order(order)
    positive = torch.tensor([is_interaction(members, known) for members in sets.sets.tolist()], dtype=torch.bool)
    return float(area_under_roc(torch.from_numpy(sets.strength), positive))


def interaction_auc_on_union(
    found: Sequence[InteractionRanking], truth: Collection[Collection[int | str]], order: int
) -> list[float] | None:
    """Compute the AUC of several methods at one order, on all sets that any of them found.

    Args:
        found: the ranking of each method, of the same features; a set that it did not find has strength 0.
        truth: the largest true interactions, by name or position.
        order: features per set; other sets are left out.

    Returns:
        One AUC per method, or None where all sets of the union are positives, or none is, so that there is nothing to
        tell apart.

    Raises:
        InputError: the order is below 2, or there is no such feature.
    """
    check_integer("order", order, 2)
    known = _by_position(truth, found[0]) if found else []
    tables = [
        dict(zip(map(tuple, of.sets.tolist()), of.strength.tolist(), strict=True)) if of is not None else {}
        for of in (ranking.orders.get(order) for ranking in found)
    ]
    union = sorted({members for table in tables for members in table})
    positive = torch.tensor([is_interaction(members, known) for members in union], dtype=torch.bool)
    if not 0 < int(positive.sum()) < len(union):
        return None
    values = torch.tensor([[table.get(s, 0.0) for s in union] for table in tables], dtype=torch.float64)
    return [float(value) for value in area_under_roc(values, positive)]


def r_precision(
    ranking: InteractionRanking | Sequence[FeatureInteraction] | Sequence[Collection[int]],
    truth: Collection[Collection[int | str]],
) -> float:
    """Compute the share of exact hits among the first R of a ranking, R being the number of true interactions.

    A set that is a proper part of a true interaction is neither a hit nor a miss and is passed over.

    Args:
        ranking: its interactions without redundant subsets, those of all orders by the magnitude of their effects; or
            sets of features by position, the strongest first, of any order and without redundant subsets.
        truth: the largest true interactions, by position; for an `InteractionRanking` also by name.

    Returns:
        From 0 to 1.

    Raises:
        InputError: there are no true interactions, or there is no such feature.
    """
    if isinstance(ranking, InteractionRanking):
        truth = _by_position(truth, ranking)
        ranking = ranking.prune_redundant().top(len(ranking) or 1, mixed=True)
    known = {frozenset(s) for s in truth}
    if not known:
        raise bad_argument("truth", "at least one interaction", "none")
    sets = (frozenset(s.indices if isinstance(s, FeatureInteraction) else s) for s in ranking)
    counted = [s for s in sets if not any(s < k for k in known)][: len(known)]
    return len(set(counted) & known) / len(known)
