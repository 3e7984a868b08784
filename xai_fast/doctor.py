"""What is installed and what can run: the texts of ``xai-fast doctor``."""

from __future__ import annotations

import importlib
import os
import platform
import textwrap
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path

import torch

from xai_fast import backends, native
from xai_fast.errors import InputError
from xai_fast.registry import DETECTOR_ENTRY_POINTS, ENTRY_POINTS, detectors, methods

__all__ = ["report", "summary", "versions"]

_MISSING = "not installed"
_OPTIONAL = {
    "Pillow": "no pictures",
    "pandas": "no tables from files",
    "PyYAML": "jobs are described in JSON only",
    "ray": "no jobs on Ray",
    "pyarrow": "no Parquet, neither read nor exported",
    "zarr": "no export to Zarr",
    "h5py": "no export to HDF5",
    "captum": "no methods captum:NAME",
}
"""What only parts of the package need, and what is missing without it."""


def summary() -> str:
    """Describe this installation, with what to do next, on one screen: at most 24 lines of 80 columns."""
    missing = [f"{name} ({without})" for name, without in _OPTIONAL.items() if _installed(name) == _MISSING]
    rows = [("Versions", ", ".join(f"{name} {found.split(' on ')[0]}" for name, found in versions().items()))]
    rows += [(next(lines), next(lines).strip()) for lines in (_cpu(), _cuda())]
    steps = [f"{line.strip()} (Native module)" for line in _native_module() if line.endswith("install again")]
    for device in _devices():
        lines = list(_kernels(device))
        backend = Counter(line.split()[1] for line in lines if line.startswith("  * "))
        runs = ", ".join(f"{number} run on {name}" for name, number in backend.items())
        rows.append((f"Kernels, {device}", runs or lines[1].strip()))
        steps += [reason for reason in _better_backends(device) if reason not in steps]
    rows.append(("Methods", f"{len(methods())} methods, {len(detectors())} detectors of interactions in tables"))
    rows.append(("Missing", ", ".join(missing) or "no optional package"))
    steps += ["pip install what you need of the missing packages"] if missing else []
    steps += [
        "xai-fast explain PHOTOS --out out",
        "xai-fast demo: all methods on sample photos (pip install 'xai-fast[demo]')",
        "xai-fast doctor --all: every package, method and kernel, with reasons",
    ]
    text = [line for title, found in rows for line in _wrapped(f"{title:14}{found}", " " * 14)]
    return "\n".join([*text, "Next", *(line for step in steps for line in _wrapped(f"  {step}", " " * 4))])


def _better_backends(device: str) -> list[str]:
    """Tell what keeps the backends that are fast on a device from running, and what to do about it."""
    reasons = [backends.native_missing()]
    if device == "cuda":
        reasons = [backends.cuda_why_not(()), backends.triton_missing()]
    return [reason for reason in reasons if reason]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 80, subsequent_indent=indent, max_lines=5, placeholder=" ...")


def _devices() -> tuple[str, ...]:
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def report() -> str:
    """Describe this installation in full; what is missing or cannot run has the reason."""
    lines = ["Versions", *(f"  {name:10}{found}" for name, found in versions().items())]
    lines += [*_optional_packages(), *_cpu(), *_cuda(), *_native_module(), *_methods()]
    for device in _devices():
        lines += _kernels(device)
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """List the versions of what results depend on, by name."""
    return {
        "xai_fast": _installed("xai-fast"),
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "torch": torch.__version__,
        "numpy": _installed("numpy"),
        "triton": _installed("triton"),
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return _MISSING


def _optional_packages() -> Iterator[str]:
    yield "Optional packages"
    for package, needed_for in _OPTIONAL.items():
        found = _installed(package)
        yield f"  {package:12}{found}" + (f": {needed_for}" if found == _MISSING else "")


def _methods() -> Iterator[str]:
    """List methods and detectors, and those of other packages that cannot be imported, with the reason."""
    for title, group, known in (
        ("Methods (xai-fast explain --method NAME)", ENTRY_POINTS, methods()),
        ("Detectors, on tables", DETECTOR_ENTRY_POINTS, detectors()),
    ):
        yield title
        for name, found in known.items():
            yield f"  {name:30}{found.__module__}.{found.__qualname__}"
        for entry in entry_points(group=group):
            if entry.name not in known:
                yield f"  {entry.name:30}{_reason(entry)}"


def _reason(entry: EntryPoint) -> str:
    try:
        entry.load()
    except Exception as error:  # whatever the module of another package raises is what the user wants to know
        return f"cannot be imported from {entry.value}: {type(error).__name__}: {error}"
    return f"{entry.value} is no subclass of its base"


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu() -> Iterator[str]:
    yield "CPU"
    yield f"  {_cpu_name()}, {os.cpu_count()} processors, torch uses {torch.get_num_threads()} threads"
    yield f"  torch's instruction set: {torch.backends.cpu.get_cpu_capability()}"


def _cuda() -> Iterator[str]:
    yield "CUDA"
    if not torch.cuda.is_available():
        yield f"  torch: no device ({'built without CUDA' if torch.version.cuda is None else 'none was found'})"
    else:
        for index in range(torch.cuda.device_count()):
            major, minor = torch.cuda.get_device_capability(index)
            yield f"  torch: device {index} is {torch.cuda.get_device_name(index)} (sm_{major}{minor})"
    if backends.native_missing() is None:
        found = native.module().cuda_devices()
        yield f"  native module: {', '.join(found['names']) or found['error']}"
        yield f"    runtime {found['runtime_version'] or 'none'}, driver {found['driver_version'] or 'none'}"


def _native_module() -> Iterator[str]:
    yield "Native module"
    missing = backends.native_missing()
    if missing is not None:
        yield f"  {missing}"
        return
    module = native.module()
    build = module.build_info()
    yield f"  built for xai_fast {build['version']} with {build['compiler']}"
    if build["version"] != _installed("xai-fast"):
        yield "  which is not the version that is installed: install again"
    yield f"  flags: {build['flags']}"
    yield f"  OpenMP: {build['openmp'] or 'none, one thread only'}"
    yield f"  CUDA: {build['cuda']}"
    yield f"  instruction set: {module.isa()}, of {', '.join(module.available_isas())}"


def _kernels(device: str) -> Iterator[str]:
    yield f"Kernels for tensors on {device} (* runs)"
    try:
        forced = backends.forced_backend()
    except InputError as error:
        yield f"  {error}"
        return
    if forced is not None:
        yield f"  the backend {forced} is forced"
    importlib.import_module("xai_fast.kernels")
    tensors = (torch.empty(0, device=device),)
    for kernel in backends.kernel_names():
        yield f"  {kernel}"
        reasons = backends.why(kernel, tensors)
        first = next(name for name, reason in reasons.items() if reason is None)
        for name, reason in reasons.items():
            runs = name == (forced or first) and reason is None
            yield f"  {'*' if runs else ' '} {name:10} {reason or 'can run'}"
