"""Reading a store like an array."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_stores import COUNT, begin, commit, complete, failed, values
from torch.utils.data import DataLoader

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs import store

TOLERANCES = {"float32": 0.0, "float16_scaled": 2.0**-11, "bfloat16": 2.0**-8, "int8_scaled": 0.5 / 127 * 1.001}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> store.Store:
    return store.open(complete(tmp_path_factory.mktemp("store") / "job").root)


def _same(result: store.ItemResult, i: int, tolerance: float) -> None:
    bad = failed(i)
    assert (result.index, result.id, result.ok) == (i, f"item {i}", bad is None)
    assert (int(result.status), result.error) == (bad or (0, None))
    for name, wanted in values(i).items():
        got = result.fields[name]
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        if bad:
            assert bool(got.isnan().all() if got.is_floating_point() else (got == 0).all())
        else:
            limit = tolerance * float(wanted.abs().max()) if name == "attributions" else 0.0
            assert float((got.double() - wanted.double()).abs().max()) <= limit


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("size", [1, 4, 10, 1000])
def test_every_item(tmp_path: Path, dtype: str, size: int) -> None:
    layout = complete(tmp_path / "job", COUNT, size, dtype)
    read = store.open(layout.root)
    assert len(read) == COUNT
    for i in range(COUNT):
        _same(read[i], i, TOLERANCES[dtype])
    for i, (id, result) in enumerate(read):
        assert id == f"item {i}"
        _same(result, i, TOLERANCES[dtype])
    assert i == COUNT - 1


KEYS = [
    slice(None),
    slice(2, 9, 3),
    slice(8, 1, -2),
    slice(5, 5),
    [9, 0, 9, 3],
    (1, 2),
    range(3, 7),
    np.array([4, 3]),
    torch.tensor([-1, 5]),
    [],
]


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_a_mask_chooses_items(done: store.Store, kind: Callable[[list[bool]], object]) -> None:
    batch = done[kind([i in (3, 4) for i in range(COUNT)])]  # type: ignore[index]
    assert isinstance(batch, store.Batch)
    assert batch.indices.tolist() == [3, 4]
    for wrong in (kind([True, False]), [True, False], True):
        with pytest.raises(InputError, match=r"index: expected .* mask"):
            done[wrong]  # type: ignore[index]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_batches_are_the_items(done: store.Store, key: object) -> None:
    indices = list(range(COUNT))[key] if isinstance(key, slice) else [int(i) % COUNT for i in key]  # type: ignore[attr-defined]
    batch = done[key]  # type: ignore[index]
    assert isinstance(batch, store.Batch)
    assert len(batch) == len(indices)
    assert batch.indices.tolist() == indices
    singles = [done.item(i) for i in indices]
    assert batch.ids == [one.id for one in singles]
    assert batch.errors == [one.error for one in singles]
    assert batch.status.tolist() == [int(one.status) for one in singles]
    for name in done.field_names:
        assert batch.fields[name].shape == (len(indices), *values(0)[name].shape)
        for got, one in zip(batch.fields[name], singles, strict=True):
            assert torch.equal(got.nan_to_num(7), one.fields[name].nan_to_num(7))


def test_wrong_keys(done: store.Store) -> None:
    for beyond in (COUNT, -COUNT - 1, [0, COUNT]):
        with pytest.raises(IndexError, match="expected an item below 10"):
            done[beyond]  # type: ignore[index]
    for wrong in ("a", 1.5, None):
        with pytest.raises(InputError, match="index: expected an integer, a slice or a list"):
            done[wrong]  # type: ignore[index]


def test_what_it_tells(done: store.Store) -> None:
    assert done.field_names == ["attributions", "kept", "scores", "targets"]
    assert done.complete
    assert done.counts() == {"ok": 8, "unreadable": 1, "changed": 1}
    assert list(done.failures()) == [
        (2, "item 2", "unreadable", "item 2 is bäd"),
        (6, "item 6", "changed", "item 6 is bäd"),
    ]
    assert repr(done).endswith("10 items, 3 of 3 shards, fields attributions, kept, scores, targets)")
    raw = list(done.raw("attributions"))
    assert [(items.start, items.stop, stored.dtype) for items, stored, _ in raw] == [
        (start, stop, torch.float16) for start, stop in ((0, 4), (4, 8), (8, 10))
    ]
    for items, stored, scales in raw:
        assert scales is not None
        decoded = stored.float() * scales[:, None, None]
        assert torch.equal(decoded.nan_to_num(7), done[items].fields["attributions"].nan_to_num(7))
    with pytest.raises(InputError, match="name: expected one of attributions"):
        list(done.raw("other"))


def test_results_belong_to_the_reader(done: store.Store) -> None:
    """Whoever writes to what he read changes neither the store nor what others read."""
    before = done[0].fields["attributions"].clone()
    for result in (done[0], next(iter(done))[1], done[:1]):
        result.fields["attributions"].fill_(5.0)
    assert torch.equal(done[0].fields["attributions"], before)
    next(done.raw("attributions"))[1].fill_(5.0)
    assert torch.equal(store.open(done.layout.root)[0].fields["attributions"], before)
    assert store.verify(done.layout.root) == []


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_data_loader(done: store.Store, workers: int) -> None:
    options = {"multiprocessing_context": "spawn"} if workers else {}
    for ok_only in (False, True):
        loader = DataLoader(done.to_torch(ok_only=ok_only), batch_size=3, num_workers=workers, **options)
        batches = list(loader)
        indices = torch.cat([batch["index"] for batch in batches]).tolist()
        assert indices == [i for i in range(COUNT) if not (ok_only and failed(i))]
        assert [id for batch in batches for id in batch["id"]] == [f"item {i}" for i in indices]
        got = torch.cat([batch["attributions"] for batch in batches])
        assert torch.equal(got.nan_to_num(7), done[indices].fields["attributions"].nan_to_num(7))


def test_data_set(done: store.Store) -> None:
    data = pickle.loads(pickle.dumps(done.to_torch(fields=["scores"], ok_only=True)))
    assert len(data) == 8
    assert set(data[-1]) == {"index", "id", "status", "scores"}
    assert data[-1]["index"] == 9
    with pytest.raises(IndexError):
        data[8]
    with pytest.raises(InputError, match="fields: expected names among attributions"):
        done.to_torch(fields=["nothing"])


def test_while_the_job_runs(tmp_path: Path) -> None:
    layout = begin(tmp_path / "job")
    read = store.open(layout.root)
    assert (len(read), list(read), read.complete) == (10, [], False)
    commit(layout, 1)
    _same(read[4], 4, 2.0**-11)  # committed after the store was opened
    with pytest.raises(StoreError, match="items 0 to 3 are not finished yet"):
        read[0]
    with pytest.raises(StoreError, match="items 8 to 9 are not finished yet"):
        read[4:]
    read.refresh()
    assert [id for id, _ in read] == ["item 4", "item 5", "item 6", "item 7"]
    assert [one["index"] for one in read.to_torch(ok_only=True)] == [4, 5, 7]
    with pytest.raises(StoreError, match="expected receipts of 3 shards, got 1"):
        store.write_manifest(layout)


def test_shard_without_a_success(tmp_path: Path) -> None:
    layout = begin(tmp_path / "job")
    rows = store.Rows(4)
    for row in range(4):
        rows.fail(row, store.Status.FAILED, "no")
    store.write_shard(layout, 0, 0, 4, rows, "float16_scaled", {})
    commit(layout, 1)
    commit(layout, 2)
    read = store.open(layout.root)
    assert read[0].fields["attributions"].isnan().all()
    assert read[2:6].fields["targets"].tolist() == [0, 0, 4, 5]
    assert read[0:2].fields["attributions"].shape == (2, 3, 5)


def test_many_shards_need_few_files(tmp_path: Path) -> None:
    layout = complete(tmp_path / "job", 80, 1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    read = store.open(layout.root)
    assert sum(result.ok for _, result in read) == 60
    for i in range(80):
        read[i]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 64 + 2
    del read
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2  # also without the garbage collector


def test_empty_job(tmp_path: Path) -> None:
    read = store.open(complete(tmp_path / "job", 0).root)
    assert (len(read), list(read), len(read[:]), read.complete) == (0, [], 0, True)
    assert store.verify(read.layout.root) == []


def test_safetensors_reads_it_too(done: store.Store) -> None:
    load_file = pytest.importorskip("safetensors.torch").load_file
    tensors = load_file(done.layout.data / done.receipt(1).file)
    assert sorted(tensors) == [
        "attributions", "attributions.scale", "error_offsets", "error_text", "kept", "scores", "status", "targets",
    ]  # fmt: skip
    decoded = tensors["attributions"].float() * tensors["attributions.scale"][:, None, None]
    assert torch.equal(decoded.nan_to_num(7), done[4:8].fields["attributions"].nan_to_num(7))
    assert bytes(tensors["error_text"].tolist()).decode() == "item 6 is bäd"
