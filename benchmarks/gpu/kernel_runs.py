"""Calls of the kernels at the sizes of photos, and the bytes that each has to move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

import xai_fast.kernels
from tests.helpers.kernel_cases import partition_sum as partitions
from tests.helpers.kernel_cases import relevance_ratio as ratios
from tests.helpers.kernel_cases import tuple_sum as tuples
from xai_fast.kernels import flux_accumulate, random_points

__all__ = ["KERNELS", "KernelRun"]


@dataclass(frozen=True)
class KernelRun:
    """A call of a kernel: what it writes, and the bytes that it reads and writes at least."""

    kernel: str
    call: Callable[[], None]
    outputs: list[Tensor]
    moved: int


def _rows(device: torch.device, items: int, entries: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    names = ("points", "centers", "gradients", "mean", "m2")
    found = {name: torch.rand(items, entries, generator=generator).to(device) for name in names}
    item = torch.arange(items, device=device)
    every = torch.ones(items, dtype=torch.bool, device=device)
    return found | {"item": item, "every": every, "count": torch.zeros_like(item)}


def _random_points(kind: str) -> Callable[[torch.device, int, int], KernelRun]:
    def make(device: torch.device, items: int, entries: int) -> KernelRun:
        a = _rows(device, items, entries)

        def call() -> None:
            random_points(a["points"], a["centers"], a["item"], a["item"], a["item"], a["every"], 0.1, kind, 0)

        return KernelRun("random_points", call, [a["points"]], 2 * a["points"].nbytes)

    return make


def _flux_accumulate(device: torch.device, items: int, entries: int) -> KernelRun:
    a = _rows(device, items, entries)

    def call() -> None:
        statistics = (a["mean"], a["m2"], a["count"])
        flux_accumulate(*statistics, a["centers"], a["points"], a["gradients"], a["item"], a["every"], False)

    return KernelRun("flux_accumulate", call, [a["mean"], a["m2"], a["count"]], 7 * a["points"].nbytes)


def _of_case(operator: str, real: object, tiny: object, *outputs: str) -> Callable[[torch.device, int, int], KernelRun]:
    """Make the call of one of the shapes of a kernel's cases, each tensor of which is moved once."""

    def make(device: torch.device, items: int, entries: int) -> KernelRun:
        arguments = (tiny if device.type == "cpu" else real).arguments(str(device))  # type: ignore[attr-defined]

        def call() -> None:
            getattr(xai_fast.kernels, operator)(**arguments)

        moved = sum(value.nbytes for value in arguments.values() if isinstance(value, Tensor))
        return KernelRun(operator, call, [arguments[name] for name in outputs], moved)

    return make


KERNELS: Mapping[str, Callable[[torch.device, int, int], KernelRun]] = {
    **{f"random_points {kind}": _random_points(kind) for kind in ("sphere", "box", "normal")},
    "flux_accumulate": _flux_accumulate,
    "relevance_ratio": _of_case(
        "relevance_ratio",
        ratios.Case("real", rows=1, items=64, units=256 * 56 * 56, inner=56 * 56),
        ratios.Case("tiny", rows=1, items=2, units=300, inner=3),
        "out",
    ),
    "partition_sum pairs": _of_case(
        "partition_sum",
        partitions.Case("real", 4, 1 << 20, lambda: partitions.lattice(4, 2), 10, "gelu"),
        partitions.Case("tiny", 2, 63, lambda: partitions.lattice(2, 2), 3, "gelu"),
        "out",
    ),
    "tuple_sum triples": _of_case(
        "tuple_sum",
        tuples.Case("real", order=3, directions=80, units=320, items=8),
        tuples.Case("tiny", order=3, directions=5, units=63),
        "out",
    ),
}
"""By name, from device, items and entries per item."""
