"""Extensions and the best of them in Python's sets and sorting: the definition of the kernel, and the fallback."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["run", "run_top_k", "why_not"]


def why_not(tensors: Sequence[Tensor]) -> str | None:
    """Return None: Python's sets are everywhere."""
    return None


def run(out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int, min_support: int) -> None:
    """Run the contract of `xai_fast.kernels.tuple_join.tuple_join`."""
    rows = parents.tolist()
    number_of: dict[frozenset[int], int] = {}
    for number, row in enumerate(rows):
        rises = row == sorted(set(row)) and row[0] >= 0 and row[-1] < features
        if not rises or frozenset(row) in number_of:
            count.fill_(-1 - number)
            return
        number_of[frozenset(row)] = number
    kept = []
    for position in range(begin, end):
        number, feature = divmod(position, features)
        candidate = {*rows[number], feature}
        if len(candidate) == len(rows[number]):
            continue
        subsets = (frozenset(candidate - {left_out}) for left_out in candidate)
        support = [number_of[subset] for subset in subsets if subset in number_of]
        if min(support) == number and len(support) >= min_support:
            kept.append(sorted(candidate))
    if kept:
        out[: len(kept)] = torch.tensor(kept, dtype=out.dtype, device=out.device)
    count.fill_(len(kept))


def run_top_k(best_values: Tensor, best_tuples: Tensor, best_count: Tensor, values: Tensor, tuples: Tensor) -> None:
    """Run the contract of `xai_fast.kernels.tuple_join.tuple_top_k`."""
    k, so_far = best_values.shape[0], int(best_count.clamp(0, best_values.shape[0]))
    all_values = torch.cat((best_values[:so_far], values))
    all_tuples = torch.cat((best_tuples[:so_far], tuples))
    strength = [math.inf if math.isnan(value) else value for value in all_values.tolist()]
    rows = all_tuples.tolist()
    best = sorted(range(len(rows)), key=lambda i: (-strength[i], rows[i]))[:k]
    chosen = torch.tensor(best, dtype=torch.int64, device=values.device)
    best_values[: len(best)] = all_values[chosen]
    best_tuples[: len(best)] = all_tuples[chosen]
    best_count.fill_(len(best))
