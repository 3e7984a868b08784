"""How soon a job over a million items is at work, and what a million shards ask of a file system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from xai_fast import Explanation, Method
from xai_fast.engine.call import Call
from xai_fast.jobs import JobSpec, status

COUNT = 1_000_000
START = 10.0
"""Seconds by the clock until the first shard, from before torch is imported."""
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
    while not any(Path(out, "shards").glob("*/0*.safetensors")):
        time.sleep(0.02)
    first.append(time.perf_counter() - begun)

threading.Thread(target=look, daemon=True).start()
run(JobSpec.from_dict(spec), out, workers=2, progress=False)
peak = peak_memory(torch.device("cpu"))  # not ru_maxrss, which begins with that of the process that started this one
print(json.dumps({"first": first[0], "peak": peak, "all": time.perf_counter() - begun}))
"""


class Sums(Method):
    """Costs next to nothing: it adds up each item."""

    score = "logit"

    def _explain(self, call: Call) -> Explanation:
        sums = call.values[0].flatten(1).sum(1)
        evaluations = torch.ones(call.batch, dtype=torch.int64)
        return Explanation(attributions=sums[:, None], scores=sums, evaluations=evaluations)


def identity() -> nn.Module:
    """A model that says what it is given."""
    return nn.Identity()


def test_a_million_items_begin_at_once(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.random.default_rng(0).random((COUNT, 2), dtype=np.float32))
    spec = JobSpec(
        source=str(tmp_path / "items.npy"),
        method="benchmarks.test_batch_million:Sums",
        model="benchmarks.test_batch_million:identity",
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
        "seconds_until_the_first_shard": driver["first"],
        "seconds_in_all": driver["all"],
        "peak_memory_of_the_driver": driver["peak"],
        "items": COUNT,
    }
    assert driver["first"] < START
    assert driver["peak"] < LARGEST


def test_a_million_shards(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """By a thousand workers of which one in a hundred attempts dies: each shard once, few operations, small folders."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))
    from simulated_job import simulate

    made: list[Any] = []
    simulation = {"shards": 1_000_000, "workers": 1000, "deaths": 0.01}
    benchmark.pedantic(lambda: made.append(simulate(tmp_path / "job", **simulation)), rounds=1)
    done = made[0]
    benchmark.extra_info |= {
        "deaths": done.deaths,
        "written_twice": done.twice,
        "operations_per_shard": done.operations_per_shard,
        "operations": done.counts,
        "largest_folder": done.largest_folder,
        "seconds_of_status": done.seconds_of_status,
    }
    assert done.complete
    assert done.operations_per_shard <= 12
    assert done.largest_folder <= 2000
    assert done.seconds_of_status < 10
