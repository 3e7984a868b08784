"""What the kernels that work on items launch compiles for each GPU: few registers, no spills, 128-bit accesses."""

from __future__ import annotations

import dataclasses
import importlib
import re
from typing import Any

import pytest

pytest.importorskip("triton")
from compile_only import TARGETS, Resources, compile_launches, launches_of, resources
from kernel_runs import place
from taylor_kernels import find_case, kernel_of
from torch import Tensor
from triton.compiler import CompiledKernel

import xai_fast.kernels
from xai_fast import use_backend

pytestmark = pytest.mark.gpu_gate

MOST_REGISTERS = 128
# Each specialisation of a kernel that differs in its code, by a case that has it.
SPECIALISATIONS = (
    ("partition_sum", "odd"),
    ("partition_sum", "triples"),
    ("partition_sum", "float64"),
    ("partition_sum_reduced", "odd"),
    ("partition_sum_reduced", "triples"),
    ("partition_sum_reduced", "float64"),
    ("relevance_ratio", "dense"),
    ("relevance_ratio", "edges in float64"),
    ("relevance_ratio", "without bias"),
    ("relevance_ratio", "without sums"),
)
ALIGNED, ODD = 4096, 4099
WIDE_LOADS = {"write_targets", "sum_targets", "ratios"}


def _arguments(operator: str, name: str, units: int) -> dict[str, Any]:
    """Arguments of a case with aligned rows, or with odd rows behind an odd offset."""
    case = dataclasses.replace(find_case(operator, name), units=units)
    return place(case.arguments(), before=0 if units == ALIGNED else 1, after=0)[0]


def _bytes_a_thread(arguments: dict[str, Any], compiled: CompiledKernel, warp: int) -> int:
    """How many bytes of a row one thread has: in float64 a wide warp leaves less than 128 bits."""
    names = compiled.src.fn.arg_names
    constants = {names[index]: value for (index,), value in compiled.src.constants.items()}
    entries = constants["BLOCK"]
    entry = next(value for value in arguments.values() if isinstance(value, Tensor) and value.is_floating_point())
    return int(entries * entry.element_size() // (warp * compiled.metadata.num_warps))


def _faults(wide: bool, compiled: CompiledKernel, used: Resources) -> list[str]:
    faults = []
    if used.spills:
        faults.append(f"{used.spills} spilled")
    if used.registers > MOST_REGISTERS:
        faults.append(f"{used.registers} registers")
    if compiled.metadata.enable_fp_fusion:
        faults.append("the environment decides which multiplications and additions are fused")
    if re.search(r"\.approx|div\.full", compiled.asm.get("ptx", "")):
        faults.append("an approximate instruction")
    if re.search(r"\.tf32|\.bf16", compiled.asm.get("ptx", "")):
        faults.append("numbers shorter than float32")
    if wide and not used.loads_128:
        faults.append("no 128-bit loads")
    if wide and compiled.metadata.name == "write_targets" and used.stores_128 != used.stores:
        faults.append(f"{used.stores_128} of {used.stores} stores with 128 bits")
    return faults


# Every specialisation for every target with aligned rows, which are read widely, and with odd ones for one by turns.
COMPILED = [(*row, ALIGNED, target) for row in SPECIALISATIONS for target in TARGETS] + [
    (*row, ODD, list(TARGETS)[at % len(TARGETS)]) for at, row in enumerate(SPECIALISATIONS)
]


@pytest.mark.parametrize(("operator", "name", "units", "target"), COMPILED)
def test_resources(operator: str, name: str, units: int, target: str, report: list[str]) -> None:
    arguments = _arguments(operator, name, units)
    with use_backend("triton"):
        launched = compile_launches(lambda: getattr(xai_fast.kernels, operator)(**arguments), TARGETS[target])
    faults = {}
    for compiled in launched:
        used = resources(compiled, TARGETS[target])
        report.append(
            f"{compiled.metadata.name:14} {name:19} {'aligned' if units == ALIGNED else 'odd':7} {target:6} "
            f"{used.spills} spilled, {used.registers} registers, {used.shared} bytes shared, "
            f"128-bit loads {used.loads_128}/{used.loads}, stores {used.stores_128}/{used.stores}"
        )
        wide = units == ALIGNED and compiled.metadata.name in WIDE_LOADS
        warp = TARGETS[target].warp_size
        found = _faults(wide and _bytes_a_thread(arguments, compiled, warp) >= 16, compiled, used)
        if found:
            faults[compiled.metadata.name] = found
    assert not faults


LAUNCHES = {
    "partition_sum": ("triples", ["write_targets"]),
    "partition_sum_reduced": ("triples", ["sum_targets", "add_parts"]),
    "relevance_ratio": ("odd", ["ratios", "add_blocks"]),
}


@pytest.mark.parametrize("operator", LAUNCHES)
def test_the_host_reads_nothing_from_the_device(operator: str) -> None:
    """On the meta device there is nothing to read: `.item()`, `nonzero` and boolean indices raise."""
    name, expected = LAUNCHES[operator]
    arguments = find_case(operator, name).arguments(device="meta")
    backend = importlib.import_module(f"xai_fast.kernels.{kernel_of(operator)}.triton")
    run = backend.run_reduced if operator.endswith("_reduced") else backend.run
    assert launches_of(lambda: run(**arguments)) == expected
