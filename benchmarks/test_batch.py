"""What running a method as a long job costs, against the same method in a plain loop on the same files."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.measure import in_turn, ratio
from xai_fast import GradCAM
from xai_fast.datasets.photos import sample_photos
from xai_fast.jobs import JobSpec, open, run
from xai_fast.models.classifiers import load

PHOTOS = 480
CHUNK = 8
LAYER = "_blocks.10"
CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Photos of 500 x 375 pixels as JPEG, as cameras and the web have them, only smaller."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photos = itertools.cycle([photo.open().convert("RGB") for photo in sample_photos(["foolbox"])])
    files = [folder / f"{i:05d}.jpg" for i in range(PHOTOS)]
    for file, photo in zip(files, photos, strict=False):
        photo.resize((500, 375)).save(file, quality=90)
    return files


def test_local_against_a_plain_loop(benchmark: BenchmarkFixture, tmp_path: Path, files: list[Path]) -> None:
    """At most 5 % over the loop, with the start of the processes, which takes some seconds however long the job is.

    The loop may use all cores in each operation; the job has a process a core. Both load the model, read the photos and
    keep the maps; the job stores them, too. Grad-CAM is the cheapest of the methods, so nothing hides behind it.
    """
    from PIL import Image

    runs = itertools.count()
    maps: list[Tensor] = []

    def loop() -> None:
        torch.set_num_threads(CORES)
        network = load("efficientnet-lite0")
        explainer = GradCAM(network.model, layer=LAYER)
        maps.clear()
        for first in range(0, PHOTOS, CHUNK):
            batch = torch.stack([network.transform(Image.open(file)) for file in files[first : first + CHUNK]])
            maps.append(explainer.attribute(batch))

    def job() -> None:
        spec = JobSpec(
            source=[str(file) for file in files],
            method="gradcam",
            options={"layer": LAYER},
            model="efficientnet-lite0",
            shard_size=PHOTOS // 8,
            dtype="float32",
            batch_size=CHUNK,
        )
        run(spec, tmp_path / str(next(runs)), workers=CORES, progress=False)

    seconds = in_turn({"loop": loop}, 1, warm_up=0)
    benchmark.pedantic(lambda: seconds.update(in_turn({"local": job}, 1, warm_up=0)), rounds=1)
    store = open(tmp_path / "0")
    stored = store[:].fields["attributions"]
    torch.testing.assert_close(stored, torch.cat(maps).reshape(stored.shape), rtol=1e-3, atol=1e-4)
    headers = [header for _, header in store.headers()]
    begun, ended = min(header.began for header in headers), max(header.finished for header in headers)
    benchmark.extra_info |= {
        "seconds": seconds,
        "local_over_loop": ratio(seconds, "local", "loop"),
        "seconds_until_work_begins_and_after_it": seconds["local"][0] - (ended - begun),
        "photos": PHOTOS,
        "processes": CORES,
    }
    assert ratio(seconds, "local", "loop") <= 1.05
