"""How soon a job over a million items is at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from xai_fast.jobs import JobSpec, status

COUNT = 1_000_000
START = 10.0
"""Seconds by the clock until the first receipt, from before torch is imported."""
LARGEST = 500 << 20

DRIVER = """
import json, sys, threading, time
from pathlib import Path
begun = time.perf_counter()
import torch
from xai_fast.jobs import JobSpec, run
from xai_fast.engine.memory import peak_memory
spec, out = json.loads(sys.argv[1])
first = []

def look():
    while not any(Path(out, "commits").glob("shard-*.json")):
        time.sleep(0.02)
    first.append(time.perf_counter() - begun)

threading.Thread(target=look, daemon=True).start()
run(JobSpec.from_dict(spec), out, workers=2, progress=False)
peak = peak_memory(torch.device("cpu"))  # not ru_maxrss, which begins with that of the process that started this one
print(json.dumps({"first": first[0], "peak": peak, "all": time.perf_counter() - begun}))
"""


class Sums:
    """An explainer that costs next to nothing: it adds up each item."""

    def explain(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"sums": inputs.sum(1)}


def test_a_million_items_begin_at_once(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.random.default_rng(0).random((COUNT, 2), dtype=np.float32))
    spec = JobSpec(
        source=str(tmp_path / "items.npy"),
        explainer="benchmarks.test_batch_million:Sums",
        shard_size=8192,
        batch_size=2048,
    )
    arguments = json.dumps([spec.to_dict(), str(tmp_path / "job")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def drive() -> str:
        command = [sys.executable, "-c", DRIVER, arguments]
        return subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=True).stdout

    driver = json.loads(benchmark.pedantic(drive, rounds=1))
    now = status(tmp_path / "job")
    assert (now.done, now.failed) == (COUNT, 0)
    benchmark.extra_info |= {
        "seconds_until_the_first_receipt": driver["first"],
        "seconds_in_all": driver["all"],
        "peak_memory_of_the_driver": driver["peak"],
        "items": COUNT,
    }
    assert driver["first"] < START
    assert driver["peak"] < LARGEST
