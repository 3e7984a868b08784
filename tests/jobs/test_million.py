from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from simulated_job import simulate

from xai_fast.jobs import JobSpec, open, status

COUNT = 200_000
OF_A_MILLION = 1_000_000 // COUNT
WIDTH = 2
LARGEST = 500 << 20
"""Bytes of a driver of a million items: what importing takes, and of the rest so many times as much."""

START = 10.0
"""Seconds of the processor that the driver has until the first receipt; those of the clock are in the benchmarks."""

DRIVER = """
import json, sys, threading, time
from pathlib import Path
import torch
from xai_fast.jobs import JobSpec, run
from xai_fast.engine.memory import peak_memory
spec, out, options = json.loads(sys.argv[1])
first = []

def taken():  # not ru_maxrss, which begins with that of the process that started this one
    return time.process_time(), peak_memory(torch.device("cpu"))

imported = taken()

def look():
    while not any(Path(out, "shards").glob("*/0*.safetensors")):
        time.sleep(0.02)
    first.append(time.process_time())

threading.Thread(target=look, daemon=True).start()
now = run(JobSpec.from_dict(spec), out, progress=False, **options)
print(json.dumps({"begun": [imported[0], first[0]], "peak": [imported[1], taken()[1]], "done": now.done}))
"""


@pytest.mark.slow
def test_a_million_items_keep_the_driver_small_and_begin_at_once(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((COUNT, WIDTH), dtype=np.float32)
    np.save(tmp_path / "items.npy", values)
    spec = JobSpec(
        source=str(tmp_path / "items.npy"),
        method="batch_models:Sums",
        model="batch_models:identity",
        shard_size=8192,
        batch_size=2048,
    )
    arguments = json.dumps([spec.to_dict(), str(tmp_path / "job"), {"workers": 2}])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, arguments], env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    driver = json.loads(done.stdout)
    assert driver["done"] == COUNT
    for what, most in (("peak", LARGEST), ("begun", START)):
        imported, whole = driver[what]
        assert imported + OF_A_MILLION * (whole - imported) < most, driver
    store = open(tmp_path / "job")
    assert len(store) == COUNT
    picked = np.random.default_rng(1).integers(0, COUNT, 100)
    found = torch.stack([store[int(i)].fields["scores"] for i in picked])
    torch.testing.assert_close(found, torch.from_numpy(values[picked].sum(1)))
    assert status(tmp_path / "job").failed == 0


@pytest.mark.slow
def test_many_shards_workers_and_deaths(tmp_path: Path) -> None:
    """Twenty thousand shards, by a hundred workers; the million is in the benchmarks."""
    done = simulate(tmp_path, shards=20_000, workers=100, deaths=0.01)
    assert done.complete
    assert done.twice < 0.02 * 20_000
    assert done.deaths > 100
    assert done.operations_per_shard <= 12
    assert done.largest_folder <= 2000
    assert done.seconds_of_status < 10
