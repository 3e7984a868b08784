"""How far apart two runs of a kernel are, in units of what its cases in `kernel_cases` allow."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

KERNELS = ("flux_accumulate", "random_points")
OUTPUTS = {"random_points": ("points",), "flux_accumulate": ("mean", "m2", "count")}
CASES = {kernel: importlib.import_module(f"kernel_cases.{kernel}") for kernel in KERNELS}
ALL_CASES = [(kernel, case) for kernel in KERNELS for case in CASES[kernel].CASES]


def find_case(kernel: str, name: str) -> Any:
    """Return the case of that name."""
    return next(case for case in CASES[kernel].CASES if case.name == name)


def _allowed(kernel: str, name: str, expected: dict[str, Any], tolerance: float) -> Tensor:
    wanted = expected[name].double()
    if name == "count":
        return torch.full_like(wanted, 0.5)
    if kernel == "random_points":
        # The offset is right to the tolerance; what is written is rounded once more, on the scale of the center.
        x = expected["centers"][expected["item"]]
        return tolerance * (wanted - x.double()).abs() + torch.finfo(x.dtype).eps * x.double().abs()
    return torch.full_like(wanted, tolerance)


def deviation(kernel: str, dtype: torch.dtype, got: dict[str, Any], expected: dict[str, Any]) -> float:
    """Return the largest error in units of what is allowed: up to one is right. NaN has to be where it is expected."""
    worst = 0.0
    for name in OUTPUTS[kernel]:
        if expected[name] is None:
            continue
        result, wanted = got[name].double(), expected[name].double()
        if not torch.equal(result.isnan(), wanted.isnan()) or not torch.equal(result.isinf(), wanted.isinf()):
            return float("inf")
        error = (result - wanted).abs() / _allowed(kernel, name, expected, CASES[kernel].TOLERANCE[dtype])
        finite = error[wanted.isfinite()]
        worst = max(worst, float(finite.max()) if finite.numel() else 0.0)
    return worst
