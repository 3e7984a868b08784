"""Runs a case of a kernel on the Triton backend and on the reference, and says how far apart they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comparison import relative_rms
from kernel_comparison import CASES, OUTPUTS, deviation, find_case
from networks import images, smooth_cnn
from torch import Tensor

import xai_fast.kernels
from xai_fast import NeFLAG, use_backend

__all__ = [
    "ALONE",
    "GUARD",
    "LONG_ROWS",
    "Placed",
    "check_alone",
    "check_neflag",
    "place",
    "run",
    "run_guarded",
]

GUARD = 4096
"""Entries before and after a tensor that nobody may change: more than a block."""
# Rows so long that a partial sum covers several blocks. No other backend changes there, so they are not in CASES.
LONG_ROWS = (
    ("random_points", CASES["random_points"].Case("long", rows=2, items=1, entries=600_001)),
    ("random_points", CASES["random_points"].Case("box long", rows=2, items=1, entries=300_001, kind="box")),
)


def run(kernel: str, arguments: dict[str, Any], backend: str) -> None:
    """Run a kernel in place on one backend."""
    with use_backend(backend):
        getattr(xai_fast.kernels, kernel)(**arguments)


@dataclass
class Placed:
    """A tensor in a storage of its own: ``before`` entries, the tensor, ``after`` entries."""

    storage: Tensor
    tensor: Tensor
    poison: Tensor

    @staticmethod
    def of(value: Tensor, before: int, after: int) -> Placed:
        """Copy a tensor to its place; what surrounds it is NaN, True or item 0."""
        around = torch.nan if value.is_floating_point() else value.dtype == torch.bool
        storage = torch.full((before + value.numel() + after,), around, dtype=value.dtype)
        tensor = storage[before : before + value.numel()].view(value.shape).copy_(value)
        return Placed(storage, tensor, torch.full((), around, dtype=value.dtype))

    def intact(self) -> bool:
        """Whether the surroundings still hold what they held."""
        start = self.tensor.storage_offset()
        around = torch.cat((self.storage[:start], self.storage[start + self.tensor.numel() :]))
        return bool(torch.equal(around.nan_to_num(7.5), self.poison.nan_to_num(7.5).expand_as(around)))


def place(arguments: dict[str, Any], before: int, after: int) -> tuple[dict[str, Any], list[Placed]]:
    """Place each tensor of the arguments."""
    placed = {name: Placed.of(value, before, after) for name, value in arguments.items() if isinstance(value, Tensor)}
    return arguments | {name: value.tensor for name, value in placed.items()}, list(placed.values())


def run_guarded(kernel: str, case: Any, before: int, after: int) -> float:
    """Run a case on Triton among guards, compare it with the reference, and return the `deviation`."""
    expected = case.arguments()
    run(kernel, expected, "reference")
    arguments, placed = place(case.arguments(), before, after)
    run(kernel, arguments, "triton")
    if not all(value.intact() for value in placed):
        return float("inf")
    return deviation(kernel, case.dtype, arguments, expected)


ALONE = (
    ("random_points", "several blocks"),
    ("random_points", "box several blocks"),
    ("random_points", "normal several blocks"),
    ("flux_accumulate", "image"),
)
"""Kernel and case of `check_alone`."""


def check_alone(kernel: str, name: str) -> None:
    """Assert that a row, or the rows of an item, have the same result to the last bit without the rest of the batch."""
    case = find_case(kernel, name)
    together = case.arguments()
    run(kernel, together, "triton")
    for index in range(case.items if kernel == "flux_accumulate" else case.rows):
        alone = case.arguments()
        if kernel == "flux_accumulate":
            alone["negative"] = alone["negative"] & (alone["item"] == index)
        else:
            by_row = {"points", "gradients", "item", "point", "active"} & alone.keys()
            alone |= {key: alone[key][index : index + 1].contiguous() for key in by_row}
        run(kernel, alone, "triton")
        for output in OUTPUTS[kernel]:
            here = index if kernel == "flux_accumulate" else 0
            assert torch.equal(alone[output][here], together[output][index]), (output, index)


def check_neflag(step: str) -> None:
    """Assert that NeFLAG on the Triton kernels is NeFLAG on the references: the queue and the kernels together."""
    method = NeFLAG(smooth_cnn(), step=step, radius=0.4, points=4, max_steps=4, seed=3)
    with use_backend("reference"):
        expected = method.explain(images(3), internal_batch_size=5)
    with use_backend("triton"):
        result = method.explain(images(3), internal_batch_size=5)
    assert result.negative_points.tolist() == expected.negative_points.tolist()
    assert relative_rms(result.attributions, expected.attributions) < 1e-10
    assert relative_rms(result.standard_error, expected.standard_error) < 1e-10
