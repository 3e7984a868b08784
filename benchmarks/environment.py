"""What a measurement was made on; kept beside every result."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

import xai_fast

__all__ = ["describe", "said"]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """Give the commit, and say whether the code differs from it; results and documents do not count."""

    def git(*words: str) -> str:
        root = Path(__file__).parent.parent
        return subprocess.run(["git", *words], cwd=root, text=True, capture_output=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "xai_fast", "csrc", "benchmarks/*.py")
    return (git("describe", "--always") or "unknown") + "-dirty" * bool(changed)


def describe() -> dict[str, object]:
    """Describe the machine and the software, as plain values for JSON."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "amx": bool(torch.cpu._is_amx_tile_supported()),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "xai_fast": xai_fast.__version__,
    }


def said(environments: Iterable[Mapping[str, Any]]) -> str:
    """Say on which machines and at which commits something was measured."""
    commits: dict[str, list[str]] = {}
    for one in environments:
        commits.setdefault(f"{one['cpu']}, torch {one['torch']}", []).append(str(one["commit"]))
    return "; ".join(f"{machine}, commit {', '.join(sorted(set(found)))}" for machine, found in commits.items()) + "."
