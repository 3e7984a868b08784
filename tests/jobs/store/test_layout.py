"""The document of a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from xai_fast.errors import InputError
from xai_fast.jobs.store import Items, Layout, create_job, layout, read_job


def _document(sha256: str, files: int) -> dict:
    paths = [f"/data/photos/some/folder/of/photos/picture-{i:08d}.jpg" for i in range(files)]
    spec = {"shard_size": 4, "dtype": "float32", "source": {"kind": "images", "path": paths}}
    return {"spec": spec, "fingerprint": "0", "items": {"count": 10, "sha256": sha256}}


def test_many_listed_files(tmp_path: Path) -> None:
    place = Layout(tmp_path)
    document = _document(Items.freeze(place, range(10)).sha256, 400_000)
    create_job(place, document)
    assert read_job(place) == {"format": 1, **document}


def test_what_could_not_be_read_again_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(layout, "_JOB_LIMIT", 2 << 20)
    place = Layout(tmp_path)
    sha256 = Items.freeze(place, range(10)).sha256
    with pytest.raises(InputError, match="spec: expected a description of at most 2 MiB; give the folder"):
        create_job(place, _document(sha256, 50_000))
    assert not place.exists
    create_job(place, _document(sha256, 5))
