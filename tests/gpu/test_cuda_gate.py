"""The CUDA kernels compile for each GPU: few registers, no spills, no local memory, little shared memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda_builds import ARCHITECTURES, needs_nvcc, resources, source_of
from cuda_runs import KERNELS

pytestmark = [pytest.mark.gpu_gate, needs_nvcc]

MOST_REGISTERS = 128
MOST_SHARED = 48 << 10
"""Bytes that every GPU gives a block without being asked."""


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_resources(kernel: str, architecture: str, tmp_path: Path, report: list[str]) -> None:
    found = resources(source_of(kernel), architecture, tmp_path)
    assert found
    for name, used in found.items():
        report.append(
            f"{kernel:14} {name:24} {architecture:6} {used.spills} spilled, {used.registers} registers, "
            f"{used.shared} bytes shared, {used.local + used.stack} local"
        )
    assert not {
        name: used
        for name, used in found.items()
        if used.spills or used.stack or used.local or used.registers > MOST_REGISTERS or used.shared > MOST_SHARED
    }
