"""The frozen list of items."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_stores import Crashed, FragileOS
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs.store import Items, Layout, create_job, folders, items
from xai_fast.jobs.store.folders import dump_json

NAMES = ["b/1.png", "a/2.png", "", "ä", "with\0zero", "b/1.pn", "odd\udcff"]


def test_ids(tmp_path: Path) -> None:
    stamps = np.arange(14).reshape(7, 2) * 10**12
    for found in (Items.freeze(Layout(tmp_path), iter(NAMES), stamps), Items.open(Layout(tmp_path))):
        assert len(found) == 7
        assert list(found) == NAMES
        assert [found.index(name) for name in NAMES] == list(range(7))
        assert found.stamp(3) == (6 * 10**12, 7 * 10**12)
        assert found.item_id(0) == int.from_bytes(hashlib.sha256(b"b/1.png").digest()[:8], "big") >> 1
        assert found.digest() == found.sha256
    assert np.load(tmp_path / "items/offsets.npy").tolist() == [0, 7, 14, 14, 16, 25, 31, 35]
    assert np.array_equal(np.load(tmp_path / "items/stamps.npy"), stamps)
    for missing in ("b/2.png", "c", "7"):
        with pytest.raises(InputError, match="id: expected one of the 7 items"):
            found.index(missing)
    for beyond in (7, -1):
        with pytest.raises(InputError, match="i: expected an integer, from 0 to 6"):
            found.id(beyond)


def test_range(tmp_path: Path) -> None:
    found = Items.freeze(Layout(tmp_path), range(12))
    assert (len(found), found.id(11), found.item_id(11), found.index("11"), found.stamp(3)) == (12, "11", 11, 11, None)
    for missing in ("12", "011", "-1", "x", "\u0661"):
        with pytest.raises(InputError, match="id: expected one of the 12 items"):
            found.index(missing)
    assert sorted(path.name for path in (tmp_path / "items").iterdir()) == ["items.json"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=6), unique=True, max_size=30))
def test_any_names(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    found = Items.freeze(Layout(tmp_path_factory.mktemp("items")), names)
    assert list(found) == names
    assert [found.index(name) for name in names] == list(range(len(names)))


def test_written_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    first = Items.freeze(layout, ["a", "b"])
    assert Items.freeze(layout, ["a", "b"]).sha256 == first.sha256
    create_job(layout, _job(first.sha256))
    others = [(["b", "a"], None), (["ab"], None), (["a", "b"], np.zeros((2, 2))), (range(2), None)]
    for names, stamps in others:
        with pytest.raises(StoreError, match="expected the list of items of this job, got another"):
            Items.freeze(layout, names, stamps)
    assert list(Items.open(layout)) == ["a", "b"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


def _job(sha256: str) -> dict:
    spec = {"shard_size": 4, "dtype": "float32"}
    return {"spec": spec, "fingerprint": "0", "items": {"count": 2, "sha256": sha256}}


def test_a_list_without_a_job_is_replaced(tmp_path: Path) -> None:
    """A run that was killed before job.json; until the next one, the folder of pictures gained a file."""
    layout = Layout(tmp_path)
    Items.freeze(layout, ["a", "b"])
    assert list(Items.freeze(layout, ["a", "b", "c"])) == ["a", "b", "c"]
    (layout.items / "items.json").write_text("{")
    assert list(Items.freeze(layout, ["a"])) == ["a"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


def test_two_runs_begin_with_different_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the order, job.json never stands beside the list of the other run."""
    layout = Layout(tmp_path / "job first")
    first = Items.freeze(layout, ["a", "b"])
    move = items._move

    def late(*arguments: Any) -> bool:
        if not layout.exists and not layout.items.exists():  # the other's list is out of the way for a moment
            with layout.folder() as root:
                root.write_first("job.json", dump_json({"format": 1, **_job(first.sha256)}))
        return move(*arguments)

    monkeypatch.setattr(items, "_move", late)
    with pytest.raises(StoreError, match="got another"):
        Items.freeze(layout, ["c", "d"])
    assert list(Items.open(layout)) == ["a", "b"]
    assert not [path for path in layout.root.iterdir() if path.name.startswith(".tmp")]

    monkeypatch.undo()
    layout = Layout(tmp_path / "list first")
    first = Items.freeze(layout, ["a", "b"])
    second = Items.freeze(layout, ["c", "d"])
    with pytest.raises(StoreError, match="got those of another; start it again"):
        create_job(layout, _job(first.sha256))
    assert not layout.exists
    create_job(layout, _job(second.sha256))


WRONG = [
    (["a", "b", "a"], None, "ids: expected all different, got 'a' as items 0 and 2"),
    (["a", 3], None, "ids: expected strings, got 3"),
    (["a"], np.zeros((2, 2)), r"stamps: expected \(1, 2\) integers"),
    (range(1, 4), None, r"ids: expected range\(n\)"),
    (range(4), np.zeros((4, 2)), "stamps: expected None"),
]


@pytest.mark.parametrize(("names", "stamps", "message"), WRONG)
def test_wrong_lists(tmp_path: Path, names: object, stamps: np.ndarray | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Items.freeze(Layout(tmp_path), names, stamps)  # type: ignore[arg-type]
    assert not (tmp_path / "items").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


@pytest.mark.parametrize("names_lost", [None, True, False])
def test_crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names_lost: bool | None) -> None:
    """After a crash at any call there is the whole list or none."""
    whole = 0
    for stop_at in range(200):
        layout = Layout(tmp_path / str(stop_at))
        fragile = FragileOS(tmp_path / f"stash{stop_at}", stop_at)
        with monkeypatch.context() as patch:
            patch.setattr(folders, "os", fragile)
            patch.setattr(items, "os", fragile)
            patch.setattr(items.shutil, "rmtree", lambda *arguments, **options: None)
            try:
                Items.freeze(layout, ["a", "b"], np.ones((2, 2)))
                ended = True
            except Crashed:
                ended = False
        if names_lost is not None:
            fragile.lose(names_lost)
        if layout.items.exists():
            whole += 1
            assert list(Items.open(layout)) == ["a", "b"]
        assert list(Items.freeze(layout, ["a", "b"], np.ones((2, 2)))) == ["a", "b"]
        if ended:
            assert stop_at > 20
            assert whole > 1
            return
    pytest.fail("it never came to its end")


@pytest.mark.slow
def test_a_million_stay_off_the_heap(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    Items.freeze(layout, (f"folder/{i:07d}.jpg" for i in range(1_000_000)))
    tracemalloc.start()
    found = Items.open(layout)
    assert found.id(999_999) == "folder/0999999.jpg"
    assert found.index("folder/0765432.jpg") == 765_432
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
