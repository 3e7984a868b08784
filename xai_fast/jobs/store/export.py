"""The results of a job as one Parquet file; a few rows in memory at a time."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from xai_fast.errors import StoreError, bad_argument, needs
from xai_fast.jobs.store.fields import Field
from xai_fast.jobs.store.folder import TEMPORARY
from xai_fast.jobs.store.job_file import Status
from xai_fast.jobs.store.reader import Batch, Store
from xai_fast.terminal import tell

__all__ = ["export"]

_BLOCK = 32 << 20


def export(out: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> Path:
    """Write the results of the finished items as a Parquet file.

    Its columns are ``index``, ``id``, ``status`` (its label), ``reason`` (empty where there is none) and the decoded
    fields, maps as lists of one length whose shape is in the column's metadata. The metadata of the file tell whether
    the job was ``complete``, its ``items``, how many of them were ``finished``, its ``fingerprint``, and the ``shapes``
    of the fields as JSON; that it was not complete is also logged as a warning.

    Args:
        out: the folder of the job.
        path: where to; None for ``export.parquet`` in the folder of the job.

    Returns:
        The path.

    Raises:
        InputError: the path is taken, or pyarrow is not installed.
        StoreError: the store is damaged, or the file cannot be written.
    """
    needs("pyarrow", "an export", "'xai-fast[export]'")
    store = Store(out)
    target = store.path / "export.parquet" if path is None else Path(path)
    if target.exists():
        expected = "a name that is not taken; remove what is there, or give another one"
        raise bad_argument("path", expected, str(target))
    # Under another name first: whoever finds the file finds all of it.
    unfinished = target.with_name(f"{TEMPORARY}{secrets.token_hex(6)}{target.suffix}")
    try:
        _write(store, unfinished)
        unfinished.rename(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot write: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    if not store.complete:
        tell(f"{target} is of a job that is not complete: {store.shards.items_done()} of {len(store)} items", store)
    return target


def _write(store: Store, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = [pa.field("index", pa.int64()), *(pa.field(name, pa.string()) for name in ("id", "status", "reason"))]
    for name, field in store.fields.items():
        columns.append(pa.field(name, _column(field).type, metadata={"shape": ",".join(map(str, field.shape))}))
    told = {
        "fingerprint": store.job["fingerprint"],
        "complete": store.complete,
        "items": len(store),
        "finished": store.shards.items_done(),
        "shapes": json.dumps({name: field.shape for name, field in store.fields.items()}),
    }
    # Parquet has no other metadata than text.
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
    texts["PANDAS_ATTRS"] = json.dumps(told)  # which pandas.read_parquet gives as ``attrs``
    schema = pa.schema(columns, metadata=texts)
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in store.batches(_BLOCK):
            writer.write_table(pa.Table.from_arrays(_arrays(store, batch), schema=schema))


def _arrays(store: Store, batch: Batch) -> list[Any]:
    import pyarrow as pa

    labels = [Status(code).label for code in batch.status.tolist()]
    texts = ([_plain(text or "") for text in column] for column in (batch.ids, labels, batch.reasons))
    fields = [_column(field, batch.fields[name].numpy()) for name, field in store.fields.items()]
    return [pa.array(batch.indices.numpy()), *(pa.array(column, pa.string()) for column in texts), *fields]


def _column(field: Field, values: np.ndarray | None = None) -> Any:
    """Give values (b, ...) of a field, by default none, as a column."""
    import pyarrow as pa

    rows = field.blank(0).numpy() if values is None else values
    flat = pa.array(rows.reshape(-1))
    if field.shape and field.entries:
        return pa.FixedSizeListArray.from_arrays(flat, field.entries)
    # There are no lists of length 0.
    return pa.ListArray.from_arrays(pa.array(np.zeros(len(rows) + 1, np.int32)), flat) if field.shape else flat


def _plain(text: str) -> str:
    """Write out what Parquet does not take: the surrogates of file names that are no UTF-8, and zeros."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\x00")
