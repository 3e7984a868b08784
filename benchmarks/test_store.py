"""The store of long jobs: how fast it reads, and what its codecs lose."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from xai_fast.datasets.photos import sample_photos
from xai_fast.jobs import Store, open
from xai_fast.jobs.store.codecs import CODECS, decode, encode
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import create_job
from xai_fast.jobs.store.rows import Rows
from xai_fast.jobs.store.shards import Header, Shards
from xai_fast.models.classifiers import load

COUNT = 20_000
SHARD = 1024


def _store(path: Path, count: int, shape: tuple[int, ...], dtype: str) -> Store:
    root = Folder(path, create=True)
    items = Items.freeze(root, (), ((f"photos/{i:06d}.jpg", ()) for i in range(count)))
    create_job(root, {"spec": {"shard_size": SHARD, "dtype": dtype}, "fingerprint": "0", "items": items})
    shards = Shards(root, "0", count, SHARD)
    maps = torch.randn(SHARD, *shape) * 1e-8
    for shard in range(len(shards)):
        span = shards.span(shard)
        rows = Rows(len(span), dtype)
        fields = {"attributions": maps[: len(span)], "scores": torch.rand(len(span)), "targets": torch.tensor(span)}
        rows.put(range(len(span)), fields)
        assert shards.write(shard, Header("0", span.start, span.stop), rows.tensors)
    return open(path)


def test_random_map(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """One of 20,000 maps in under a millisecond."""
    read = _store(tmp_path / "job", COUNT, (112, 112), "float16_scaled")
    chosen = random.Random(0)
    for i in range(0, COUNT, 7):  # warm: the files are in the page cache, the shards are open
        read[i]
    seconds = []
    for _ in range(2000):
        i = chosen.randrange(COUNT)
        start = time.perf_counter()
        read[i]
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    open(read.path)
    opening = time.perf_counter() - start
    benchmark.pedantic(lambda: read[chosen.randrange(COUNT)], rounds=200)
    benchmark.extra_info |= {
        "items": COUNT,
        "milliseconds": median(seconds) * 1e3,
        "milliseconds_99th_percentile": sorted(seconds)[-20] * 1e3,
        "milliseconds_to_open_the_store": opening * 1e3,
    }
    assert median(seconds) < 1e-3


@pytest.mark.parametrize("dtype", CODECS)
def test_iteration(benchmark: BenchmarkFixture, tmp_path: Path, dtype: str) -> None:
    """All maps one after the other, decoded, at a gigabyte a second or more from the page cache."""
    read = _store(tmp_path / "job", 2 * SHARD, (224, 224), dtype)
    stored = sum(file.stat().st_size for file in read.path.glob("shards/*/*"))
    decoded = len(read) * 4 * 224 * 224

    def timed(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def iterate() -> int:
        return sum(result.fields["attributions"].shape[0] for _, result in read)

    iterate()
    seconds = [timed(iterate) for _ in range(5)]
    slices = [timed(lambda: [read[i : i + 64] for i in range(0, len(read), 64)]) for _ in range(3)]
    benchmark.pedantic(iterate, rounds=1)
    benchmark.extra_info |= {
        "decoded_gigabytes_a_second": decoded / median(seconds) / 1e9,
        "stored_gigabytes_a_second": stored / median(seconds) / 1e9,
        "slices_of_64_decoded_gigabytes_a_second": decoded / median(slices) / 1e9,
    }
    assert decoded / median(seconds) >= 1e9


def codec_errors(maps: Tensor) -> dict[str, dict[str, float]]:
    """What each codec, and float16 without a scale, makes of maps: (rows, ...) float32.

    Errors are relative to the map: the root mean square (of the median and of the worst map), and the largest error
    over the largest entry of its map. Lost are the entries that were not zero and are so now.
    """
    flat = maps.flatten(1)
    decoded = {name: decode(*encode(name, flat), torch.empty_like(flat)) for name in CODECS}
    decoded["float16 without a scale"] = flat.half().float()
    found = {}
    for name, got in decoded.items():
        error = (got - flat).double()
        relative = error.norm(dim=1) / flat.double().norm(dim=1)
        found[name] = {
            "relative_root_mean_square": float(relative.median()),
            "relative_root_mean_square_of_the_worst_map": float(relative.max()),
            "largest_over_largest_entry": float((error.abs().amax(1) / flat.abs().amax(1)).max()),
            "share_of_entries_lost": float((got == 0)[flat != 0].double().mean()),
            "bytes_an_entry": CODECS[name].itemsize if name in CODECS else 2,
        }
    return found


def _drawn_maps(low: float, high: float) -> Tensor:
    """Heavy-tailed maps: as those of a softmax, small where the model is sure and large where it is not."""
    generator = torch.Generator().manual_seed(0)
    shape = (256, 3, 64, 64)
    tails = torch.randn(shape, generator=generator).exp()
    magnitudes = torch.logspace(low, high, 256)[:, None, None, None]
    return torch.randn(shape, generator=generator) * tails * magnitudes


def _softmax_gradients() -> Tensor:
    """The gradients of the winning class's probability in EfficientNet-Lite0, for sample photos."""
    network = load("efficientnet-lite0")
    photos = torch.stack([network.transform(photo.open()) for photo in sample_photos(["foolbox"])])
    photos.requires_grad_(True)
    network.model(photos).softmax(1).amax(1).sum().backward()
    assert photos.grad is not None
    return photos.grad


def test_codec_errors(benchmark: BenchmarkFixture) -> None:
    """The default loses no entry and half of 2**-11; float16 without a scale loses most of them."""
    drawn, gradients = codec_errors(_drawn_maps(-9, -3)), codec_errors(_softmax_gradients())
    benchmark.pedantic(lambda: codec_errors(_drawn_maps(-9, -3)), rounds=1)
    lost = {f"1e{power}": codec_errors(_drawn_maps(power, power)) for power in range(-10, -2)}
    benchmark.extra_info |= {
        "drawn_1e-9_to_1e-3": drawn,
        "softmax_gradients_of_photos": gradients,
        "lost_by_float16_without_a_scale_at": {
            magnitude: errors["float16 without a scale"]["share_of_entries_lost"] for magnitude, errors in lost.items()
        },
    }
    for errors in (drawn, gradients):
        assert errors["float16_scaled"]["relative_root_mean_square"] < 2.0**-11
        assert errors["float16_scaled"]["share_of_entries_lost"] < 1e-6
        assert errors["float32"]["largest_over_largest_entry"] == 0
