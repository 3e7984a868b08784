"""Builds the compiled module `xai_fast._native` with CMake; all metadata is in pyproject.toml.

Environment variables:
    XAI_FAST_NATIVE: ``auto`` (default) builds the module where the machine can and says why where it cannot; ``off``
        runs no CMake and gives a pure Python wheel; ``required`` fails where the module cannot be built.
    XAI_FAST_CUDA: the same for the module's CUDA part, which ``auto`` compiles where there is an NVIDIA driver.
    XAI_FAST_SANITIZE: sanitizers for the module, as for ``-fsanitize=``, for example ``address,undefined``.
    CMAKE_BUILD_PARALLEL_LEVEL: how many compilers run at a time; as many as there are processors by default.

What was compiled stays in ``build/cmake-*``, one folder for each kind of build, and is used again by the next one.
"""

from __future__ import annotations

import ctypes.util
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, SetupError

ROOT = Path(__file__).parent.resolve()
MODES = ("auto", "off", "required")
FOUND_BY_CMAKE = (
    "CXX",
    "CXXFLAGS",
    "LDFLAGS",
    "CUDACXX",
    "CUDAFLAGS",
    "CUDAARCHS",
    "ARCHFLAGS",
    "MACOSX_DEPLOYMENT_TARGET",
)


def mode(variable: str) -> str:
    """Read one of the mode variables."""
    value = os.environ.get(variable, "auto").lower()
    if value not in MODES:
        raise SetupError(f"{variable}: expected one of {', '.join(MODES)}, got {value!r}")
    return value


def say(message: str) -> None:
    """Tell the user; pip shows it with ``-v`` or when the build fails."""
    print(f"xai_fast: {message}", file=sys.stderr, flush=True)


def compiler() -> str | None:
    """Return the C++ compiler that CMake will find, or None."""
    wanted = shlex.split(os.environ.get("CXX", ""))[:1] or ["c++", "g++", "clang++"]
    return next((found for name in wanted if (found := shutil.which(name))), None)


def pybind11_headers() -> Path | None:
    """Return the folder of pybind11's headers: the package's, or else those that torch brings along; None without."""
    for package in ("pybind11", "torch"):
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            headers = Path(found.origin).parent / "include"
            if (headers / "pybind11" / "pybind11.h").is_file():
                return headers
    return None


def missing() -> str | None:
    """Return what the machine lacks to build the module, or None."""
    if shutil.which("cmake") is None:
        return "there is no cmake"
    if pybind11_headers() is None:
        return "there is no pybind11"
    if os.name == "posix" and compiler() is None:
        return f"there is no C++ compiler ({os.environ.get('CXX') or 'c++, g++, clang++'})"
    return None


def driver() -> str | None:
    """Return what says that CUDA code can run on this machine, or None."""
    devices = sorted(map(str, Path("/dev").glob("nvidia*")))
    return shutil.which("nvidia-smi") or ctypes.util.find_library("cuda") or next(iter(devices), None)


class BuildNative(build_ext):
    """Runs CMake for the one extension."""

    def build_extension(self, ext: Extension) -> None:
        """Configure and build; with XAI_FAST_CUDA=auto a second time without CUDA if the first failed."""
        cuda = mode("XAI_FAST_CUDA")
        if cuda == "auto" and driver() is None:
            cuda = "no_driver"
        attempts = [cuda, "off"] if cuda == "auto" else [cuda]
        for attempt in attempts:
            output = self._cmake(ext, attempt)
            if output is None:
                return
            last_lines = "\n".join(output.strip().splitlines()[-30:])
            say(f"the native module could not be built with XAI_FAST_CUDA={attempt}:\n{last_lines}")
        if ext.optional:
            say("left out the native module; the plain PyTorch kernels will run")
        raise CompileError("the native module could not be built, see above; XAI_FAST_NATIVE=off does without it")

    def _cmake(self, ext: Extension, cuda: str) -> str | None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        configure = [
            "cmake",
            f"-S{ROOT}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DXAI_FAST_EXTENSION={target.name}",
            f"-DXAI_FAST_CUDA={cuda}",
            f"-DXAI_FAST_SANITIZE={os.environ.get('XAI_FAST_SANITIZE', '')}",
        ]
        if shutil.which("ninja"):
            configure.append("-GNinja")
        # CMake keeps what it found before in its cache: what it may find otherwise is another folder.
        kind = [*configure, sys.version, compiler(), shutil.which("nvcc"), *map(os.environ.get, FOUND_BY_CMAKE)]
        build = ROOT / "build" / f"cmake-{hashlib.sha256(repr(kind).encode()).hexdigest()[:12]}"
        configure += [f"-B{build}", f"-DXAI_FAST_PYBIND11={pybind11_headers()}"]
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(processors))
        for command in (configure, ["cmake", "--build", str(build), "--config", "Release", "--parallel", jobs]):
            done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            print(done.stdout, flush=True)
            if done.returncode:
                if command is configure:
                    shutil.rmtree(build, ignore_errors=True)  # the next attempt looks for everything anew
                return done.stdout
        target.parent.mkdir(parents=True, exist_ok=True)
        # A module that runs is not written into, but replaced.
        Path(shutil.copy(next(build.rglob(target.name)), target.with_suffix(".part"))).replace(target)
        return None


def extensions() -> list[Extension]:
    """Return the native module, or nothing where it is not wanted or cannot be built."""
    native, cuda = mode("XAI_FAST_NATIVE"), mode("XAI_FAST_CUDA")
    if native == "off":
        if cuda == "required":
            raise SetupError("XAI_FAST_CUDA=required needs the native module, but XAI_FAST_NATIVE is off")
        say("left out the native module: XAI_FAST_NATIVE=off")
        return []
    reason = missing()
    needed = native == "required" or cuda == "required"
    if reason is None:
        return [Extension("xai_fast._native", sources=[], optional=not needed)]
    if needed:
        raise SetupError(f"the native module is required, but {reason}")
    say(f"left out the native module: {reason}; the plain PyTorch kernels will run")
    return []


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
