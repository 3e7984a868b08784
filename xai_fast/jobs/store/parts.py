"""Finished pieces of a shard that is being bisected: so that a crash of one half does not cost the other.

Parts keep float32, whatever the store's codec: the shard is encoded once, from all its parts, and is the same to the
last bit as a shard that was never split.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from xai_fast.errors import StoreError
from xai_fast.jobs.store.fields import describe_fields
from xai_fast.jobs.store.folders import Folder
from xai_fast.jobs.store.layout import Layout, shard_stem
from xai_fast.jobs.store.receipts import ANY, commit_rows, earlier_is, load_receipt, read_rows
from xai_fast.jobs.store.rows import Rows

__all__ = ["Part", "read_parts", "write_part"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A finished piece of a shard.

    Attributes:
        start: where it begins, as `write_part` was told.
        stop: one beyond its end.
        rows: the results.
        about: what `write_part` was told.
    """

    start: int
    stop: int
    rows: Rows
    about: dict[str, Any]


def write_part(
    layout: Layout,
    shard: int,
    start: int,
    stop: int,
    rows: Rows,
    dtype: str,
    about: Mapping[str, Any],
    *,
    earlier: str | None = ANY,
) -> bool:
    """Keep a piece of a shard, unless somebody else did.

    Args:
        layout: the store.
        shard: its number.
        start: the first item, counted like all the other parts of this shard: in the job or in the shard.
        stop: one beyond the last.
        rows: the results.
        dtype: the codec that the shard will have; the part itself is written in full precision.
        about: as in `receipts.write_shard`.
        earlier: likewise.

    Returns:
        True where this call kept it; False where another attempt was first.

    Raises:
        StoreError: it cannot be written; nothing is left behind.
    """
    describe_fields(rows.fields, dtype)  # refuses now what the assembled shard could not be stored as
    stem = f"{shard_stem(shard)}.{start}-{stop}"
    fields = describe_fields(rows.fields, "float32")
    with layout.folder("parts", create=True) as parts:
        if parts.exists(f"{stem}.json"):
            return False
        valid = partial(earlier_is, layout, shard, earlier)
        return commit_rows(parts, parts, stem, (shard, start, stop), rows, fields, about, valid)


def read_parts(layout: Layout, shard: int) -> list[Part]:
    """Read the finished pieces of a shard.

    A piece that is damaged is dropped with a warning in the log: it will be done again.

    Args:
        layout: the store.
        shard: its number.

    Returns:
        In the order of their beginnings.

    Raises:
        StoreError: the folder cannot be read, or a damaged piece cannot be removed.
    """
    if not layout.parts.exists():
        return []
    name_of_part = re.compile(re.escape(shard_stem(shard)) + r"\.[0-9]{1,15}-[0-9]{1,15}\.json")
    found: list[Part] = []
    with layout.folder("parts") as parts:
        for name in filter(name_of_part.fullmatch, parts.names()):
            found += _read_or_drop(layout, parts, name, shard)
    return sorted(found, key=lambda part: (part.start, part.stop))


def _read_or_drop(layout: Layout, parts: Folder, name: str, shard: int) -> list[Part]:
    try:
        return [_read_part(layout, parts, name, shard)]
    except StoreError as error:
        _LOG.warning("a finished piece of shard %d is dropped: %s", shard, error)
        parts.remove(name)
        return []


def _read_part(layout: Layout, parts: Folder, name: str, shard: int) -> Part:
    receipt = load_receipt(parts, name, name.removesuffix(".json"), shard)
    if receipt is None:
        raise StoreError(f"{layout.parts / name}: it was removed meanwhile")
    rows = read_rows(layout, receipt, layout.parts.name)
    keys = ("seconds", "evaluations", "peak_memory", "worker", "versions", "attempts", "finished")
    return Part(receipt.start, receipt.stop, rows, {**receipt.more, **{key: getattr(receipt, key) for key in keys}})
