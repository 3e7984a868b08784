"""The frozen list of items."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs.store import items as module
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items

NAMES = ["b/1.png", "a/2.png", "", "ä", "with\0zero", "b/1.pn", "odd\udcff"]


@pytest.mark.parametrize("per_file", [1, 3, 100])
def test_names_and_columns(per_file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PER_FILE", per_file)
    root = Folder(tmp_path)
    described = Items.freeze(root, ("size", "time"), ((name, (i, -i)) for i, name in enumerate(NAMES)))
    found = Items(root, described)
    assert [found.id(i) for i in range(len(found))] == NAMES
    assert [(found.value("size", i), found.value("time", i)) for i in (0, 4, 6)] == [(0, 0), (4, -4), (6, -6)]
    assert found.value("other", 0) is None
    for beyond in (7, -1):
        with pytest.raises(IndexError):
            found.id(beyond)
    found.check()


def test_items_without_names(tmp_path: Path) -> None:
    found = Items(Folder(tmp_path), {"count": 12, "folder": None})
    assert (len(found), found.id(11), found.value("size", 3), found.numbered) == (12, "11", None, True)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=6), unique=True, max_size=30))
def test_any_names(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    root = Folder(tmp_path_factory.mktemp("items"))
    found = Items(root, Items.freeze(root, (), ((name, ()) for name in names)))
    assert [found.id(i) for i in range(len(found))] == names


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="source: expected items with different names, got 'a' twice"):
        Items.freeze(Folder(tmp_path), (), ((name, ()) for name in ("a", "b", "a")))


def test_damage_is_noticed(tmp_path: Path) -> None:
    root = Folder(tmp_path)
    described = Items.freeze(root, ("size",), ((f"item {i}", (i,)) for i in range(10)))
    file = next(tmp_path.glob("items-*/*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StoreError, match="is not what was written"):
        Items(root, described).check()
    file.write_bytes(whole[:-9])
    with pytest.raises(StoreError, match="expected a whole safetensors file"):
        Items(root, described).id(0)


@pytest.mark.slow
def test_many_stay_off_the_heap(tmp_path: Path) -> None:
    root = Folder(tmp_path)
    tracemalloc.start()
    described = Items.freeze(root, ("size",), ((f"folder/{i:07d}.jpg", (i,)) for i in range(300_000)))
    assert tracemalloc.get_traced_memory()[1] < 80 << 20
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    found = Items(root, described)
    assert found.id(299_999) == "folder/0299999.jpg"
    assert tracemalloc.get_traced_memory()[1] - before < 8 << 20
    tracemalloc.stop()
