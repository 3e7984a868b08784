"""Check and measure the package on a machine with one GPU: ``python -m benchmarks.gpu --out DIR``. See docs/gpu.md."""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import describe
from benchmarks.gpu.setting import Setting, clocks, precision
from benchmarks.gpu.steps import STEPS
from benchmarks.gpu.table import table

ROOT = Path(__file__).parents[2]
RESULT = "gpu.json"
_LEAST = 5.0
"""Seconds without which a step is not begun."""


def main() -> int:
    """Run the steps, each in a process of its own, and write what is known after each of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--minutes", type=float, default=8.0, help="for everything; 8 by default")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny sizes")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="only these")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    # Processes that steps start find the package, too. This one asks no GPU anything: a fork could not use it then.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if arguments.rehearse:
        os.environ["XAI_FAST_PREPARE"] = "off"  # for GPUs no model is folded, and the loops read less
    end = time.monotonic() + 60 * arguments.minutes
    results: dict[str, Any] = {"rehearsal": arguments.rehearse, "minutes": arguments.minutes, "steps": {}}
    for name in arguments.steps:
        share = 60 * arguments.minutes * STEPS[name].share
        seconds = min(share, end - time.monotonic())
        results["steps"][name] = _step(Setting(arguments.out, arguments.rehearse, seconds, name))
        _write(arguments.out / RESULT, results)
        print(f"{name}: {results['steps'][name]['status']}", flush=True)
    print(table(results))
    return 0 if all(step["status"] == "done" for step in results["steps"].values()) else 1


def _step(setting: Setting) -> dict[str, Any]:
    """Run a step in a process that is ended when its time is over; returns its results and what became of it."""
    if setting.seconds < _LEAST:
        return {"status": "skipped", "reason": "no time was left"}
    files = {what: setting.out / f"{setting.name}.{what}.json" for what in ("part", "end")}
    for file in files.values():
        file.unlink(missing_ok=True)
    run = functools.partial(_in_a_process, setting, files["end"])
    process = multiprocessing.get_context("fork").Process(target=run)
    begun = time.monotonic()
    process.start()
    process.join(setting.seconds)
    found: dict[str, Any] = {"status": "cut", "error": f"it took longer than {setting.seconds:.0f} s"}
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has started
        process.join()
    elif files["end"].exists():
        found = json.loads(files["end"].read_text())
    else:
        found = {"status": "failed", "error": f"the process ended with {process.exitcode}"}
    if files["part"].exists():
        found["results"] = json.loads(files["part"].read_text())
    for file in files.values():
        file.unlink(missing_ok=True)
    return found | {"seconds": time.monotonic() - begun}


def _in_a_process(setting: Setting, file: Path) -> None:
    os.setsid()
    if setting.rehearse:  # the same calls of torch.compile, without a compiler of C++
        torch.compile = functools.partial(torch.compile, backend="aot_eager")
    before, ended = clocks(), {"status": "done"}
    try:
        with precision("float32"):
            STEPS[setting.name].run(setting)
    except BaseException:
        ended = {"status": "failed", "error": traceback.format_exc()}
    measured = {"environment": describe()} if setting.name not in ("build", "checks") else {}
    _write(file, {**ended, **measured, "clocks": {"before": before, "after": clocks()}})
    os._exit(0)


def _write(path: Path, results: object) -> None:
    path.with_suffix(".new").write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".new").replace(path)


if __name__ == "__main__":
    sys.exit(main())
