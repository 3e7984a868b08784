"""Run all speed benchmarks, keep the results as JSON with the environment, and renew docs/results.md: ``make
bench``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.environment import describe
from benchmarks.table import renew_tables

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "speed.json"


def main() -> int:
    """Run pytest-benchmark; arguments go to pytest, so that ``python -m benchmarks -k kernels`` runs a part.

    Results of benchmarks that were not run this time are kept, each with the environment of its own run.
    """
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "benchmark.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "benchmarks",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--benchmark-json={raw}",
        ]
        code = subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, check=False).returncode
        measured = json.loads(raw.read_text())["benchmarks"] if raw.exists() and raw.stat().st_size else []
    environment = describe()
    kept = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for one in measured:
        name = f"{Path(one['fullname'].split('::')[0]).stem}::{one['name']}"
        kept[name] = {"environment": environment, "median_seconds": one["stats"]["median"], **one["extra_info"]}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    renew_tables()
    return code


if __name__ == "__main__":
    sys.exit(main())
