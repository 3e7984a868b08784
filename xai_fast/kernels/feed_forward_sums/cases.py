"""Shapes, dtypes, edge inputs and tolerances of `feed_forward_sums`; tests and benchmarks read them here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import torch

from xai_fast.kernels.feed_forward_rows.cases import Case as RowsCase
from xai_fast.kernels.feed_forward_values.cases import Case as ValuesCase
from xai_fast.kernels.tuple_sum import orders_of
from xai_fast.kernels.tuple_sum.cases import members_of

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 2e-5, torch.float64: 2e-12}
"""Largest error of an entry relative to the largest entry, and of the root mean square."""


@dataclass(frozen=True)
class Case:
    """One input of the kernel: a network of these layers, and all tuples of so many directions, or the first ones."""

    name: str
    items: int
    inputs: int
    layers: tuple[tuple[int, str], ...]
    directions: int
    order: int
    by_item: bool = False
    tuples: int | None = None
    dtype: torch.dtype = torch.float32

    def arguments(self, device: str = "cpu") -> dict[str, Any]:
        """Build the arguments; what is overwritten holds NaN."""
        n, m = orders_of(self.order)
        widths = tuple(width for width, _ in self.layers)
        values = ValuesCase(self.name, self.items, self.inputs, self.layers, self.order, self.dtype).arguments(device)
        rows = RowsCase(self.name, self.items, self.directions, widths, n, m, self.by_item, self.dtype)
        made = rows.arguments(device) | values
        # The rows of pairs and triples by their colexicographic rank, as the members name them.
        for name, size in (("pairs", 2), ("triples", 3)):
            sets = sorted(combinations(range(self.directions), size), key=lambda chosen: chosen[::-1])
            if made[name].shape[0]:
                made[name] = torch.tensor(sets, dtype=torch.int32, device=device)
        rank = {(i, j): self.directions + j * (j - 1) // 2 + i for i, j in combinations(range(self.directions), 2)}
        rest = [(rank[j, k], rank[i, k], rank[i, j]) for i, j, k in made["triples"].tolist()]
        made["triple_pairs"] = torch.tensor(rest, dtype=torch.int32, device=device).reshape(len(rest), 3)
        behind = values["transposed"][self.inputs * widths[0] :]
        shapes = list(pairwise(widths))
        parts = torch.split(behind, [before * after for before, after in shapes])
        matrices = [part.view(shape).T.flatten() for part, shape in zip(parts, shapes, strict=True)]
        tuples = sorted(combinations(range(self.directions), self.order), key=lambda chosen: chosen[::-1])
        members = members_of(tuples[: self.tuples], self.directions, self.order).to(device)
        out = torch.full((self.items, members.shape[0]), torch.nan, dtype=self.dtype, device=device)
        weights = torch.cat([behind[:0], *matrices])
        made |= {"out": out, "weights": weights, "members": members, "order": self.order}
        return {name: made[name] for name in _NAMES}


_NAMES = (
    *("out", "derivatives", "rows", "adjoints", "x", "transposed", "biases", "widths", "activations", "parameters"),
    *("first", "last", "weights", "pairs", "triples", "triple_pairs", "members", "order"),
)

_MLP = ((140, "gelu"), (100, "gelu"), (60, "gelu"), (20, "gelu"))
CASES = (
    Case("odd", 3, 5, ((63, "gelu"), (7, "tanh"), (1, "sigmoid")), directions=5, order=3, by_item=True),
    Case("one layer", 2, 3, ((9, "tanh"),), directions=3, order=2),
    Case("triples", 4, 10, _MLP, directions=10, order=3, by_item=True),
    Case("quintuples", 6, 10, _MLP, directions=7, order=5),
    Case("sextuples", 2, 9, ((34, "sin"), (17, "silu")), directions=6, order=6, by_item=True),
    Case("not even", 5, 11, ((130, "softplus"), (33, "elu")), directions=9, order=4, by_item=True),
    Case("many items", 37, 11, ((130, "softplus"), (33, "elu")), directions=5, order=3, by_item=True),
    Case("no tuples", 2, 5, ((12, "gelu"),), directions=4, order=4, tuples=0),
    Case("float64", 2, 9, ((34, "sin"), (17, "pow"), (9, "erf")), directions=6, order=4, dtype=torch.float64),
)
