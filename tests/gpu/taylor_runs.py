"""Runs a case of a kernel that works on items on Triton and on the reference; and bugs that the checks must notice."""

from __future__ import annotations

from typing import Any

import torch
from kernel_runs import place, run
from planted_bugs import PlantedBug
from taylor_kernels import OUTPUTS, deviation, find_case, of_items

__all__ = ["ALONE", "BUGS", "check_alone", "check_bad_index", "run_guarded"]


def run_guarded(operator: str, case: Any, before: int, after: int) -> float:
    """Run a case on Triton among guards, compare it with the reference, and return the `deviation`."""
    expected = case.arguments()
    run(operator, expected, "reference")
    arguments, placed = place(case.arguments(), before, after)
    run(operator, arguments, "triton")
    if not all(value.intact() for value in placed):
        return float("inf")
    return deviation(operator, case, arguments, expected)


ALONE = (
    ("partition_sum", "triples"),
    ("partition_sum_reduced", "many pairs"),
    ("relevance_ratio", "several blocks"),
)
"""Operator and case of `check_alone`."""


def check_alone(operator: str, name: str) -> None:
    """Assert that an item has the same result to the last bit without the rest of the batch."""
    case = find_case(operator, name)
    together = case.arguments()
    run(operator, together, "triton")
    for item in range(case.items):
        alone = of_items(operator, case.arguments(), slice(item, item + 1))
        run(operator, alone, "triton")
        expected = of_items(operator, together, slice(item, item + 1))
        for output in OUTPUTS[operator]:
            assert torch.equal(alone[output], expected[output]), (item, output)


def check_bad_index(name: str, value: int) -> None:
    """Assert that an index out of range in a target's first term makes that target NaN, and no other."""
    arguments = find_case("partition_sum", "odd").arguments()
    expected = find_case("partition_sum", "odd").arguments()
    run("partition_sum", expected, "reference")
    arguments[name][0] = value
    arguments = place(arguments, 0, 0)[0]
    run("partition_sum", arguments, "triton")
    assert arguments["out"][0].isnan().all()
    torch.testing.assert_close(arguments["out"][1:], expected["out"][1:])


# Operator, and the bug of its kernel.
BUGS = (
    (
        "partition_sum",
        PlantedBug(  # what it writes there is NaN, like the guard
            "partition_sum",
            "the store has no mask",
            "total, mask=here < count)",
            "total)",
            "odd",
            emulator_only=True,
        ),
    ),
    (
        "partition_sum",
        PlantedBug(
            "partition_sum",
            "a wrong row stride",
            "(index.to(tl.int64) * entries + start)",
            "(index.to(tl.int64) * (entries + 1) + start)",
            "triples",
        ),
    ),
    (
        "partition_sum",
        PlantedBug(
            "partition_sum",
            "the last row of a term is left out",
            "range(first_block, end_block)",
            "range(first_block, end_block - 1)",
            "odd",
        ),
    ),
    (
        "partition_sum_reduced",
        PlantedBug(
            "partition_sum",
            "what is behind the end is summed",
            "tl.where(tl.arange(0, BLOCK) < count, total, 0.0)",
            "total",
            "odd",
        ),
    ),
    (
        "relevance_ratio",
        PlantedBug("relevance_ratio", "the store has no mask", "result, mask=inside)", "result)", "odd"),
    ),
    (
        "relevance_ratio",
        PlantedBug(
            "relevance_ratio",
            "the first row's relevance",
            "place += items",
            "place += 0",
            "odd",
        ),
    ),
    (
        "relevance_ratio",
        PlantedBug(
            "relevance_ratio",
            "the channel within the block",
            "(start // inner % channels)",
            "(0 * start // inner)",
            "several blocks",
        ),
    ),
    (
        "relevance_ratio",
        PlantedBug("relevance_ratio", "zero is stabilised downwards", "d < 0", "d <= 0", "edges"),
    ),
    (
        "relevance_ratio",
        PlantedBug("relevance_ratio", "the reach without its end", "tl.abs(d) <= eps", "tl.abs(d) < eps", "edges"),
    ),
    (
        "relevance_ratio",
        PlantedBug("relevance_ratio", "the bias of the other sign", "z > 0", "z < 0", "edges"),
    ),
)
