"""How long a new user waits from a clone to the first picture, step by step: ``python -m benchmarks.install``.

Clones what is committed, runs the steps of ``make demo`` one after the other in the clone, and writes the result
after each; `benchmarks.table` prints them. Packages come from where pip finds them, so its cache and the network count.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import describe

__all__ = ["RESULT", "measure", "table"]

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "install.json"
TORCH = "torch"
STEPS: Mapping[str, list[str]] = {
    "clone": ["git", "clone", "--quiet", f"file://{ROOT}", "."],
    "environment: venv, pip, cmake, pybind11": ["make", ".venv/.python"],
    TORCH: ["make", ".venv/.torch"],
    "build of the native module": ["make", ".venv/.native"],
    "packages of the demo": ["make", ".venv/.demo"],
    "first picture of the demo": [".venv/bin/xai-fast", "demo", "--out", "out"],
}
PICTURE = "out/first/report.html"
"""What the last step is ended after."""


def measure(folder: Path, steps: Mapping[str, list[str]] = STEPS, result: Path = RESULT) -> dict[str, Any]:
    """Run the steps in an empty folder.

    Args:
        folder: of the clone.
        steps: name to command; the last one is ended as soon as `PICTURE` is there.
        result: a JSON file, written after each step.

    Returns:
        What was written: "environment", and by step "seconds" and "cpu_seconds", those of its processes.
    """
    found: dict[str, Any] = {"environment": describe() | {"processors": os.cpu_count()}, "steps": {}}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XAI_FAST_", "PYTHON", "OMP_"))}
    for name, command in steps.items():
        started, cpu_before = time.perf_counter(), _cpu_seconds()
        # A session of its own: what the last step has started ends with it.
        running = subprocess.Popen(command, cwd=folder, env=clean, start_new_session=True)
        while running.poll() is None and not (folder / PICTURE).exists():
            time.sleep(0.05)
        seconds = time.perf_counter() - started
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGTERM)
        elif running.returncode:
            raise subprocess.CalledProcessError(running.returncode, command)
        running.wait()
        found["steps"][name] = {"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu_before}
        result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(found: Mapping[str, Any]) -> str:
    """Make the table of times by step, with the sum, and the sum without torch, which is mostly its download."""
    steps, machine = found["steps"], found["environment"]
    sums = {"**all**": list(steps), "**all but torch**": [name for name in steps if name != TORCH]}
    rows = {**steps, **{title: _sum(steps, names) for title, names in sums.items()}}
    lines = [f"| {name} | {row['seconds']:.0f} s | {row['cpu_seconds']:.0f} s |" for name, row in rows.items()]
    about = (
        f"{machine['cpu']}, {machine['processors']} processors, Python {machine['python']}, torch {machine['torch']}."
    )
    return "\n".join(["| step | time | processor time |", "|---|---|---|", *lines, "", about])


def _sum(steps: Mapping[str, Mapping[str, float]], names: list[str]) -> dict[str, float]:
    return {key: sum(steps[name][key] for name in names) for key in ("seconds", "cpu_seconds")}


def main() -> None:
    """Measure in a folder that is removed again."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        print(table(measure(Path(folder))))


if __name__ == "__main__":
    main()
