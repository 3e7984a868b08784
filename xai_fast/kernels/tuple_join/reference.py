"""Extensions by Python's sets: the definition of the kernel, and the fallback."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["run"]


def run(out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int) -> None:
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
        if min(number_of[subset] for subset in subsets if subset in number_of) == number:
            kept.append(sorted(candidate))
    if kept:
        out[: len(kept)] = torch.tensor(kept, dtype=out.dtype, device=out.device)
    count.fill_(len(kept))
