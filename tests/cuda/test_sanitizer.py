"""The kernels in CUDA C++ touch nothing that is not theirs, and have no races, as compute-sanitizer sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kernel_checks import COMPILED

pytestmark = pytest.mark.cuda
HERE = Path(__file__).parent


def test_kernels_in_cuda_under_compute_sanitizer(device: torch.device) -> None:
    watched: list[list[str]] = [[]]
    if device.type == "cuda":
        found = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
        if found is None:
            pytest.skip("no compute-sanitizer")
        watched = [[found, "--tool", tool, "--error-exitcode", "9"] for tool in ("memcheck", "racecheck")]
    paths = [str(HERE), str(HERE.parent / "helpers"), str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]
    for command in watched:
        done = subprocess.run(
            [*command, sys.executable, str(HERE / "sanitized_run.py"), str(device), *COMPILED],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=100,
        )
        if "Device not supported" in done.stdout:
            pytest.skip("compute-sanitizer does not support the device")
        assert done.returncode == 0, done.stdout
        assert "all cases are right" in done.stdout
