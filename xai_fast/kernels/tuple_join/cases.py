"""Parents, scores and edge inputs of `tuple_join` and `tuple_top_k`; tests and benchmarks read them here.

There is no tolerance: all backends give the same sets and the same values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_fast.kernels.combinations import count as number_of_sets
from xai_fast.kernels.combinations import unrank

__all__ = ["CASES", "TOP_CASES", "Case", "TopCase", "distinct_sets"]


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
    min_support: int = 1
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
            "min_support": self.min_support,
        }


@dataclass(frozen=True)
class TopCase:
    """One input of `tuple_top_k`: ``so_far`` of the k are there, then there are ``candidates``."""

    name: str
    k: int
    candidates: int
    so_far: int = 0
    order: int = 3
    dtype: torch.dtype = torch.float32
    ties: bool = False
    special: tuple[float, ...] = ()

    def arguments(self, device: str = "cpu") -> dict[str, Any]:
        """Build the arguments. What nobody may read holds NaN, or -7."""
        generator = torch.Generator().manual_seed(9)
        total = self.so_far + self.candidates
        sets = distinct_sets(total, self.order, 60, generator)
        values = torch.randn(total, dtype=self.dtype, generator=generator)
        values = values.round() if self.ties else values
        values[: len(self.special)] = torch.tensor(self.special, dtype=self.dtype)
        shuffled = torch.randperm(total, generator=generator)
        values = values[shuffled]
        best_values = torch.full((self.k,), torch.nan, dtype=self.dtype)
        best_tuples = torch.full((self.k, self.order), -7, dtype=torch.int32)
        strength = [math.inf if math.isnan(value) else value for value in values[: self.so_far].tolist()]
        rows = sets[: self.so_far].tolist()
        best = sorted(range(self.so_far), key=lambda i: (-strength[i], rows[i]))
        best_values[: self.so_far] = values[: self.so_far][best]
        best_tuples[: self.so_far] = sets[: self.so_far][best]
        tensors = {
            "best_values": best_values,
            "best_tuples": best_tuples,
            "best_count": torch.tensor([self.so_far]),
            "values": values[self.so_far :],
            "tuples": sets[self.so_far :],
        }
        return {name: tensor.contiguous().clone().to(device) for name, tensor in tensors.items()}


CASES = (
    Case("one parent", parents=1, order=1, features=2),
    Case("odd", parents=7, order=2, features=9),
    Case("all pairs", parents=36, order=2, features=9),
    Case("order one", parents=5, order=1, features=33),
    Case("supported", parents=60, order=2, features=13, min_support=3),
    Case("supported twice", parents=60, order=3, features=11, min_support=2),
    Case("order five", parents=40, order=5, features=12),
    Case("several blocks", parents=90, order=3, features=40),
    Case("a window", parents=90, order=3, features=40, window=(1234, 2999)),
    Case("nothing to do", parents=9, order=2, features=8, window=(5, 5)),
    Case("all features in the parent", parents=1, order=4, features=4),
    Case("many features", parents=3, order=2, features=100_000, window=(99_300, 100_700)),
    Case("a full table", parents=32, order=2, features=9, min_support=2),
    Case("a row that falls", 0, 2, 5, rows=((0, 1), (3, 2), (1, 1))),
    Case("a feature twice", 0, 3, 5, rows=((0, 1, 3), (0, 2, 4), (1, 1, 4))),
    Case("too large a feature", 0, 2, 5, rows=((0, 1), (2, 3), (3, 5))),
    Case("a negative feature", 0, 1, 5, rows=((-1,), (2,))),
    Case("a row twice", 0, 2, 5, rows=((0, 1), (2, 3), (1, 4), (2, 3), (2, 3), (0, 1))),
)

NAN, INF = math.nan, math.inf
TOP_CASES = (
    TopCase("one of one", k=1, candidates=1),
    TopCase("odd", k=5, candidates=63),
    TopCase("one of many", k=1, candidates=700, so_far=1),
    TopCase("some so far", k=40, candidates=300, so_far=17),
    TopCase("all so far", k=40, candidates=300, so_far=40),
    TopCase("larger than the candidates", k=500, candidates=33, so_far=2),
    TopCase("several blocks", k=300, candidates=2000, so_far=299),
    TopCase("ties", k=100, candidates=900, so_far=60, ties=True),
    TopCase("all tie", k=70, candidates=600, so_far=70, ties=True, special=(2.0,) * 670),
    TopCase("float64", k=100, candidates=600, so_far=50, order=2, dtype=torch.float64),
    TopCase("not finite", k=9, candidates=40, so_far=4, special=(NAN, INF, -INF, NAN, -0.0, 0.0, INF, NAN, NAN, NAN)),
    TopCase("minus infinity", k=30, candidates=50, special=(-INF,) * 45),
    TopCase("long rows", k=20, candidates=400, so_far=20, order=9, ties=True),
)
