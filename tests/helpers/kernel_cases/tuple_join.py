"""Parents and edge inputs of `tuple_join`; tests and benchmarks read them here.

There is no tolerance: all backends give the same sets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_fast.kernels.combinations import count as number_of_sets
from xai_fast.kernels.combinations import unrank

__all__ = ["CASES", "Case", "distinct_sets"]


def distinct_sets(sets: int, order: int, features: int, generator: torch.Generator) -> Tensor:
    """Return that many different sets of ``order`` of the features, in random order, (sets, order) int32."""
    total = number_of_sets(features, order)
    if total <= 1 << 20:
        ranks = torch.randperm(total, generator=generator)[:sets]
    else:
        drawn = torch.tensor(sorted(set(torch.randint(total, (2 * sets + 10,), generator=generator).tolist())))
        ranks = drawn[torch.randperm(drawn.numel(), generator=generator)[:sets]]
    return unrank(ranks, order).int()


@dataclass(frozen=True)
class Case:
    """One input of `tuple_join`: random parents, or ``rows``; all positions, or ``window`` of them."""

    name: str
    parents: int
    order: int
    features: int
    window: tuple[int, int] | None = None
    rows: tuple[tuple[int, ...], ...] | None = None

    def arguments(self, device: str = "cpu") -> dict[str, Any]:
        """Build the arguments. What is overwritten holds -7."""
        generator = torch.Generator().manual_seed(8)
        if self.rows is None:
            parents = distinct_sets(self.parents, self.order, self.features, generator)
        else:
            parents = torch.tensor(self.rows, dtype=torch.int32).reshape(-1, self.order)
        begin, end = self.window or (0, parents.shape[0] * self.features)
        return {
            "out": torch.full((end - begin, self.order + 1), -7, dtype=torch.int32, device=device),
            "count": torch.full((1,), -7, dtype=torch.int64, device=device),
            "parents": parents.to(device),
            "features": self.features,
            "begin": begin,
            "end": end,
        }


CASES = (
    Case("no parents", parents=0, order=2, features=5),
    Case("one parent", parents=1, order=1, features=2),
    Case("odd", parents=7, order=2, features=9),
    Case("all pairs", parents=36, order=2, features=9),
    Case("order one", parents=5, order=1, features=33),
    Case("many subsets", parents=60, order=2, features=13),
    Case("many subsets, order three", parents=60, order=3, features=11),
    Case("order five", parents=40, order=5, features=12),
    Case("several blocks", parents=90, order=3, features=40),
    Case("a window", parents=90, order=3, features=40, window=(1234, 2999)),
    Case("nothing to do", parents=9, order=2, features=8, window=(5, 5)),
    Case("all features in the parent", parents=1, order=4, features=4),
    Case("many features", parents=3, order=2, features=100_000, window=(99_300, 100_700)),
    Case("a full table", parents=32, order=2, features=9),
    Case("a row that falls", 0, 2, 5, rows=((0, 1), (3, 2), (1, 1))),
    Case("a feature twice", 0, 3, 5, rows=((0, 1, 3), (0, 2, 4), (1, 1, 4))),
    Case("too large a feature", 0, 2, 5, rows=((0, 1), (2, 3), (3, 5))),
    Case("a negative feature", 0, 1, 5, rows=((-1,), (2,))),
    Case("a row twice", 0, 2, 5, rows=((0, 1), (2, 3), (1, 4), (2, 3), (2, 3), (0, 1))),
)
