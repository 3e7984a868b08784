"""Builds the CUDA kernels for the checks: with g++ to run on host threads, with nvcc to PTX, and for real GPUs."""

from __future__ import annotations

import contextlib
import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xai_fast import backends, native

__all__ = [
    "ARCHITECTURES",
    "CSRC",
    "HostModule",
    "SourceBug",
    "Usage",
    "compile_for_host",
    "compile_to_ptx",
    "demangled",
    "needs_compiler",
    "needs_nvcc",
    "planted",
    "resources",
    "running_on",
    "source_of",
]

CSRC = Path(__file__).resolve().parents[2] / "csrc"
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
_FLAGS = ["-std=c++17"]
_NVCC = ["nvcc", *_FLAGS, "-O3", "--expt-relaxed-constexpr"]


def source_of(kernel: str, csrc: Path = CSRC) -> Path:
    """Return the CUDA file of a kernel."""
    return csrc / "kernels" / kernel / "cuda.cu"


def _run(*command: str) -> str:
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def compile_for_host(kernel: str, folder: Path, csrc: Path = CSRC, sanitizers: str = "") -> Path:
    """Compile the kernels with g++, to a library that runs them on host threads."""
    library = folder / f"lib{kernel}.so"
    checks = ["-O1", "-Wall", "-Wextra", "-Werror"]
    if sanitizers:  # the warnings are those of the build without them
        # At -O1 the checks of addresses take 1.7 times as long to compile.
        level = "-Og" if "address" in sanitizers else "-O1"
        checks = [level, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined"]
    # Without -fno-gnu-unique two libraries in one process would share the variables of csrc/host_threads.h.
    flags = [*_FLAGS, *checks, "-g1", "-fno-gnu-unique", "-shared", "-fPIC", "-pthread"]
    _run(
        *("g++", *flags, f"-I{csrc}", "-x", "c++"),
        *(str(source_of(kernel, csrc)), "-o", str(library)),
    )
    return library


def compile_to_ptx(source: Path, folder: Path, csrc: Path = CSRC) -> str:
    """Compile one file with nvcc to PTX of sm_80."""
    ptx = folder / f"{source.parent.name}_{source.stem}.ptx"
    _run(*_NVCC, "-arch=sm_80", "-ptx", f"-I{csrc}", str(source), "-o", str(ptx))
    return ptx.read_text()


@dataclass(frozen=True)
class Usage:
    """What one compiled kernel takes, in bytes but for the registers."""

    registers: int
    stack: int
    local: int
    shared: int
    spills: int


def resources(source: Path, architecture: str, folder: Path) -> dict[str, Usage]:
    """Compile one file for a GPU and read from the binary what each kernel takes."""
    binary = folder / f"{source.parent.name}_{source.stem}_{architecture}.cubin"
    command = (*_NVCC, f"-arch={architecture}", "-cubin", "-Xptxas=-v", f"-I{CSRC}", str(source))
    log = _run(*command, "-o", str(binary))
    spills: dict[str, int] = {}
    for name, told in re.findall(r"Function properties for (\S+)\n(.*)", log):
        spills[name] = sum(int(size) for size in re.findall(r"(\d+) bytes spill", told))
    usage = _run(_cuobjdump(), "--dump-resource-usage", str(binary))
    found = re.findall(r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", usage)
    return {
        demangled(name): Usage(int(registers), int(stack), int(local), int(shared), spills[name])
        for name, registers, stack, shared, local in found
    }


def _cuobjdump() -> str:
    """Return the tool of the CUDA toolkit, or that which Triton brings along."""
    return shutil.which("cuobjdump") or str(Path(find_spec("triton").origin).parent / "backends/nvidia/bin/cuobjdump")


def demangled(name: str) -> str:
    """Return a kernel's name as it is written, with its template arguments, without namespaces."""
    return _short(_run("c++filt", name).strip())


def _short(name: str) -> str:
    """Return name and template arguments of a function in the form of a compiler: ``sort_blocks<float>``."""
    found = re.search(r"(\w+(?:<[^(]*>)?)(?:\(|\]|$)", name.split(" kernel = ")[-1].removesuffix("]"))
    if found is None:
        raise ValueError(f"no function's name: {name}")
    return found[1]


_ON_LAUNCH = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
Launch = Callable[[str, int, int, bytes], None]


class HostModule:
    """The launches of the compiled module, from a library of `compile_for_host`.

    Args:
        library: the library.
        on_launch: takes each launch (kernel, blocks, threads of a block, its argument); else host threads run it.
    """

    def __init__(self, library: Path, on_launch: Launch | None = None) -> None:
        self._library = ctypes.CDLL(str(library))
        self._error: BaseException | None = None
        self._on_launch = on_launch
        self._callback = _ON_LAUNCH(self._take) if on_launch else _ON_LAUNCH()
        self._library.xai_fast_on_launch(self._callback)

    def _take(self, kernel: bytes, blocks: int, threads: int, arguments: int, size: int) -> None:
        # An exception cannot pass through C: it is raised when the call returns.
        if self._error is None:
            try:
                self._on_launch(_short(kernel.decode()), blocks, threads, ctypes.string_at(arguments, size))
            except Exception as error:
                self._error = error

    def __getattr__(self, name: str) -> Callable[..., int | None]:
        function = getattr(self._library, f"xai_fast_{name}")
        launches = name.endswith("_cuda")
        function.restype = ctypes.c_char_p if launches else ctypes.c_int64

        def call(**arguments: int) -> int | None:
            result = function(*(ctypes.c_int64(int(value)) for value in arguments.values()))
            error, self._error = self._error, None
            if error is not None:
                raise error
            if launches and result is not None:
                raise RuntimeError(result.decode())
            return None if launches else int(result)

        return call


@contextlib.contextmanager
def running_on(
    module: HostModule, monkeypatch: pytest.MonkeyPatch, seen: Callable[[Tensor], None] = lambda _: None
) -> Iterator[None]:
    """Run the CUDA backend on tensors of the CPU with this module; ``seen`` is told each tensor that it gets."""

    def address(tensor: Tensor | None) -> int:
        if tensor is not None:
            seen(tensor)
        return 0 if tensor is None else tensor.data_ptr()

    def poisoned(size: int, like: Tensor) -> Tensor:
        return torch.full((size,), 0xA5, dtype=torch.uint8)

    with monkeypatch.context() as patch:
        patch.setattr(native, "module", lambda: module)
        patch.setattr(native, "address", address)
        patch.setattr(native, "workspace", poisoned)
        patch.setitem(backends.WHY_NOT, "cuda", lambda tensors: None)
        yield


@dataclass(frozen=True)
class SourceBug:
    """A change of a file of a kernel, and the case that has to notice it."""

    kernel: str
    what: str
    file: str
    old: str
    new: str
    case: str


def planted(bug: SourceBug, folder: Path) -> Path:
    """Copy the sources with the bug in them, and return where they are; the originals stay as they are."""
    csrc = folder / "csrc"
    shutil.copytree(CSRC, csrc, dirs_exist_ok=True)
    path = csrc / "kernels" / bug.kernel / bug.file
    text = path.read_text()
    if bug.old not in text:
        raise AssertionError(f"{bug.file} no longer has the text to break: {bug.old}")
    path.write_text(text.replace(bug.old, bug.new))
    return csrc
