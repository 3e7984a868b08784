"""The very text of the CUDA kernels on host threads: equal to the references, and clean under the sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cuda_builds import HostModule, compile_for_host, needs_compiler, planted, running_on
from cuda_runs import ALL_CASES, BUGS, KERNELS, find_case, right

pytestmark = [
    pytest.mark.host_threads,
    needs_compiler,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
]
SCRIPT = Path(__file__).with_name("host_threads_run.py")
LIBRARIES = {"address,undefined": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
NOTICES = {"address,undefined": "AddressSanitizer", "thread": "ThreadSanitizer: data race"}
# Cases that have several blocks, threads that meet, and tails; threads are slow under a sanitizer.
WATCHED = (
    ("tuple_join", "a row twice"),
    ("tuple_join", "many subsets, order three"),
    ("tuple_sum", "quintuples"),
    ("tuple_sum", "float64 quadruples"),
)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HostModule]:
    """Each kernel without a sanitizer, by name."""
    return {kernel: HostModule(compile_for_host(kernel, tmp_path_factory.mktemp(kernel))) for kernel in KERNELS}


@pytest.mark.parametrize(("kernel", "case"), ALL_CASES, ids=lambda value: getattr(value, "name", value))
def test_equals_the_reference(
    kernel: str, case: Any, modules: dict[str, HostModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert right(kernel, case, running_on(modules[kernel], monkeypatch))


def _watched(cases: Sequence[tuple[Path, str, str]], sanitizers: str) -> tuple[str, bool]:
    """Run cases under a sanitizer; returns what was printed, and whether all were right and nothing was noticed."""
    preload = [
        subprocess.run(["g++", f"-print-file-name={name}"], text=True, capture_output=True, check=True).stdout.strip()
        for name in LIBRARIES[sanitizers]
    ]
    here = Path(__file__).parent
    here = Path(__file__).parent
    paths = (str(here), str(here.parent / "helpers"), *filter(None, [os.environ.get("PYTHONPATH")]))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "LD_PRELOAD": " ".join(preload),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own allocations at exit
        "TSAN_OPTIONS": "halt_on_error=1",
        "OMP_NUM_THREADS": "1",  # the threads of torch are not instrumented
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *(str(part) for case in cases for part in case)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout, done.returncode == 0 and done.stdout.split() == ["right"] * len(cases)


@pytest.mark.parametrize("sanitizers", LIBRARIES)
def test_is_clean_under_the_sanitizers(sanitizers: str, tmp_path: Path) -> None:
    libraries = {kernel: compile_for_host(kernel, tmp_path, sanitizers=sanitizers) for kernel in KERNELS}
    cases = [(libraries[kernel], kernel, name) for kernel, name in WATCHED]
    output, clean = _watched(cases, sanitizers)
    assert clean, output


NOTICED = [
    ("positions behind the end are marked", "address,undefined"),
    ("no barrier before the sums of the warps are read", "thread"),
]


@pytest.mark.parametrize(("what", "sanitizers"), NOTICED)
def test_a_sanitizer_notices_a_planted_bug(what: str, sanitizers: str, tmp_path: Path) -> None:
    bug = next(bug for bug in BUGS if bug.what == what)
    library = compile_for_host(bug.kernel, tmp_path, planted(bug, tmp_path), sanitizers)
    output, clean = _watched([(library, bug.kernel, bug.case)], sanitizers)
    assert not clean
    assert NOTICES[sanitizers] in output, output


def test_a_planted_bug_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bug = next(bug for bug in BUGS if bug.what == "a wrong row stride of the candidates")
    module = HostModule(compile_for_host(bug.kernel, tmp_path, planted(bug, tmp_path)))
    case = find_case(bug.kernel, bug.case)
    # So much room behind the tensors that a wrong stride breaks nothing else.
    assert not right(bug.kernel, case, running_on(module, monkeypatch), after=1 << 16)
