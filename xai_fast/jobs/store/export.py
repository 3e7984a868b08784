"""The results of a job in a format of others: Parquet, Zarr or HDF5; a few rows in memory at a time."""

from __future__ import annotations

import importlib
import json
import logging
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
from xai_fast.jobs.store.reader import Batch, Store, open_store

__all__ = ["export"]

_LOG = logging.getLogger(__name__)
_BLOCK = 32 << 20
_ROWS = 4096
_ENDINGS = {"parquet": "parquet", "zarr": "zarr", "hdf5": "h5"}


def export(out: str | os.PathLike[str], format: str, path: str | os.PathLike[str] | None = None) -> Path:
    """Write the results of the finished items in another format.

    All have ``index``, ``id``, ``status`` (its label), ``reason`` (empty where there is none) and the decoded fields:
    in Parquet a column each, maps as lists of one length whose shape is in the column's metadata; in Zarr and HDF5 an
    array each, with the items along its first axis. The metadata of the file (attributes in Zarr and HDF5) tell
    whether the job was ``complete``, its ``items``, how many of them were ``finished``, and its ``fingerprint``; that
    it was not complete is also logged as a warning.

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
    store = open_store(out)
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
        _LOG.warning("%s is of a job that is not complete: %d of %d items", target, _count(store), len(store))
    return target


def _told(store: Store) -> dict[str, str | int | bool]:
    """Return what a reader of the file should know of the job."""
    return {
        "fingerprint": store.job["fingerprint"],
        "complete": store.complete,
        "items": len(store),
        "finished": _count(store),
    }


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = f"{name.partition('.')[0]} to be installed (pip install 'xai-fast[export]')"
        raise bad_argument("format", package, str(error)) from error


def _batches(store: Store) -> Iterator[Batch]:
    """Read the finished items in blocks of a few megabytes, none across two shards."""
    row = sum(field.entries * field.torch_dtype.itemsize for field in store.fields.values())
    step = max(1, min(_ROWS, _BLOCK // max(1, row)))
    for shard in store.shards.all_done():
        span = store.shards.span(shard)
        for first in range(span.start, span.stop, step):
            yield store.batch(range(first, min(first + step, span.stop)))


def _count(store: Store) -> int:
    return sum(len(store.shards.span(shard)) for shard in store.shards.all_done())


def _texts(batch: Batch) -> dict[str, list[str]]:
    return {
        "id": [_plain(id) for id in batch.ids],
        "status": [Status(code).label for code in batch.status.tolist()],
        "reason": [_plain(reason or "") for reason in batch.reasons],
    }


def _plain(text: str) -> str:
    """Write out what not all of the formats take: the surrogates of file names that are no UTF-8, and zeros."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _parquet(store: Store, path: Path) -> None:
    pa, parquet = _library("pyarrow"), _library("pyarrow.parquet")

    columns = [pa.field("index", pa.int64()), *(pa.field(name, pa.string()) for name in ("id", "status", "reason"))]
    for name, field in store.fields.items():
        columns.append(pa.field(name, _arrow_type(pa, field), metadata={"shape": ",".join(map(str, field.shape))}))
    # Parquet has no other metadata than text.
    told = {name: value if isinstance(value, str) else json.dumps(value) for name, value in _told(store).items()}
    schema = pa.schema(columns, metadata=told)
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(store):
            texts = _texts(batch)
            arrays = [pa.array(batch.indices.numpy()), *(pa.array(texts[name], pa.string()) for name in texts)]
            for name, field in store.fields.items():
                flat = pa.array(batch.fields[name].reshape(-1).numpy())
                arrays.append(_listed(pa, flat, field, len(batch)))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _arrow_type(pa: Any, field: Field) -> Any:
    scalar = pa.from_numpy_dtype(_numpy_dtype(field))
    if not field.shape:
        return scalar
    return pa.list_(scalar, field.entries) if field.entries else pa.list_(scalar)  # Parquet has no lists of length 0


def _listed(pa: Any, flat: Any, field: Field, rows: int) -> Any:
    if not field.shape:
        return flat
    if field.entries:
        return pa.FixedSizeListArray.from_arrays(flat, field.entries)
    return pa.ListArray.from_arrays(pa.array(np.zeros(rows + 1, dtype=np.int32)), flat)


def _numpy_dtype(field: Field) -> np.dtype:
    return torch.empty(0, dtype=field.torch_dtype).numpy().dtype


def _hdf5(store: Store, path: Path) -> None:
    h5py = _library("h5py")
    count = _count(store)
    with h5py.File(path, "w") as file:
        file.attrs.update(_told(store))
        file.create_dataset("index", (count,), "int64")
        for name in ("id", "status", "reason"):
            file.create_dataset(name, (count,), h5py.string_dtype())
        for name, field in store.fields.items():
            file.create_dataset(name, (count, *field.shape), _numpy_dtype(field))
        _fill(store, file)


def _zarr(store: Store, path: Path) -> None:
    zarr = _library("zarr")
    count = _count(store)
    # The second version of the format: in the third, texts are not settled yet. Zarr 2 writes no other.
    group = zarr.open_group(str(path), mode="w", **({"zarr_format": 2} if hasattr(zarr, "create_array") else {}))
    group.attrs.update(_told(store))
    make = group.create_array if hasattr(group, "create_array") else group.create_dataset  # of zarr 3 and 2
    make("index", shape=(count,), dtype="int64", chunks=(_chunk(count, 8),))
    for name, width in _widths(store).items():
        make(name, shape=(count,), dtype=f"<U{width}", chunks=(_chunk(count, 4 * width),))
    for name, field in store.fields.items():
        dtype = _numpy_dtype(field)
        rows = _chunk(count, field.entries * dtype.itemsize)
        shape = (count, *field.shape)
        make(name, shape=shape, dtype=dtype, chunks=(rows, *(max(1, length) for length in field.shape)))
    _fill(store, group)


def _widths(store: Store) -> dict[str, int]:
    """Return how long the longest text of each kind is."""
    widths = {"id": 1, "status": 1, "reason": 1}
    for batch in _batches(store):
        for name, texts in _texts(batch).items():
            widths[name] = max(widths[name], *map(len, texts))
    return widths


def _chunk(count: int, row_bytes: int) -> int:
    return max(1, min(count, (4 << 20) // max(1, row_bytes)))


def _fill(store: Store, group: Any) -> None:
    first = 0
    for batch in _batches(store):
        rows = slice(first, first + len(batch))
        group["index"][rows] = batch.indices.numpy()
        for name, texts in _texts(batch).items():
            group[name][rows] = np.array(texts, dtype=group[name].dtype if group[name].dtype.kind == "U" else object)
        for name in store.fields:
            group[name][rows] = batch.fields[name].numpy()
        first += len(batch)
