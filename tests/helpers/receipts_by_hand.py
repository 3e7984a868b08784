"""A store that holds receipts only, written by hand, for what looks at receipts only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xai_fast.jobs.store import Items, Layout

PARTS = {"decode": 1.0, "model": 6.0, "kernels": 2.0, "write": 0.5, "total": 10.0}


def write_job(root: Path, count: int, shard_size: int) -> None:
    items = Items.freeze(Layout(root), range(count))
    document = {
        "format": 1,
        "spec": {"shard_size": shard_size, "dtype": "float32", "explainer": "neflag"},
        "fingerprint": "0" * 64,
        "items": {"count": count, "sha256": items.sha256},
        "created": 990.0,
    }
    (root / "job.json").write_text(json.dumps(document))


def write_receipt(
    root: Path,
    shard: int,
    rows: tuple[int, int],
    *,
    finished: float,
    failed: Sequence[tuple[int, str]] = (),
    **changes: Any,
) -> None:
    start, stop = rows
    statuses = {"ok": stop - start - len(failed)} | ({"failed": len(failed)} if failed else {})
    receipt = {
        "shard": shard,
        "start": start,
        "stop": stop,
        "file": f"shard-{shard:06d}.{shard:016x}.safetensors",
        "bytes": 1000,
        "sha256": "0" * 64,
        "fields": {},
        "statuses": statuses,
        "failed": [list(entry) for entry in failed],
        "seconds": PARTS,
        "evaluations": 100,
        "peak_memory": 1 << 30,
        "worker": "local-0",
        "versions": {},
        "attempts": 1,
        "finished": finished,
        "more": {},
    }
    (root / "commits").mkdir(exist_ok=True)
    (root / "commits" / f"shard-{shard:06d}.json").write_text(json.dumps(receipt | changes))
