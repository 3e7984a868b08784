"""The results of a job in a format of others: Parquet, Zarr or HDF5; a few rows in memory at a time."""

from __future__ import annotations

import importlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai_fast.arguments import check_choice
from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.store.fields import Field
from xai_fast.jobs.store.folder import TEMPORARY
from xai_fast.jobs.store.job_file import Status
from xai_fast.jobs.store.reader import Store
from xai_fast.terminal import tell

__all__ = ["export"]

_BLOCK = 32 << 20
_TEXTS = ("id", "status", "reason")
_ENDINGS = {"parquet": "parquet", "zarr": "zarr", "hdf5": "h5"}


def export(out: str | os.PathLike[str], format: str, path: str | os.PathLike[str] | None = None) -> Path:
    """Write the results of the finished items in another format.

    All have ``index``, ``id``, ``status`` (its label), ``reason`` (empty where there is none) and the decoded fields:
    in Parquet a column each, maps as lists of one length whose shape is in the column's metadata; in Zarr and HDF5 an
    array each, with the items along its first axis. The metadata of the file (attributes in Zarr and HDF5) tell
    whether the job was ``complete``, its ``items``, how many of them were ``finished``, its ``fingerprint``, and the
    ``shapes`` of the fields as JSON; that it was not complete is also logged as a warning.

    Args:
        out: the folder of the job.
        format: ``parquet``, ``zarr`` or ``hdf5``.
        path: where to; None for ``export.parquet``, ``export.zarr`` or ``export.h5`` in the folder of the job.

    Returns:
        The path.

    Raises:
        InputError: another format, the path is taken, or the library is not installed.
        StoreError: the store is damaged, or the file cannot be written.
    """
    check_choice("format", format, list(_ENDINGS))
    store = Store(out)
    target = store.path / f"export.{_ENDINGS[format]}" if path is None else Path(path)
    if target.exists():
        expected = "a name that is not taken; remove what is there, or give another one"
        raise bad_argument("path", expected, str(target))
    # Under another name first: whoever finds the file finds all of it.
    unfinished = target.with_name(f"{TEMPORARY}{secrets.token_hex(6)}{target.suffix}")
    writers: dict[str, Callable[[Store, Path], None]] = {"parquet": _parquet, "zarr": _zarr, "hdf5": _hdf5}
    try:
        writers[format](store, unfinished)
        unfinished.rename(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot write: {error}") from error
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        else:
            unfinished.unlink(missing_ok=True)
    if not store.complete:
        tell(f"{target} is of a job that is not complete: {store.shards.items_done()} of {len(store)} items", store)
    return target


def _told(store: Store) -> dict[str, str | int | bool]:
    """Return what a reader of the file should know of the job."""
    return {
        "fingerprint": store.job["fingerprint"],
        "complete": store.complete,
        "items": len(store),
        "finished": store.shards.items_done(),
        "shapes": json.dumps({name: field.shape for name, field in store.fields.items()}),
    }


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = f"{name.partition('.')[0]} to be installed (pip install 'xai-fast[export]')"
        raise bad_argument("format", package, str(error)) from error


def _columns(store: Store) -> Iterator[dict[str, np.ndarray]]:
    """Read the finished items in blocks."""
    for batch in store.batches(_BLOCK):
        texts = [map(_plain, batch.ids), (Status(code).label for code in batch.status.tolist())]
        texts.append(_plain(reason or "") for reason in batch.reasons)
        yield {
            "index": batch.indices.numpy(),
            **{name: np.array(list(column), object) for name, column in zip(_TEXTS, texts, strict=True)},
            **{name: value.numpy() for name, value in batch.fields.items()},
        }


def _plain(text: str) -> str:
    """Write out what not all of the formats take: the surrogates of file names that are no UTF-8, and zeros."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _numpy_dtype(field: Field) -> np.dtype:
    return torch.empty(0, dtype=field.torch_dtype).numpy().dtype


def _parquet(store: Store, path: Path) -> None:
    pa, parquet = _library("pyarrow"), _library("pyarrow.parquet")

    def kind(field: Field) -> Any:
        scalar = pa.from_numpy_dtype(_numpy_dtype(field))
        if not field.shape:
            return scalar
        return pa.list_(scalar, field.entries) if field.entries else pa.list_(scalar)  # there are no lists of length 0

    def listed(field: Field, values: np.ndarray) -> Any:
        flat = pa.array(values.reshape(-1))
        if field.shape and field.entries:
            return pa.FixedSizeListArray.from_arrays(flat, field.entries)
        offsets = pa.array(np.zeros(len(values) + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, flat) if field.shape else flat

    columns = [pa.field("index", pa.int64()), *(pa.field(name, pa.string()) for name in _TEXTS)]
    for name, field in store.fields.items():
        columns.append(pa.field(name, kind(field), metadata={"shape": ",".join(map(str, field.shape))}))
    # Parquet has no other metadata than text.
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in _told(store).items()}
    told["PANDAS_ATTRS"] = json.dumps(_told(store))  # which pandas.read_parquet gives as ``attrs``
    schema = pa.schema(columns, metadata=told)
    with parquet.ParquetWriter(path, schema) as writer:
        for block in _columns(store):
            arrays = [pa.array(block["index"]), *(pa.array(block[name], pa.string()) for name in _TEXTS)]
            arrays += [listed(field, block[name]) for name, field in store.fields.items()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _hdf5(store: Store, path: Path) -> None:
    h5py = _library("h5py")
    count = store.shards.items_done()
    with h5py.File(path, "w") as file:
        file.attrs.update(_told(store))
        file.create_dataset("index", (count,), "int64")
        for name in _TEXTS:
            file.create_dataset(name, (count,), h5py.string_dtype())
        for name, field in store.fields.items():
            file.create_dataset(name, (count, *field.shape), _numpy_dtype(field))
        _fill(store, file)


def _zarr(store: Store, path: Path) -> None:
    zarr = _library("zarr")
    count = store.shards.items_done()
    # The second version of the format: in the third, texts are not settled yet. Zarr 2 writes no other.
    group = zarr.open_group(str(path), mode="w", **({"zarr_format": 2} if hasattr(zarr, "create_array") else {}))
    group.attrs.update(_told(store))
    make = group.create_array if hasattr(group, "create_array") else group.create_dataset  # of zarr 3 and 2

    def array(name: str, dtype: Any, shape: tuple[int, ...] = ()) -> None:
        row = np.dtype(dtype).itemsize * max(1, math.prod(shape))
        rows = max(1, min(count, (4 << 20) // row))
        make(name, shape=(count, *shape), dtype=dtype, chunks=(rows, *(max(1, length) for length in shape)))

    array("index", "int64")
    widths = [[max(map(len, block[name])) for name in _TEXTS] for block in _columns(store)]
    for name, *width in zip(_TEXTS, *widths, strict=True):
        array(name, f"<U{max(1, *width, 1)}")
    for name, field in store.fields.items():
        array(name, _numpy_dtype(field), field.shape)
    _fill(store, group)


def _fill(store: Store, group: Any) -> None:
    first = 0
    for block in _columns(store):
        rows = slice(first, first + len(block["index"]))
        for name, values in block.items():
            group[name][rows] = values.astype(group[name].dtype) if group[name].dtype.kind == "U" else values
        first = rows.stop
