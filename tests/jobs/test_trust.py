"""What a job calls by name, and when that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.job_file import create_job
from xai_fast.jobs.trust import called_functions, check_trust

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
    described = JobSpec(**{"source": "x.npy", **spec}).to_dict()
    items = {"count": 3, "folder": None}
    create_job(Folder(tmp_path / "job", create=True), {"spec": described, "fingerprint": "0", "items": items})
    assert called_functions(tmp_path / "job") == calls
    check_trust(tmp_path / "job", True)
    if not calls:
        check_trust(tmp_path / "job", False)
        return
    with pytest.raises(InputError) as raised:
        check_trust(tmp_path / "job", False)
    assert str(raised.value).endswith(f"(--trust) if the store is yours: {'; '.join(calls)}")


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        check_trust(tmp_path, False)
