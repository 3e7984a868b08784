"""What Ray costs a long job, against the explainer in a plain loop and against processes of this machine."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.measure import in_turn, ratio
from xai_fast import NeFLAG
from xai_fast.datasets.generated_shapes import write_pictures
from xai_fast.jobs import JobSpec, Store, open, run
from xai_fast.models.generated_shapes import small_classifier

PICTURES = 20_000
SHARD = 1000
CHUNK = 32
OPTIONS = {"radius": 0.3, "points": 20}
CORES = len(os.sched_getaffinity(0))


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
def test_ray_against_a_plain_loop(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """At most 15 % over the loop at 1,000 items per shard, also with the start of the cluster and of its workers.

    The start is some 20 seconds however long the job is, so the job has to last more than a minute; the span from the
    first attempt to the last receipt is noted beside it. The loop may use all cores in each operation; the job has a
    worker a core.
    """
    from PIL import Image

    files = sorted(write_pictures(tmp_path / "pictures", PICTURES).rglob("*.png"))
    folders = {name: tmp_path / name for name in ("local", "ray")}
    maps: list[Tensor] = []

    def loop() -> None:
        torch.set_num_threads(CORES)
        network = small_classifier()
        explainer = NeFLAG(network.model, **OPTIONS, seed=0)
        for chunk in (files[first : first + CHUNK] for first in range(0, PICTURES, CHUNK)):
            images = torch.stack([network.transform(Image.open(file)) for file in chunk])
            maps.append(explainer.attribute(images))

    def job(runner: str) -> None:
        spec = JobSpec(
            source=[str(file) for file in files],
            method="neflag",
            options=OPTIONS,
            model="xai_fast.models.generated_shapes:small_classifier",
            shard_size=SHARD,
            dtype="float32",
            batch_size=CHUNK,
        )
        run(spec, folders[runner], runner=runner, workers=CORES, progress=False)

    seconds = in_turn({"loop": loop, "local": lambda: job("local")}, 1, warm_up=0)
    benchmark.pedantic(lambda: seconds.update(in_turn({"ray": lambda: job("ray")}, 1, warm_up=0)), rounds=1)
    stores = {name: open(folder) for name, folder in folders.items()}
    torch.testing.assert_close(stores["ray"][:].fields["attributions"], stores["local"][:].fields["attributions"])
    assert len(torch.cat(maps)) == PICTURES
    working = {name: [_span(store)] for name, store in stores.items()} | {"loop": seconds["loop"]}
    benchmark.extra_info |= {
        "seconds": seconds,
        "seconds_of_work": working,
        "ray_over_loop": ratio(working, "ray", "loop"),
        "ray_over_local": ratio(working, "ray", "local"),
        "ray_over_loop_with_start": ratio(seconds, "ray", "loop"),
        "pictures": PICTURES,
        "processes": CORES,
    }
    assert ratio(seconds, "ray", "loop") <= 1.15
    assert ratio(working, "ray", "local") <= 1.15


def _span(store: Store) -> float:
    """Return the seconds from the first attempt to the last shard."""
    headers = [store.shards.header(shard) for shard in store.shards.all_done()]
    return max(header.finished for header in headers) - min(header.began for header in headers)
