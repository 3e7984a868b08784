"""Exports hold what the store holds."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batch_stores import begin, commit, complete

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs import export
from xai_fast.jobs import open as open_store
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import Status, create_job
from xai_fast.jobs.store.shards import Header, Shards

SHAPES = {"attributions": [3, 5], "evaluations": [], "kept": [2], "scores": [], "targets": []}
TOLD = {"fingerprint": "0123", "complete": True, "items": 10, "finished": 10, "shapes": SHAPES}


def _told(path: Path, format: str) -> dict[str, Any]:
    if format == "zarr":
        return _read(dict(pytest.importorskip("zarr").open_group(str(path), mode="r").attrs))
    if format == "hdf5":
        with pytest.importorskip("h5py").File(path) as file:
            return _read({name: getattr(value, "tolist", lambda v=value: v)() for name, value in file.attrs.items()})
    metadata = pytest.importorskip("pyarrow.parquet").read_schema(path).metadata
    values = {name.decode(): value.decode() for name, value in metadata.items() if not name.startswith(b"ARROW")}
    pandas = json.loads(values.pop("PANDAS_ATTRS"))
    told = {name: value if name == "fingerprint" else json.loads(value) for name, value in values.items()}
    assert _read(pandas) == told
    return told


def _read(attributes: dict[str, Any]) -> dict[str, Any]:
    return {**attributes, "shapes": json.loads(attributes["shapes"])}


def _parquet(path: Path) -> dict[str, Any]:
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        field = table.schema.field(name)
        column = table.column(name)
        shape = (field.metadata or {}).get(b"shape")
        if shape:
            rows = np.array([np.array(one) for one in column.to_pylist()])
            columns[name] = rows.reshape(len(rows), *map(int, shape.decode().split(",")))
        else:
            columns[name] = np.array(column.to_pylist())
    assert table.schema.metadata[b"fingerprint"] == b"0123"
    return columns


def _zarr(path: Path) -> Mapping[str, Any]:
    group = pytest.importorskip("zarr").open_group(str(path), mode="r")
    assert group.attrs["fingerprint"] == "0123"
    return {name: group[name][:] for name in (*COLUMNS,)}


def _hdf5(path: Path) -> Mapping[str, Any]:
    with pytest.importorskip("h5py").File(path) as file:
        assert file.attrs["fingerprint"] == "0123"
        return {name: file[name].asstr()[:] if file[name].dtype.kind == "O" else file[name][:] for name in file}


COLUMNS = ("index", "id", "status", "reason", "attributions", "evaluations", "kept", "scores", "targets")
READERS: dict[str, tuple[str, str, Callable]] = {
    "parquet": ("pyarrow", "export.parquet", _parquet),
    "zarr": ("zarr", "export.zarr", _zarr),
    "hdf5": ("h5py", "export.h5", _hdf5),
}


@pytest.mark.parametrize("format", READERS)
@pytest.mark.parametrize("finished", [True, False])
def test_export(tmp_path: Path, caplog: pytest.LogCaptureFixture, format: str, finished: bool) -> None:
    package, name, read = READERS[format]
    pytest.importorskip(package)
    root = complete(tmp_path / "job") if finished else begin(tmp_path / "job")
    if not finished:
        commit(root, 1)
    path = export(root, format)
    assert path == root / name
    assert _told(path, format) == (TOLD if finished else {**TOLD, "complete": False, "finished": 4})
    assert ("not complete: 4 of 10 items" in caplog.text) is not finished
    columns = read(path)
    assert set(columns) == set(COLUMNS)
    wanted = open_store(root)[:] if finished else open_store(root)[4:8]
    assert columns["index"].tolist() == wanted.indices.tolist()
    assert columns["id"].tolist() == wanted.ids
    assert columns["status"].tolist() == [Status(code).label for code in wanted.status.tolist()]
    assert columns["reason"].tolist() == [reason or "" for reason in wanted.reasons]
    for field, values in wanted.fields.items():
        assert columns[field].shape == values.shape
        np.testing.assert_array_equal(columns[field], values.numpy())
    assert not [path for path in root.iterdir() if path.name.startswith(".tmp")]
    with pytest.raises(InputError, match="path: expected a name that is not taken"):
        export(root, format)


@pytest.mark.parametrize("format", READERS)
def test_odd_names_and_shapes(tmp_path: Path, format: str) -> None:
    package, _, read = READERS[format]
    pytest.importorskip(package)
    folder = Folder(tmp_path / "job", create=True)
    items = Items.freeze(folder, (), ((name, ()) for name in ("a\0b", "odd\udcff", "é" * 50)))
    create_job(folder, {"spec": {"shard_size": 9, "dtype": "float32"}, "fingerprint": "0123", "items": items})
    tensors = {"kept": torch.zeros(3, 3, 0), "index0": torch.zeros(3, dtype=torch.int8)}
    Shards(folder, "0123", 3, 9).write(0, Header("0123", 0, 3, {2: ("failed", "zero \0 in it")}), tensors)
    path = export(tmp_path / "job", format, tmp_path / "elsewhere")
    assert path == tmp_path / "elsewhere"
    if format != "zarr":
        columns = read(path)
        assert columns["id"].tolist() == ["a\\x00b", "odd\\xff", "é" * 50]
        assert columns["reason"].tolist() == ["", "", "zero \\x00 in it"]
        assert columns["kept"].shape == (3, 3, 0)


def test_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = complete(tmp_path / "job")
    with pytest.raises(InputError, match="format: expected one of parquet, zarr, hdf5"):
        export(root, "csv")
    pytest.importorskip("h5py")
    with pytest.raises(StoreError, match="cannot write"):
        export(root, "hdf5", tmp_path / "no" / "folder.h5")
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> object:
        if name == "h5py":
            raise ImportError("No module named 'h5py'")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(InputError, match=r"expected h5py to be installed \(pip install 'xai-fast\[export\]'\)"):
        export(root, "hdf5")
