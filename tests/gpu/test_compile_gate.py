"""What the Triton kernels launch compiles for each GPU, with few registers, without spills, with 128-bit accesses."""

from __future__ import annotations

import dataclasses
import importlib
import re
from typing import Any

import pytest
import torch

pytest.importorskip("triton")
from compile_only import TARGETS, Resources, compile_launches, launches_of, resources
from kernel_comparison import KERNELS, find_case
from kernel_runs import place
from torch import Tensor
from triton.compiler import CompiledKernel

from xai_fast import use_backend
from xai_fast.kernels import flux_accumulate, random_points

pytestmark = pytest.mark.gpu_gate

MOST_REGISTERS = 128
RUN = {"flux_accumulate": flux_accumulate, "random_points": random_points}
# Each specialisation of a kernel that differs in its code, by a case that has it.
SPECIALISATIONS = (
    ("random_points", "image"),
    ("random_points", "float64"),
    ("random_points", "box image"),
    ("random_points", "box float64"),
    ("random_points", "normal image"),
    ("random_points", "normal float64"),
    ("flux_accumulate", "image"),
    ("flux_accumulate", "magnitude"),
    ("flux_accumulate", "without m2"),
    ("flux_accumulate", "float64"),
    ("flux_accumulate", "bfloat16"),
)
ALIGNED, ODD = 4096, 4099
# The arrays of whole rows that each launch reads and writes. The other launches touch single numbers and flags only.
ROW_LOADS = {"write_points": ("centers",), "accumulate": ("mean", "m2", "centers", "points", "gradients")}
ROW_STORES = {"write_points": ("points",), "accumulate": ("mean", "m2")}


def _arguments(kernel: str, name: str, entries: int) -> dict[str, Any]:
    """Arguments of a case with aligned rows, or with odd rows behind an odd offset."""
    arguments = dataclasses.replace(find_case(kernel, name), entries=entries).arguments()
    return place(arguments, before=0 if entries == ALIGNED else 1, after=0)[0]


def _compiled(kernel: str, name: str, entries: int, target: str) -> list[CompiledKernel]:
    arguments = _arguments(kernel, name, entries)
    with use_backend("triton"):
        return compile_launches(lambda: RUN[kernel](**arguments), TARGETS[target])


def _cell(used: Resources) -> str:
    most = " ".join(f"{mnemonic} {count}" for mnemonic, count in list(used.instructions.items())[:3])
    return (
        f"{used.registers} registers, {used.shared} bytes shared, 128-bit loads {used.loads_128}/{used.loads}, "
        f"stores {used.stores_128}/{used.stores}, {sum(used.instructions.values())} instructions ({most})"
    )


def _wide_accesses(names: tuple[str, ...], arguments: dict[str, Any], compiled: CompiledKernel, warp: int) -> int:
    """How many 128-bit accesses one thread makes to these arrays if all of its entries are accessed so."""
    if not names:
        return 0
    parameters = compiled.src.fn.arg_names
    block = next(value for (index,), value in compiled.src.constants.items() if parameters[index] == "BLOCK")
    sizes = [arguments[name].element_size() for name in names if isinstance(arguments[name], Tensor)]
    return sum(block * size // (16 * warp * compiled.metadata.num_warps) for size in sizes)


def _faults(
    arguments: dict[str, Any], aligned: bool, compiled: CompiledKernel, used: Resources, warp: int
) -> list[str]:
    faults = []
    if used.spills:
        faults.append(f"{used.spills} spilled")
    if used.registers > MOST_REGISTERS:
        faults.append(f"{used.registers} registers")
    if compiled.metadata.enable_fp_fusion:
        faults.append("the environment decides which multiplications and additions are fused")
    if re.search(r"\.approx|div\.full", compiled.asm.get("ptx", "")):
        faults.append("an approximate instruction")
    name = compiled.metadata.name
    loads, stores = ROW_LOADS.get(name, ()), ROW_STORES.get(name, ())
    for kind, arrays, count in (("loads", loads, used.loads_128), ("stores", stores, used.stores_128)):
        expected = _wide_accesses(arrays, arguments, compiled, warp)
        if aligned and count < expected:
            faults.append(f"{count} 128-bit {kind} of {expected}")
    return faults


# Every specialisation for every target with aligned rows, which are read widely, and with odd ones for one by turns.
COMPILED = [(*row, ALIGNED, target) for row in SPECIALISATIONS for target in TARGETS] + [
    (*row, ODD, list(TARGETS)[at % len(TARGETS)]) for at, row in enumerate(SPECIALISATIONS)
]


@pytest.mark.parametrize(("kernel", "name", "entries", "target"), COMPILED)
def test_resources(kernel: str, name: str, entries: int, target: str, report: list[str]) -> None:
    arguments = _arguments(kernel, name, entries)
    faults = {}
    for compiled in _compiled(kernel, name, entries, target):
        used = resources(compiled, TARGETS[target])
        rows = "aligned" if entries == ALIGNED else "odd"
        report.append(f"{compiled.metadata.name:12} {name:19} {rows:7} {target:6} {used.spills} spilled, {_cell(used)}")
        found = _faults(arguments, entries == ALIGNED, compiled, used, TARGETS[target].warp_size)
        if found:
            faults[compiled.metadata.name] = found
    assert not faults


@pytest.mark.parametrize("target", TARGETS)
def test_the_gate_notices_narrow_accesses(target: str) -> None:
    *_, compiled = _compiled("flux_accumulate", "image", ODD, target)
    arguments = _arguments("flux_accumulate", "image", ODD)
    used = resources(compiled, TARGETS[target])
    faults = _faults(arguments, True, compiled, used, TARGETS[target].warp_size)
    assert any("loads" in fault for fault in faults)
    assert any("stores" in fault for fault in faults)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("block", "what"), [(4096, "registers"), (8192, "spilled")])
def test_the_gate_notices_a_block_that_is_too_large(
    block: int, what: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xai_fast.kernels.flux_accumulate import triton as launcher

    amd = TARGETS[target].backend == "hip"  # twice the threads, and four times the registers
    monkeypatch.setattr(launcher, "BLOCK", {torch.float32: 4 * block if amd else block})
    *_, compiled = _compiled("flux_accumulate", "image", ALIGNED, target)
    used = resources(compiled, TARGETS[target])
    arguments = _arguments("flux_accumulate", "image", ALIGNED)
    faults = _faults(arguments, True, compiled, used, TARGETS[target].warp_size)
    assert any(what in fault for fault in faults)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_host_reads_nothing_from_the_device(kernel: str) -> None:
    """On the meta device there is nothing to read: `.item()`, `nonzero` and boolean indices raise."""
    arguments = find_case(kernel, "image").arguments(device="meta")
    launched = launches_of(lambda: importlib.import_module(f"xai_fast.kernels.{kernel}.triton").run(**arguments))
    assert (
        launched
        == {
            "random_points": ["square_sums", "write_points"],
            "flux_accumulate": ["chain_rows", "accumulate"],
        }[kernel]
    )
