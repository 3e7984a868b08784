"""Reading a store like an array."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_stores import COUNT, JOB, Known, begin, commit, complete, failed, opened, values

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs import Store, verify
from xai_fast.jobs import open as open_store
from xai_fast.jobs.store.reader import Batch, ItemResult
from xai_fast.jobs.store.shards import Header

TOLERANCES = {"float32": 0.0, "float16_scaled": 2.0**-11, "bfloat16": 2.0**-8, "int8_scaled": 0.5 / 127 * 1.001}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(complete(tmp_path_factory.mktemp("store") / "job"))


def same(result: ItemResult, i: int, tolerance: float) -> None:
    bad = failed(i)
    assert (result.index, result.id, result.ok) == (i, f"item {i}", bad is None)
    assert (result.status, result.reason) == (bad or (0, None))
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
    read = open_store(complete(tmp_path / "job", COUNT, size, dtype))
    assert len(read) == COUNT
    for i in range(COUNT):
        same(read[i], i, TOLERANCES[dtype])
    for i, (id, result) in enumerate(read):
        assert id == f"item {i}"
        same(result, i, TOLERANCES[dtype])
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


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_batches_are_the_items(done: Store, key: object) -> None:
    indices = list(range(COUNT))[key] if isinstance(key, slice) else [int(i) % COUNT for i in key]  # type: ignore[attr-defined]
    batch = done[key]  # type: ignore[index]
    assert isinstance(batch, Batch)
    assert len(batch) == len(indices)
    assert batch.indices.tolist() == indices
    singles = [done.item(i) for i in indices]
    assert batch.ids == [one.id for one in singles]
    assert batch.reasons == [one.reason for one in singles]
    assert batch.status.tolist() == [int(one.status) for one in singles]
    for name in done.fields:
        assert batch.fields[name].shape == (len(indices), *values(0)[name].shape)
        for got, one in zip(batch.fields[name], singles, strict=True):
            assert torch.equal(got.nan_to_num(7), one.fields[name].nan_to_num(7))


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_a_mask_chooses_items(done: Store, kind: Callable[[list[bool]], object]) -> None:
    batch = done[kind([i in (3, 4) for i in range(COUNT)])]  # type: ignore[index]
    assert isinstance(batch, Batch)
    assert batch.indices.tolist() == [3, 4]
    for wrong in (kind([True, False]), [True, False], True):
        with pytest.raises(InputError, match=r"index: expected .* mask"):
            done[wrong]  # type: ignore[index]


def test_wrong_keys(done: Store) -> None:
    for beyond in (COUNT, -COUNT - 1, [0, COUNT]):
        with pytest.raises(IndexError, match="expected an item below 10"):
            done[beyond]  # type: ignore[index]
    for wrong in ("a", 1.5, None):
        with pytest.raises(InputError, match="index: expected an integer, a slice or a list"):
            done[wrong]  # type: ignore[index]


def test_what_it_tells(done: Store) -> None:
    assert list(done.fields) == ["attributions", "evaluations", "kept", "scores", "targets"]
    assert done.methods == {"known": {"kind": "Known"}}
    assert done.complete
    assert list(done.failures()) == [
        (2, "item 2", "unreadable", "item 2 is bäd"),
        (6, "item 6", "changed", "item 6 is bäd"),
    ]
    assert repr(done).endswith("10 items, fields attributions, evaluations, kept, scores, targets)")
    assert pickle.loads(pickle.dumps(done))[3].fields["targets"] == 3


def test_an_explanation_is_what_the_method_gave(done: Store) -> None:
    found = done.explanation("known", [9, 0, 3])
    assert isinstance(found, Known)
    assert found.targets is not None
    assert found.targets.tolist() == [9, 0, 3]
    assert torch.equal(found.kept, torch.stack([values(i)["kept"] for i in (9, 0, 3)]))
    assert len(done.explanation("known", 4)) == 1
    with pytest.raises(InputError, match="items: expected items with results, got 'item 2': item 2 is bäd"):
        done.explanation("known")
    with pytest.raises(InputError, match="method: expected one of known, got 'other'"):
        done.explanation("other")


def test_columns_have_the_numbers_of_all_items(tmp_path: Path) -> None:
    root = begin(tmp_path / "job")
    commit(root, 0)
    read = open_store(root)
    statuses, numbers = read.columns(1, 6)
    assert statuses.tolist() == [0, 1, 0, 255, 255]
    assert numbers.keys() == {"scores", "targets", "evaluations"}
    assert numbers["targets"][[0, 2]].tolist() == [1, 3]
    assert np.isnan(numbers["targets"][[1, 3, 4]]).all()


def test_results_belong_to_the_reader(done: Store) -> None:
    """Writing to what was read changes neither the store nor what others read."""
    before = done[0].fields["attributions"].clone()
    for result in (done[0], next(iter(done))[1], done[:1]):
        result.fields["attributions"].fill_(5.0)
        result.fields["scores"].fill_(5.0)
    assert torch.equal(done[0].fields["attributions"], before)
    assert torch.equal(open_store(done.path)[0].fields["attributions"], before)
    assert verify(done.path) == []


def test_while_the_job_runs(tmp_path: Path) -> None:
    root = begin(tmp_path / "job")
    read = open_store(root)
    assert (len(read), list(read), read.complete, read.methods) == (10, [], False, {})
    commit(root, 1)
    same(read[4], 4, 2.0**-11)  # written after the store was opened
    with pytest.raises(StoreError, match="items 0 to 3 are not finished yet"):
        read[0]
    with pytest.raises(StoreError, match="items 8 to 9 are not finished yet"):
        read[4:]
    assert [id for id, _ in read] == ["item 4", "item 5", "item 6", "item 7"]


def test_a_retry_is_seen(tmp_path: Path) -> None:
    root = complete(tmp_path / "job")
    read = open_store(root)
    assert not read[2].ok
    commit(root, 0, replace=True, bad=lambda i: None)
    read.refresh()
    assert read[2].ok


def test_many_shards_need_few_files(tmp_path: Path) -> None:
    root = complete(tmp_path / "job", 80, 1)
    before = len(os.listdir("/proc/self/fd"))
    read = open_store(root)
    assert sum(result.ok for _, result in read) == 60
    for i in range(80):
        read[i]
    assert len(os.listdir("/proc/self/fd")) <= before + 5


def test_reading_an_item_reads_little(tmp_path: Path) -> None:
    """The file is mapped, not loaded."""
    root = begin(tmp_path / "job", 64, 64, "float32")
    tensors = {"attributions": torch.ones(64, 1 << 20)}
    opened(root)[1].write(0, Header(JOB, 0, 64), tensors)
    assert next(root.glob("shards/*/*")).stat().st_size > 256 << 20
    del tensors
    before = resident()
    read = open_store(root)
    assert read[40].fields["attributions"].sum() == 1 << 20
    assert resident() - before < 64 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_empty_job(tmp_path: Path) -> None:
    read = open_store(complete(tmp_path / "job", 0))
    assert (len(read), list(read), len(read[:]), read.complete) == (0, [], 0, True)
    assert verify(read.path) == []


def test_safetensors_reads_it_too(done: Store) -> None:
    from safetensors.torch import load_file

    tensors = load_file(sorted(done.path.glob("shards/*/*"))[1])
    assert sorted(tensors) == ["attributions", "attributions.scale", "evaluations", "kept", "scores", "targets"]
    decoded = tensors["attributions"].float() * tensors["attributions.scale"][:, None, None]
    assert torch.equal(decoded.nan_to_num(7), done[4:8].fields["attributions"].nan_to_num(7))
