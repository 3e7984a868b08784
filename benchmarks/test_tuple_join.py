"""The strongest of 10^8 extensions, as T-NID finds them: the memory it takes, in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from pytest_benchmark.fixture import BenchmarkFixture

from tests.helpers.kernel_cases.tuple_join import distinct_sets
from xai_fast.engine.memory import peak_memory
from xai_fast.interaction.candidates import Scored, Strongest
from xai_fast.kernels.tuple_join import extensions

ROOT = Path(__file__).resolve().parents[1]
PARENTS, FEATURES, BEST = 100_000, 1_000, 1_000
MOST_MEMORY = 1 << 30


def stream() -> dict[str, float]:
    """Extend pairs by one feature, score each triple by its sum of weights, and keep the best."""
    generator = torch.Generator().manual_seed(0)
    parents = distinct_sets(PARENTS, 2, FEATURES, generator)
    weights = torch.randn(FEATURES, generator=generator, dtype=torch.float64)
    before = peak_memory(torch.device("cpu"))
    start = time.perf_counter()
    strongest, candidates = Strongest(BEST), 0
    for block in extensions(parents, FEATURES):
        effects = weights[block].sum(1)
        strongest.add(Scored(block.long(), effects, effects))
        candidates += block.shape[0]
    best = strongest.best()
    seconds = time.perf_counter() - start
    strength = best.effects.abs()
    return {
        "positions": PARENTS * FEATURES,
        "candidates": candidates,
        "seconds": seconds,
        "peak_bytes": peak_memory(torch.device("cpu")),
        "peak_bytes_before": before,
        "right": bool(torch.equal(best.effects, weights[best.sets].sum(1)) and (strength[:-1] >= strength[1:]).all()),
        "threads": torch.get_num_threads(),
    }


def test_a_hundred_million_candidates(benchmark: BenchmarkFixture) -> None:
    """100,000 pairs of 1,000 features: the peak of the whole process stays under 1 GiB."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    def in_a_process() -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.test_tuple_join"]
        done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found

    found = benchmark.pedantic(in_a_process, rounds=1)
    benchmark.extra_info |= found
    assert found["right"]
    assert found["positions"] == 10**8
    assert found["candidates"] > 0.5 * found["positions"]  # the rest is no candidate, or came at an earlier parent
    assert found["peak_bytes"] < MOST_MEMORY
    assert found["seconds"] < 60


if __name__ == "__main__":
    print(json.dumps(stream()))
