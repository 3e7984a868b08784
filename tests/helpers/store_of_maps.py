"""A store with maps, for the tests of what reads one: written through the store, with nothing computed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store import Items, Layout, Rows, Status, create_job, write_shard


def write_store(
    root: Path,
    count: int,
    *,
    shard_size: int = 64,
    ids: Sequence[str] | range | None = None,
    shards: Sequence[int] | None = None,
    failed: dict[int, tuple[Status, str]] | None = None,
    shape: tuple[int, ...] = (1, 28, 28),
    **spec: Any,
) -> Layout:
    """Write a store of `count` items, of which the source is an array beside it, pictures of 28 x 28 greys."""
    root.mkdir(parents=True, exist_ok=True)
    array = root.parent / f"{root.name}.npy"
    if not array.exists():
        pictures = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
        pictures[:, 9:18, 9:18] = 255
        np.save(array, pictures)
    job = JobSpec(**{"source": str(array), "model": "models:build", "shard_size": shard_size} | spec)
    layout = Layout(root)
    items = Items.freeze(layout, range(count) if ids is None else ids)
    document = {"spec": job.to_dict(), "fingerprint": "0" * 64, "items": {"count": count, "sha256": items.sha256}}
    create_job(layout, document)
    for shard in range(-(-count // shard_size)) if shards is None else shards:
        start, stop = shard * shard_size, min((shard + 1) * shard_size, count)
        write_shard(layout, shard, start, stop, some_rows(start, stop, failed or {}, shape), job.dtype, about())
    return layout


def some_rows(start: int, stop: int, failed: dict[int, tuple[Status, str]], shape: tuple[int, ...]) -> Rows:
    numbers = torch.arange(start, stop)
    maps = torch.rand(stop - start, *shape, generator=torch.Generator().manual_seed(start)) * 0.2
    maps[..., 9:18, 9:18] += 1.0
    fields = {
        "attributions": maps,
        "scores": ((numbers * 7919) % 1000).float() / 1000,
        "targets": numbers % 10,
        "evaluations": numbers + 5,
    }
    rows = Rows(stop - start)
    bad = [failed.get(int(number)) for number in numbers]
    statuses = [Status.OK if entry is None else entry[0] for entry in bad]
    rows.put(0, fields, statuses, [None if entry is None else entry[1] for entry in bad])
    return rows


def about() -> dict[str, Any]:
    seconds = {"decode": 0.2, "model": 1.0, "kernels": 0.3, "write": 0.1, "total": 2.0}
    return {"seconds": seconds, "evaluations": 700, "versions": {"torch": "2.6"}, "finished": time.time()}
