"""A store with maps, for the tests of what reads one: written through the store, with nothing computed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai_fast.jobs.sources import open_source
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import Status, create_job, read_job
from xai_fast.jobs.store.rows import Rows
from xai_fast.jobs.store.shards import Header, Shards

METHODS = {"neflag": {"kind": "Explanation", "settings": {"method": "neflag"}}}


def write_store(
    root: Path,
    count: int,
    *,
    shard_size: int = 64,
    ids: Sequence[str] | None = None,
    shards: Sequence[int] | None = None,
    failed: dict[int, tuple[Status, str]] | None = None,
    shape: tuple[int, ...] = (1, 28, 28),
    fingerprint: str = "0" * 64,
    **spec: Any,
) -> Path:
    """Write a store of `count` items, of which the source is an array beside it, pictures of 28 x 28 greys."""
    root.mkdir(parents=True, exist_ok=True)
    array = root.parent / f"{root.name}.npy"
    if not array.exists():
        pictures = np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)
        pictures[:, 9:18, 9:18] = 255
        np.save(array, pictures)
    job = JobSpec(**{"source": str(array), "model": "models:build", "shard_size": shard_size} | spec)
    folder = Folder(root)
    numbered = {"count": count, "folder": None}
    items = numbered if ids is None else Items.freeze(folder, (), ((name, ()) for name in ids))
    source = {} if job.source["kind"] == "indexable" else open_source(job.source).identity()
    create_job(folder, {"spec": job.to_dict(), "fingerprint": fingerprint, "items": items, "source": source})
    for shard in range(-(-count // shard_size)) if shards is None else shards:
        write_shard(root, shard, failed, shape)
    return root


def write_shard(
    root: Path,
    shard: int,
    failed: dict[int, tuple[Status, str]] | None = None,
    shape: tuple[int, ...] = (1, 28, 28),
    *,
    methods: Mapping[str, dict[str, Any]] = METHODS,
    **more: torch.Tensor,
) -> None:
    """Write a shard of a store, with more fields of its items if wanted."""
    job, folder = read_job(root), Folder(root)
    store = Shards(folder, job["fingerprint"], job["items"]["count"], job["spec"]["shard_size"])
    span, failed = store.span(shard), failed or {}
    numbers = torch.arange(span.start, span.stop)
    maps = torch.rand(len(span), *shape, generator=torch.Generator().manual_seed(span.start)) * 0.2
    maps[..., 9:18, 9:18] += 1.0
    fields = {
        "attributions": maps,
        "scores": ((numbers * 7919) % 1000).float() / 1000,
        "targets": numbers % 10,
        "evaluations": numbers + 5,
        **more,
    }
    rows = Rows(len(span), job["spec"]["dtype"])
    good = [i for i in range(len(span)) if span.start + i not in failed]
    rows.put(good, {name: value[good] for name, value in fields.items()})
    header = Header(
        job=job["fingerprint"],
        start=span.start,
        stop=span.stop,
        failed={i - span.start: (failed[i][0].label, failed[i][1]) for i in span if i in failed},
        seconds={"decode": 0.2, "explain": 1.3, "total": 2.0},
        evaluations=700,
        versions={"torch": "2.6"},
        methods=methods,
        finished=time.time(),
    )
    store.write(shard, header, rows.tensors)
