"""The manifest never stands for receipts that are gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from batch_stores import commit, complete

from xai_fast.jobs import store
from xai_fast.jobs.store import manifest
from xai_fast.jobs.store.receipts import Receipt


def _redo(layout: store.Layout) -> None:
    """What retry_failed does, to the end: the old data are removed."""
    earlier = store.read_receipt(layout, 0)
    assert earlier is not None
    store.withdraw(layout, 0)
    commit(layout, 0)
    (layout.data / earlier.file).unlink()


@pytest.mark.parametrize("killed", [False, True], ids=["writer goes on", "writer is killed"])
def test_receipts_that_change_while_the_manifest_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, killed: bool
) -> None:
    layout = complete(tmp_path / "job")
    layout.manifest.unlink()
    real = manifest.receipts

    def slow(layout: store.Layout) -> Iterator[Receipt]:
        found = list(real(layout))
        _redo(layout)
        if killed:
            monkeypatch.setattr(store.layout.Folder, "remove", _killed)
        return iter(found)

    monkeypatch.setattr(manifest, "receipts", slow)
    if killed:
        with pytest.raises(KeyboardInterrupt):
            store.write_manifest(layout)
    else:
        assert store.write_manifest(layout) is False
    monkeypatch.undo()
    assert layout.manifest.exists() is killed
    assert store.manifest_is_current(layout) is False
    assert store.open(layout.root)[0].ok
    assert store.write_manifest(layout) is True
    assert store.manifest_is_current(layout) is True
    assert store.verify(layout.root) == []


def _killed(self: object, name: str) -> bool:
    raise KeyboardInterrupt


def test_a_copy_without_times_is_read_from_its_receipts(tmp_path: Path) -> None:
    layout = complete(tmp_path / "job")
    copied = store.Layout(shutil.copytree(layout.root, tmp_path / "copy", copy_function=shutil.copyfile))
    os.utime(copied.commits / "shard-000000.json", (1, 1))
    assert store.manifest_is_current(copied) is False
    assert store.verify(copied.root) == []
    assert store.open(copied.root).complete
    assert store.write_manifest(copied) is True


def test_a_manifest_that_could_not_be_read_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    layout = complete(tmp_path / "job")
    size = layout.manifest.stat().st_size
    monkeypatch.setattr(manifest, "_LIMIT", size - 1)
    assert store.write_manifest(layout) is False
    assert not layout.manifest.exists()
    assert store.open(layout.root).complete
    monkeypatch.setattr(manifest, "_LIMIT", size)
    assert store.write_manifest(layout) is True
