"""What a job calls by name, and when that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xai_fast.errors import InputError
from xai_fast.jobs import JobSpec, retry_failed
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.job_file import create_job
from xai_fast.jobs.store.shards import Header, Shards

CALLS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({"model": "efficientnet-lite0"}, []),
    "model": ({"model": {"reference": "m:f", "arguments": {"n": 3}}}, ["model: m:f(n=3)"]),
    "source": (
        {"source": {"kind": "indexable", "path": "os:system", "arguments": {"command": "ls \x1b"}}, "model": "m:f"},
        ['source: os:system(command="ls \\u001b")', "model: m:f()"],
    ),
    "decoder": ({"model": "efficientnet-lite0", "decoder": "d:e"}, ["decoder: d:e()"]),
    "target": ({"model": "efficientnet-lite0", "target": "a.b:c.d"}, ["target: a.b:c.d()"]),
    "methods": (
        {
            "model": "efficientnet-lite0",
            "method": [{"name": "e:A", "options": {"x": "y" * 500}}, {"name": "e:B", "as": "b"}],
        },
        [f'method: e:A(x="{"y" * 117}...)', "method: e:B()"],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_all_that_a_job_calls_is_listed_and_needs_trust(name: str, tmp_path: Path) -> None:
    spec, calls = CALLS[name]
    described = JobSpec(**{"source": "x.npy", **spec})
    assert described.calls == calls
    folder = Folder(tmp_path / "job", create=True)
    plan = {"threads": 1, "chunk": 1, "rows": 1, "shape": None, "dtype": None}
    items = {"count": 1, "folder": None}
    create_job(folder, {"spec": described.to_dict(), "fingerprint": "0", "items": items, "plan": plan, "source": {}})
    Shards(folder, "0", 1, 1024).write(0, Header("0", 0, 1, {0: ("failed", "no")}), {})
    if calls:
        with pytest.raises(InputError) as raised:
            retry_failed(tmp_path / "job", workers=0)
        assert str(raised.value).endswith(f"(--trust) if the store is yours: {'; '.join(calls)}")
