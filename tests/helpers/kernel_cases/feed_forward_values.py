"""Shapes, dtypes, edge inputs and tolerances of `feed_forward_values`; tests and benchmarks read them here."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_fast.kernels.feed_forward_values import PARAMETERS

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Largest error of an entry relative to the largest entry, and of the root mean square."""

_PARAMETERS = {"pow": (2.0,), "softplus": (1.5, 3.0), "elu": (1.5, 0.7, 1.25)}


@dataclass(frozen=True)
class Case:
    """One input of the kernel: a network of these layers."""

    name: str
    items: int
    inputs: int
    layers: tuple[tuple[int, str], ...]
    orders: int = 3
    dtype: torch.dtype = torch.float32

    def arguments(self, device: str = "cpu") -> dict[str, Any]:
        """Build the arguments; what is overwritten holds NaN."""
        generator = torch.Generator().manual_seed(9)
        widths = [width for width, _ in self.layers]

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=self.dtype, generator=generator).to(device)

        matrices = [normal(a, b) / a**0.5 for a, b in itertools.pairwise((self.inputs, *widths))]
        written = torch.full((self.items, self.orders + 1, sum(widths)), torch.nan, dtype=self.dtype, device=device)
        parameters = [(*_PARAMETERS.get(name, ()), 0.0, 0.0, 0.0)[:PARAMETERS] for _, name in self.layers]
        return {
            "derivatives": written,
            "x": normal(self.items, self.inputs),
            "transposed": torch.cat([matrix.flatten() for matrix in matrices]),
            "biases": normal(sum(widths)),
            "widths": widths,
            "activations": [name for _, name in self.layers],
            "parameters": list(itertools.chain(*parameters)),
        }


CASES = (
    Case("odd", items=3, inputs=5, layers=((63, "gelu"), (7, "tanh"), (1, "sigmoid"))),
    Case("one unit", items=2, inputs=1, layers=((1, "silu"),), orders=6),
    Case("mlp", items=6, inputs=10, layers=((140, "gelu"), (100, "gelu"), (60, "gelu"), (20, "gelu")), orders=5),
    Case("many items", items=37, inputs=11, layers=((130, "softplus"), (33, "elu")), orders=2),
    Case("values only", items=4, inputs=300, layers=((65, "mish"),), orders=0),
    Case("float64", items=5, inputs=9, layers=((34, "sin"), (17, "pow"), (9, "erf")), orders=4, dtype=torch.float64),
)
