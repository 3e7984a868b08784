"""Runs the PTX of the CUDA kernels in the emulator: their launches, in the order of their C++."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cuda_builds import (
    CSRC,
    HostModule,
    SourceBug,
    compile_for_host,
    compile_to_ptx,
    demangled,
    planted,
    running_on,
    source_of,
)
from torch import Tensor

__all__ = ["Emulator", "with_named_parameters"]


def with_named_parameters(ptx: str) -> str:
    """Write parameters by name where nvcc has their address in a register, which the emulator does not follow.

    Such registers have one value each: ``mov.b64 %rd1, kernel_param_0; add.s64 %rd2, %rd1, 16; ld.param.u64 %rd3,
    [%rd2+-8]`` is ``ld.param.u64 %rd3, [kernel_param_0+8]``.
    """
    return "".join(_of_one_kernel(part) for part in re.split(r"(?=\.entry )", ptx))


def _of_one_kernel(text: str) -> str:
    places: dict[str, tuple[str, int]] = {}
    lines = []
    for line in text.splitlines(keepends=True):
        if found := re.search(r"mov\.b64\s+(%rd\d+), (\w+_param_\d+);", line):
            places[found[1]] = (found[2], 0)
        elif (found := re.search(r"add\.s64\s+(%rd\d+), (%rd\d+), (-?\d+);", line)) and found[2] in places:
            name, offset = places[found[2]]
            places[found[1]] = (name, offset + int(found[3]))
        elif (found := re.search(r"\[(%rd\d+)(?:\+(-?\d+))?\]", line)) and found[1] in places and "ld.param" in line:
            name, offset = places[found[1]]
            lines.append(line.replace(found[0], f"[{name}+{offset + int(found[2] or 0)}]"))
        else:
            if any(register in places for register in re.findall(r"%rd\d+", line)):
                raise ValueError(f"the address of a parameter is used for more than to read it: {line.strip()}")
            lines.append(line)
    return "".join(lines)


class Emulator:
    """A kernel's CUDA file, compiled to PTX by nvcc, and to the launches alone by g++.

    Args:
        kernel: the name of the kernel.
        folder: where to compile.
    """

    def __init__(self, kernel: str, folder: Path) -> None:
        self._ptx_emu = importlib.import_module("ptx_emu")
        self._kernels: dict[str, Any] = {}
        self.load(source_of(kernel), folder)
        self._memory = self._ptx_emu.Mem()
        self.module = HostModule(compile_for_host(kernel, folder), self._launch)

    def load(self, source: Path, folder: Path, csrc: Path = CSRC) -> None:
        """Take the kernels of a file in place of those of the same name."""
        text = compile_to_ptx(source, folder, csrc)
        module = self._ptx_emu.Module(with_named_parameters(text))
        for name in re.findall(r"\.entry\s+(\w+)", text):
            self._kernels[demangled(name)] = self._ptx_emu.Kernel(module, name)

    @contextlib.contextmanager
    def with_bug(self, bug: SourceBug, folder: Path) -> Iterator[None]:
        """Run the kernels of a changed file."""
        before = dict(self._kernels)
        csrc = planted(bug, folder)
        self.load(source_of(bug.kernel, csrc), folder, csrc)
        yield
        self._kernels = before

    @contextlib.contextmanager
    def running(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Run the CUDA backend here. It may read and write the entries of what it hands on, and nothing else."""
        self._memory = self._ptx_emu.Mem()
        with running_on(self.module, monkeypatch, self._see):
            yield

    def _see(self, tensor: Tensor) -> None:
        self._memory.add(tensor.data_ptr(), tensor.numel() * tensor.element_size(), tensor)

    def _launch(self, kernel: str, blocks: int, threads: int, arguments: bytes) -> None:
        self._kernels[kernel](self._memory, (blocks,), (threads,), 0, [("b8", arguments)])
