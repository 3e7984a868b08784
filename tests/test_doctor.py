"""The text of ``xai-fast doctor``."""

from __future__ import annotations

import re

import pytest
import torch

from xai_fast import backends, doctor, use_backend


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


OPTIONAL = {
    "safetensors": "no long jobs",
    "PyYAML": "jobs are described in JSON only",
    "ray": "no long jobs on Ray",
    "pyarrow": "no Parquet, neither read nor exported",
    "zarr": "no export to Zarr",
    "h5py": "no export to HDF5",
}


@pytest.mark.parametrize("package", OPTIONAL)
def test_packages_for_long_jobs_are_told_with_what_is_missing_without_them(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda name: doctor._MISSING if name == package else "1.2")
    lines = doctor.report().splitlines()
    start = lines.index("Optional packages")
    told = dict(line.split(None, 1) for line in lines[start + 1 : start + 1 + len(OPTIONAL)])
    assert told == {name: f"not installed: {OPTIONAL[name]}" if name == package else "1.2" for name in OPTIONAL}


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


def test_a_forced_backend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("reference"):
        report = doctor.report()
    assert "the backend reference is forced" in report
    assert report.count("* reference") == len(backends.kernel_names())
    monkeypatch.setenv("XAI_FAST_BACKEND", "opencl")
    assert "XAI_FAST_BACKEND: expected one of cuda, triton, native, reference, got 'opencl'" in doctor.report()
