"""Rows of arrays, and indexable data sets."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batch_objects import frozen, ids, save_rows

from xai_fast.errors import InputError
from xai_fast.jobs.sources import ItemError, Source, SourceChanged, open_source
from xai_fast.jobs.store.job_file import Status


def load(source: Source, index: int) -> Any:
    return source.read(index).value


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int64", "uint8", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_numpy_arrays(dtype: str, order: Any, tmp_path: Path) -> None:
    values = (np.random.default_rng(0).normal(size=(7, 2, 3)) * 50).astype(dtype)
    np.save(tmp_path / "x.npy", np.asarray(values, order=order))
    source = frozen(tmp_path / "x.npy")
    assert len(source) == 7
    assert ids(source) == [str(i) for i in range(7)]
    for index in (0, 3, 6):
        native = values[index].astype(values.dtype.newbyteorder("="))
        assert torch.equal(load(source, index), torch.from_numpy(native.copy()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool])
def test_rows_of_safetensors(dtype: torch.dtype, tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch")
    values = (torch.randn(5, 3) * 20).to(dtype)
    library.save_file({"x": values, "y": torch.arange(5), "z": torch.zeros(0, 2)}, tmp_path / "x.safetensors")
    source = open_source({"kind": "array", "path": tmp_path / "x.safetensors", "key": "x", "labels": "y"})
    assert all(torch.equal(load(source, i), values[i]) for i in range(5))
    assert [source.label(i) for i in range(5)] == list(range(5))
    source.check_column("label")


def test_labels_of_another_file(tmp_path: Path) -> None:
    save_rows(tmp_path / "x.npy", 4)
    np.save(tmp_path / "y.npy", np.array([3, 1, 2, 0]))
    source = open_source({"kind": "array", "path": tmp_path / "x.npy", "labels": tmp_path / "y.npy"})
    assert [source.read(i).label for i in range(4)] == [3, 1, 2, 0]
    with pytest.raises(InputError, match='target: expected "label"'):
        source.check_column("labl")
    with pytest.raises(InputError, match="target: expected a source with labels"):
        open_source(tmp_path / "x.npy").check_column("label")


def write_safetensors(path: Path, header: Any, data: bytes = b"\0" * 24) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
BAD_SAFETENSORS: list[tuple[Any, str]] = [
    (b"{", "is no safetensors file"),
    ({"x": {**ENTRY, "data_offsets": [0, 28]}}, "is no safetensors file"),
    ({"x": {**ENTRY, "shape": [3, 3]}}, "is no safetensors file"),
    ({"x": 3}, "is no safetensors file"),
    ({"x": ENTRY, "y": {**ENTRY, "data_offsets": [24, 48]}}, "source.key: expected one of x, y"),
    ({"x": {**ENTRY, "shape": [], "data_offsets": [0, 4]}}, "with at least one row"),
    ({"x": {**ENTRY, "shape": [0, 3], "data_offsets": [0, 0]}}, "with at least one row"),
]


@pytest.mark.parametrize(("header", "message"), BAD_SAFETENSORS, ids=[str(h)[:50] for h, _ in BAD_SAFETENSORS])
def test_bad_safetensors_are_refused(header: Any, message: str, tmp_path: Path) -> None:
    ends = [e["data_offsets"][1] for e in header.values() if isinstance(e, dict)] if isinstance(header, dict) else []
    write_safetensors(tmp_path / "x.safetensors", header, bytes(min(max(ends, default=24), 24 * len(ends) or 24)))
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "x.safetensors")


def test_a_header_that_is_not_aligned_is_read(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    for padding in range(4):
        text = json.dumps({"x": ENTRY}).encode() + b" " * padding
        write_safetensors(tmp_path / "x.safetensors", text, values.tobytes())
        assert load(open_source(tmp_path / "x.safetensors"), 1).tolist() == [3, 4, 5]


def test_bad_arrays_are_refused(tmp_path: Path) -> None:
    cases: list[tuple[Any, str]] = [
        (np.array(3.0), "at least one row"),
        (np.zeros((0, 3)), "at least one row"),
        (np.array(["a"]), "an array of numbers"),
        (np.array([{}], dtype=object), "no array that numpy can map"),
        (np.zeros(2, complex), "an array of numbers"),
    ]
    for values, message in cases:
        np.save(tmp_path / "x.npy", values)
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="no array that numpy can map"):
        open_source(tmp_path / "x.npy")
    with pytest.raises(InputError, match=r"a file that exists \(did you mean '.*x\.npy'\?\), got '.*y\.npy'"):
        open_source(tmp_path / "y.npy")
    with pytest.raises(InputError, match="a file that exists, got"):
        open_source(tmp_path / "no folder" / "y.npy")
    save_rows(tmp_path / "x.npy")
    with pytest.raises(InputError, match=r"source.key"):
        open_source({"kind": "array", "path": tmp_path / "x.npy", "key": "x"})
    np.save(tmp_path / "y.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"source.labels: expected integers \(40,\)"):
        open_source({"kind": "array", "path": tmp_path / "x.npy", "labels": tmp_path / "y.npy"})


def test_another_file_is_noticed_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    x = save_rows(path, 4)
    source = frozen(path)
    os.utime(path, ns=(7, 7))
    source.check()
    x[3, 5] += 1
    np.save(path, x)
    with pytest.raises(SourceChanged, match="its content is another"):
        source.check()
    save_rows(path, 5)
    with pytest.raises(SourceChanged, match="bytes then"):
        source.check()
    path.unlink()
    with pytest.raises(SourceChanged, match="is gone: No such file"):
        source.check()


def test_large_files_are_compared_by_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_fast.jobs.sources.base.HASHED", 1 << 20)
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((5, 1 << 18)))
    source = frozen(path)
    os.utime(path, ns=(7, 7))
    source.check()
    np.save(path, np.ones((5, 1 << 18)))
    with pytest.raises(SourceChanged, match="its content is another"):
        source.check()


def test_a_million_rows_cost_nothing_until_they_are_read(tmp_path: Path) -> None:
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (1_000_000, 8)).flush()
    tracemalloc.start()
    source = frozen(tmp_path / "x.npy")
    assert len(source) == 1_000_000
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert load(source, 999_999).tolist() == [0.0] * 8


def test_an_indexable_data_set_gives_items_and_labels() -> None:
    source = frozen({"kind": "indexable", "path": "batch_objects:pairs", "arguments": {"count": 6}})
    assert len(source) == 6
    assert [source.read(i).label for i in range(6)] == [0, 1, 2, None, 0, 1]
    wanted = torch.arange(36.0).reshape(6, 6) / 10
    assert all(torch.allclose(load(source, i).float(), wanted[i]) for i in range(6))


def test_what_a_data_set_raises_is_told_with_the_item() -> None:
    source = open_source("batch_objects:Missing")
    with pytest.raises(ItemError, match="KeyError: 'lost'") as caught:
        load(source, 1)
    assert caught.value.status is Status.UNREADABLE
    assert load(source, 2).tolist() == [2.0] * 6
    odd = open_source("batch_objects:odd_items")
    with pytest.raises(ItemError, match="expected a tensor, an array or a PIL image, got str"):
        load(odd, 3)
    with pytest.raises(ItemError, match=r"expected an item or \(item, label\), got 3 values"):
        load(odd, 6)


BAD_REFERENCES = [
    ("batch_objects:no_model2", "did you mean 'no_model'"),
    ("batch_objects:rows_model", "to return an object with __len__ and __getitem__, got Rows"),
    ({"kind": "indexable", "path": "batch_objects:pairs", "arguments": {"cont": 2}}, "did you mean 'count'"),
    ({"kind": "indexable", "path": "batch_objects:no_model", "arguments": [1]}, "source.arguments: expected a mapping"),
]


@pytest.mark.parametrize(("described", "message"), BAD_REFERENCES, ids=[m for _, m in BAD_REFERENCES])
def test_bad_references_are_refused(described: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_source(described)


DRAWINGS = [
    ((5, 7), True),
    ((1, 5, 7), True),
    ((3, 5, 7), True),
    ((5, 7, 3), True),
    ((4, 5, 7), False),
    ((9,), False),
]


@pytest.mark.parametrize(("shape", "drawn"), DRAWINGS, ids=str)
def test_maps_are_drawn_and_rows_are_not(shape: tuple[int, ...], drawn: bool, tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    for kind in (np.float32, np.uint8):
        np.save(tmp_path / "x.npy", (np.random.default_rng(0).random((2, *shape)) * 255).astype(kind))
        picture = frozen(tmp_path / "x.npy").picture(1, 21)
        assert (picture is not None) == drawn
        assert picture is None or (picture.size == (21, 15) and picture.mode == "RGB")
