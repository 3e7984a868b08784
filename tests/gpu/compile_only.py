"""Compiles what the Triton kernels launch for a GPU that is not there, and reads the resources of the result."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton.backends.nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

__all__ = ["TARGETS", "Resources", "compile_launches", "launches_of", "resources"]

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
_TOOLS = Path(triton.backends.nvidia.__file__).parent / "bin"


class _CompileOnlyDriver:
    """What Triton asks of a driver before a launch. Each target is a device of its own, as kernels are cached by it."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> str:
        return str(self.target.arch)

    def get_current_stream(self, device: object = None) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


@contextmanager
def _launching(launch: Callable[..., object]) -> Iterator[None]:
    before = JITFunction.run
    JITFunction.run = launch
    try:
        yield
    finally:
        JITFunction.run = before


def launches_of(call: Callable[[], object]) -> list[str]:
    """Return the names of the kernels that `call` would launch."""
    names: list[str] = []
    with _launching(lambda self, *args, **kwargs: names.append(self.__name__)):
        call()
    return names


def compile_launches(call: Callable[[], object], target: GPUTarget) -> list[CompiledKernel]:
    """Compile each kernel that `call` launches, with the specialisation that its arguments ask for."""
    compiled: list[CompiledKernel] = []
    launch, active = JITFunction.run, driver._active

    def compile_instead(self: JITFunction, *args: Any, grid: object, warmup: bool, **kwargs: Any) -> None:
        compiled.append(launch(self, *args, grid=grid, warmup=True, **kwargs))

    driver.set_active(_CompileOnlyDriver(target))
    try:
        with _launching(compile_instead):
            call()
    finally:
        driver._active = active
    return compiled


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel takes; spills in bytes (NVIDIA) or registers (AMD), shared memory in bytes."""

    registers: int
    spills: int
    shared: int
    loads: int
    loads_128: int
    stores: int
    stores_128: int
    instructions: dict[str, int]


def resources(kernel: CompiledKernel, target: GPUTarget) -> Resources:
    """Read the resources from the compiled binary."""
    return _of_nvidia(kernel, target) if target.backend == "cuda" else _of_amd(kernel)


def _tool(*command: str) -> str:
    done = subprocess.run([str(_TOOLS / command[0]), *command[1:]], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def _of_nvidia(kernel: CompiledKernel, target: GPUTarget) -> Resources:
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(kernel.asm["cubin"])
        sass = _tool("nvdisasm", "-c", str(cubin))
        usage = _tool("cuobjdump", "--dump-resource-usage", str(cubin))
    names = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]+)", sass)
    spills = 4 * sum(name.startswith(("LDL", "STL")) for name in names)
    return Resources(
        registers=int(re.search(r"REG:(\d+)", usage)[1]),
        spills=spills,
        shared=kernel.metadata.shared,
        loads=sum(name.startswith("LDG") for name in names),
        loads_128=sum(name.startswith("LDG") and ".128" in name for name in names),
        stores=sum(name.startswith("STG") for name in names),
        stores_128=sum(name.startswith("STG") and ".128" in name for name in names),
        instructions=_mix(name.split(".")[0] for name in names),
    )


def _of_amd(kernel: CompiledKernel) -> Resources:
    text = kernel.asm["amdgcn"]

    def field(name: str) -> int:
        return int(re.search(rf"\.{name}:\s+(\d+)", text)[1])

    names = re.findall(r"^\s+((?:v|s|ds|global|buffer|flat|scratch)_\w+)", text, re.MULTILINE)
    loads = [name for name in names if re.match(r"(global|buffer|flat)_load", name)]
    stores = [name for name in names if re.match(r"(global|buffer|flat)_store", name)]
    return Resources(
        registers=field("vgpr_count"),
        spills=field("vgpr_spill_count")
        + field("sgpr_spill_count")
        + sum(name.startswith("scratch") for name in names),
        shared=kernel.metadata.shared,
        loads=len(loads),
        loads_128=sum(name.endswith("dwordx4") for name in loads),
        stores=len(stores),
        stores_128=sum(name.endswith("dwordx4") for name in stores),
        instructions=_mix(names),
    )


def _mix(names: Iterator[str] | list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))
