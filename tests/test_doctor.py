"""The texts of ``xai-fast doctor``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import xai_fast
from xai_fast import backends, detectors, doctor, methods, use_backend


def test_the_report_has_versions_devices_and_every_kernel_on_every_backend() -> None:
    report = doctor.report()
    assert f"torch     {torch.__version__}" in report
    for heading in ("Versions", "CPU", "CUDA", "Native module", "Kernels for tensors on cpu"):
        assert re.search(f"^{heading}", report, re.MULTILINE), heading
    sections = re.split(r"^  (?=\w+$)", report, flags=re.MULTILINE)[1:]
    assert [section.split()[0] for section in sections] == list(backends.kernel_names())
    for section in sections:
        lines = section.splitlines()[1 : 1 + len(backends.BACKENDS)]
        assert [line.strip(" *").split()[0] for line in lines] == list(backends.BACKENDS)
        assert sum(line.startswith("  *") for line in lines) == 1
    assert not re.search(r"[ \t]$", report, re.MULTILINE)


@pytest.mark.parametrize("package", ["pyarrow", "ray", "captum"])
def test_optional_packages_are_listed_with_what_is_missing_without_them(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda name: doctor._MISSING if name == package else "1.2")
    lines = doctor.report().splitlines()
    start = lines.index("Optional packages") + 1
    listed = dict(line.split(None, 1) for line in lines[start : start + len(doctor._OPTIONAL)])
    assert listed[package] == f"not installed: {doctor._OPTIONAL[package]}"
    assert {found for name, found in listed.items() if name != package} == {"1.2"}


GONE = "the native module is not there (No module named 'xai_fast._native'); reinstall with a C++ compiler"
LACKING = "no CUDA device: the driver is older than the runtime, and this reason is longer than a line of a terminal"
# what is not installed; whether the native module is; whether there is a GPU; what the screen says
SCREENS = {
    "all there": ((), True, False, ["Missing       no optional package"]),
    "nothing there": (
        (*doctor._OPTIONAL, "triton"),
        False,
        False,
        ["8 run on reference", f"  {GONE}", "captum (no methods captum:NAME)", "pip install what you need"],
    ),
    "a GPU": (("ray",), True, True, ["Missing       ray (no jobs on Ray)", f"  {LACKING}", "Kernels, cuda"]),
    "a GPU that nothing can use": (tuple(doctor._OPTIONAL), False, True, [f"  {GONE}", f"  {LACKING}"]),
}


@pytest.mark.parametrize("screen", SCREENS)
def test_the_summary_fits_a_screen_and_tells_what_to_do(screen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    missing, native, gpu, expected = SCREENS[screen]
    if native and backends.native_missing():
        pytest.skip("no native module")
    version = xai_fast.__version__
    monkeypatch.setattr(doctor, "_installed", lambda name: doctor._MISSING if name in missing else version)
    monkeypatch.setattr(doctor, "_cpu_name", lambda: "A Processor (TM) with a Name, as Long as They Are @ 2.40GHz")
    if not native:
        monkeypatch.setattr(backends, "native_missing", lambda: GONE)
    if gpu:
        kernels = doctor._kernels("cpu")
        monkeypatch.setattr(doctor, "_devices", lambda: ("cpu", "cuda"))
        monkeypatch.setattr(doctor, "_kernels", lambda device, lines=list(kernels): iter(lines))
        monkeypatch.setattr(backends, "cuda_why_not", lambda tensors: LACKING)
    lines = doctor.summary().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"Versions      xai_fast {version}, Python ")
    text = " ".join(" ".join(lines).split())
    assert [part for part in expected if " ".join(part.split()) not in text] == []
    assert text.endswith("xai-fast doctor --all: every package, method and kernel, with reasons")


def test_every_method_and_detector_is_listed() -> None:
    report = doctor.report()
    for name, found in {**methods(), **detectors()}.items():
        assert re.search(rf"^  {name} +{found.__module__}.{found.__qualname__}$", report, re.MULTILINE), name


BROKEN = {
    "gone": ("nowhere_at_all:Method", "cannot be imported from nowhere_at_all:Method: ModuleNotFoundError: No module"),
    "none": ("json:JSONDecoder", "json:JSONDecoder is no subclass of its base"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_method_of_another_package_that_cannot_be_used_has_the_reason(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, reason = BROKEN[name]
    about = tmp_path / "broken_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[xai_fast.methods]\n{name} = {reference}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert f"  {name:30}{reason}" in doctor.report()


def test_a_native_module_that_is_missing_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "native_missing", lambda: "the native module is not there (why)")
    report = doctor.report()
    assert "Native module\n  the native module is not there (why)\n" in report
    assert report.count("    native     the native module is not there (why)") == len(backends.kernel_names())
    assert report.count("  * ") == len(backends.kernel_names())


def test_a_build_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if backends.native_missing():
        pytest.skip("no native module")
    assert "install again" not in doctor.report()
    monkeypatch.setattr(doctor, "_installed", lambda package: "0.0.0")
    assert "which is not the version that is installed: install again" in doctor.report()
    assert "which is not the version that is installed: install again (Native module)" in doctor.summary()


def test_a_forced_backend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("reference"):
        report = doctor.report()
    assert "the backend reference is forced" in report
    assert report.count("* reference") == len(backends.kernel_names())
    monkeypatch.setenv("XAI_FAST_BACKEND", "opencl")
    assert "XAI_FAST_BACKEND: expected one of cuda, triton, native, reference, got 'opencl'" in doctor.report()
