"""Shapes, dtypes, edge inputs and tolerances of `partition_sum`; tests and benchmarks read them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from xai_fast.kernels.partition_sum import Program, Term, program_of, set_partitions

__all__ = ["CASES", "PARAMETERS", "TOLERANCE", "Case", "forward_program", "lattice", "pairs_with_adjoint"]

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Largest error of an entry relative to the largest entry, and of the root mean square."""

PARAMETERS: dict[str, tuple[float, ...]] = {
    "pow": (2.5,),
    "softplus": (1.5, 3.0),
    "elu": (1.5, 0.7, 1.25),
}
_POSITIVE = {"log", "log1p", "sqrt", "rsqrt", "reciprocal", "pow"}


def forward_program(sets: Sequence[int], row_of: Mapping[int, int]) -> Program:
    """Build Faa di Bruno's sum for each set; sets and blocks are bit masks, and each block has a row."""
    return program_of(
        [[Term(len(blocks), tuple(row_of[b] for b in blocks)) for blocks in set_partitions(mask)] for mask in sets]
    )


def lattice(directions: int, order: int) -> Program:
    """Return the program of all sets of at most ``order`` of the directions; row r and target r belong to set r."""
    sets = [
        sum(1 << i for i in chosen) for size in range(1, order + 1) for chosen in combinations(range(directions), size)
    ]
    return forward_program(sets, {chosen: row for row, chosen in enumerate(sets)})


def pairs_with_adjoint(directions: int) -> Program:
    """Return the program ``mu_0 s''(z) z_i z_j`` for i <= j, and ``mu_1 s'(z)`` and ``s(z)``, which have no rows."""
    pairs = [(i, j) for i in range(directions) for j in range(i, directions)]
    return program_of([[Term(2, pair, 0)] for pair in pairs] + [[Term(1, (), 1)], [Term(0, ())]])


def _six() -> Program:
    """Return the program of one set of six elements, and of nothing."""
    full = 0b111111
    return forward_program([full, 0], {block: block - 1 for block in range(1, full + 1)})


@dataclass(frozen=True)
class Case:
    """One input of the kernel; a ``reduced`` one is of `partition_sum_reduced`."""

    name: str
    items: int
    units: int
    program: Callable[[], Program]
    rows: int
    activation: str = "tanh"
    parameters: tuple[float, ...] = field(default=())
    adjoints: int = 0
    dtype: torch.dtype = torch.float32
    reduced: bool = False

    def arguments(self, device: str = "cpu") -> dict[str, Any]:
        """Build the arguments. What is overwritten holds NaN; what is added to holds numbers."""
        generator = torch.Generator().manual_seed(4)
        program = self.program()
        targets = program.term_offsets.numel() - 1

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=self.dtype, generator=generator)

        values = 2 * normal(self.items, self.units)
        values = values.abs() + 0.1 if self.activation in _POSITIVE else values
        written = torch.full((targets, self.items, self.units), torch.nan, dtype=self.dtype)
        tensors = {
            "out": normal(self.items, targets) if self.reduced else written,
            "values": values,
            "rows": normal(self.rows, self.items, self.units),
            "adjoints": normal(self.adjoints, self.items, self.units) if self.adjoints else None,
        }
        arguments: dict[str, Any] = {
            name: None if value is None else value.to(device) for name, value in tensors.items()
        }
        arguments |= {"activation": self.activation, "parameters": list(self.parameters)}
        return arguments | program.to(device)._asdict()


def _both(name: str, **settings: Any) -> tuple[Case, Case]:
    return Case(name, **settings), Case(f"{name}, reduced", reduced=True, **settings)


CASES = (
    *_both("one unit", items=3, units=1, program=lambda: lattice(2, 2), rows=3),
    *_both("odd", items=2, units=63, program=lambda: pairs_with_adjoint(3), rows=3, adjoints=2),
    *_both("triples", items=2, units=1000, program=lambda: lattice(4, 3), rows=14, activation="gelu"),
    *_both("one set of six", items=1, units=130, program=_six, rows=63, activation="sigmoid"),
    *_both(
        "float64", items=2, units=257, program=lambda: lattice(4, 4), rows=15, activation="mish", dtype=torch.float64
    ),
    *_both("one row", items=2, units=65, program=lambda: lattice(1, 1), rows=1, activation="silu"),
    *_both("many pairs", items=2, units=300, program=lambda: pairs_with_adjoint(12), rows=12, adjoints=2),
    *_both("several parts", items=2, units=20_003, program=lambda: lattice(2, 2), rows=3, activation="gelu_tanh"),
    *_both("no targets", items=2, units=63, program=lambda: program_of([]), rows=1),
    *_both("no terms", items=2, units=63, program=lambda: program_of([[], [Term(1, (0,))], []]), rows=1),
)
