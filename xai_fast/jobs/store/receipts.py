"""Commits: a shard counts when its receipt is there, and the first receipt wins.

The order, and what a crash after each step leaves:

1. the data under a temporary name, forced to the disk: a temporary file, removed by ``clean``;
2. the data under a name that no other attempt has, forced to the disk: data without a receipt, removed by ``clean``;
3. the receipt, linked to its name, which fails if another attempt was first: the shard is done. Only what is on the
   disk for good is ever named by a receipt, so after a power failure there is no receipt without its data;
4. who lost removes his own data: else data that the receipt does not name, removed by ``clean``.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.store.fields import Field, agree_on_fields, describe_fields, read_fields
from xai_fast.jobs.store.folders import Folder, dump_json, load_json, unique_name
from xai_fast.jobs.store.layout import Layout, Status, shard_stem
from xai_fast.jobs.store.receipt import FAILURES_SHOWN, Receipt, parse_receipt
from xai_fast.jobs.store.rows import Rows
from xai_fast.jobs.store.shard_file import Measured, ShardFile, write_rows

__all__ = [
    "ANY",
    "EARLIER",
    "RECEIPT_NAME",
    "Receipt",
    "commit_rows",
    "committed",
    "digest_of",
    "earlier_is",
    "load_receipt",
    "open_shard",
    "read_earlier",
    "read_receipt",
    "read_rows",
    "receipts",
    "write_shard",
]

_RECEIPT_LIMIT = 8 << 20
RECEIPT_NAME = re.compile(r"shard-([0-9]{6}|[1-9][0-9]{6,14})\.json")
"""The name of a receipt: one for each number."""
_REASON_SHOWN = 300
EARLIER = "earlier.json"
"""A receipt that was withdrawn, in the journal of its shard."""
ANY = ""
"""No file has this name: an attempt that does not say what it began from."""
_ABOUT = ("seconds", "evaluations", "peak_memory", "worker", "versions", "attempts", "finished")


def write_shard(
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
    """Commit a shard, unless somebody else did.

    Args:
        layout: the store.
        shard: its number.
        start: the first item.
        stop: one beyond the last item.
        rows: the results; successes that differ from the fields of the store are failed in it.
        dtype: the codec of maps of floats.
        about: ``seconds`` (by kind; writing is added to ``write`` and ``total``), ``evaluations``, ``peak_memory``,
            ``worker``, ``versions``, ``attempts`` and, if it should not be now, ``finished``; what has another name is
            kept under ``more``.
        earlier: the file of the receipt that was withdrawn before the attempt began (`read_earlier`), None where there
            was none; an attempt that began before the shard was withdrawn has the failures that are to be done again,
            so it loses. Not looked at if not given.

    Returns:
        True where this call committed it; False where another attempt was first.

    Raises:
        StoreError: it cannot be written; nothing is left behind, and the shard is not committed.
    """
    with layout.folder("commits", create=True) as commits, layout.folder("data", create=True) as data:
        if commits.exists(f"{shard_stem(shard)}.json"):
            return False
        fields = _settle_fields(layout, rows, dtype)
        valid = partial(earlier_is, layout, shard, earlier)
        return commit_rows(data, commits, shard_stem(shard), (shard, start, stop), rows, fields, about, valid)


def _settle_fields(layout: Layout, rows: Rows, dtype: str) -> dict[str, Field]:
    """Agree with the other shards on the fields; a shard without a success has no say in it."""
    rows.check_whole()
    agreed = read_fields(layout)
    if bool((rows.statuses == Status.OK).any()):
        agreed = agree_on_fields(layout, describe_fields(rows.fields, dtype)) if agreed is None else agreed
    rows.conform(agreed or {}, dtype)
    return {name: one for name, one in (agreed or {}).items() if name in rows.fields}


def commit_rows(
    data: Folder,
    receipts_folder: Folder,
    stem: str,
    place: tuple[int, int, int],
    rows: Rows,
    fields: Mapping[str, Field],
    about: Mapping[str, Any],
    valid: Callable[[], bool],
) -> bool:
    """Write a data file and its receipt, in the order that is told above.

    Args:
        data: where the data go.
        receipts_folder: where the receipt goes.
        stem: what both names begin with.
        place: shard, start and stop.
        rows: the results.
        fields: how they are stored.
        about: as in `write_shard`.
        valid: asked just before the receipt is written; where it says no, there will be none.

    Returns:
        True where the receipt is this call's.

    Raises:
        StoreError: it cannot be written.
    """
    began = time.perf_counter()
    rows.check_whole()
    if rows.count != place[2] - place[1] or place[1] < 0:
        raise bad_argument("rows", f"one for each of the items from {place[1]} to {place[2]}", str(rows.count))
    content = Measured(write_rows(rows, fields))
    name = f"{stem}.{unique_name()}.safetensors"
    temporary = data.write_temporary(content)
    won = False
    try:
        data.rename(temporary, name)
        told = _add_writing(about, time.perf_counter() - began)
        receipt = _receipt(place, name, content, rows, fields, told)
        won = valid() and receipts_folder.write_first(f"{stem}.json", dump_json(receipt.to_dict()))
    finally:
        if not won and not _names(receipts_folder, stem, name):
            # Lost the race, or failed on the way: nobody will ever read this file.
            data.remove(temporary)
            data.remove(name)
    if won and not data.exists(name):
        # A cleaner that took this attempt for dead was faster by a hair: a receipt without data must not stay.
        receipts_folder.remove(f"{stem}.json")
        raise StoreError(f"{data.path / name}: expected the file that was just written, it was removed meanwhile")
    return won


def _add_writing(about: Mapping[str, Any], elapsed: float) -> dict[str, Any]:
    """Add the time that writing took to what the worker told of its time."""
    seconds = dict(about.get("seconds", {}))
    for kind in ("write", "total"):
        seconds[kind] = seconds.get(kind, 0.0) + elapsed
    return {**about, "seconds": seconds}


def _names(folder: Folder, stem: str, file: str) -> bool:
    """Return whether the receipt is there and is this attempt's: the link was made, then something failed."""
    if not folder.exists(f"{stem}.json"):
        return False
    document = load_json(folder.read(f"{stem}.json", _RECEIPT_LIMIT), folder.path / f"{stem}.json")
    return isinstance(document, dict) and document.get("file") == file


def _receipt(
    place: tuple[int, int, int],
    name: str,
    content: Measured,
    rows: Rows,
    fields: Mapping[str, Field],
    about: Mapping[str, Any],
) -> Receipt:
    labels = Counter(Status(code).label for code in rows.statuses.tolist())
    failed = [row for row, code in enumerate(rows.statuses.tolist()) if code != Status.OK][:FAILURES_SHOWN]
    return Receipt(
        *place,
        file=name,
        bytes=content.size,
        sha256=content.sha256,
        fields=dict(fields),
        statuses=dict(labels),
        failed=[(row, (rows.reasons[row] or "")[:_REASON_SHOWN]) for row in failed],
        more={key: value for key, value in about.items() if key not in _ABOUT},
        **{"finished": time.time(), **{key: about[key] for key in _ABOUT if key in about}},
    )


def committed(layout: Layout) -> set[int]:
    """Return the numbers of the shards that are done; reads names only.

    Args:
        layout: the store.

    Returns:
        The numbers.

    Raises:
        StoreError: the folder cannot be read.
    """
    if not layout.commits.exists():
        return set()
    with layout.folder("commits") as commits:
        return {int(match[1]) for name in commits.names() if (match := RECEIPT_NAME.fullmatch(name))}


def read_receipt(layout: Layout, shard: int) -> Receipt | None:
    """Read the receipt of a shard.

    Args:
        layout: the store.
        shard: its number.

    Returns:
        The receipt, or None where the shard is not done.

    Raises:
        StoreError: it is not what it should be.
    """
    name = f"{shard_stem(shard)}.json"
    if not layout.commits.exists():
        return None
    with layout.folder("commits") as commits:
        return load_receipt(commits, name, shard_stem(shard), shard)


def load_receipt(folder: Folder, name: str, stem: str, shard: int) -> Receipt | None:
    """Read a receipt, wherever it lies.

    Args:
        folder: where.
        name: there.
        stem: what the name of the data file has to begin with.
        shard: the number that it has to have.

    Returns:
        The receipt, or None where there is none.

    Raises:
        StoreError: it is not what it should be.
    """
    if not folder.exists(name):
        return None
    document = load_json(folder.read(name, _RECEIPT_LIMIT), folder.path / name)
    return parse_receipt(document, stem, folder.path / name, shard)


def read_earlier(layout: Layout, shard: int) -> Receipt | None:
    """Read the receipt that was withdrawn.

    Args:
        layout: the store.
        shard: its number.

    Returns:
        The receipt, whose data file is still there, or None.

    Raises:
        StoreError: it is not what it should be.
    """
    stem = shard_stem(shard)
    if not layout.journal_of(shard).exists():
        return None
    with layout.folder("journal", stem) as journal:
        return load_receipt(journal, EARLIER, stem, shard)


def earlier_is(layout: Layout, shard: int, file: str | None) -> bool:
    """Tell whether an attempt still has to do with the same withdrawn receipt.

    Args:
        layout: the store.
        shard: its number.
        file: that the receipt named when the attempt began; None where there was none, `ANY` where nobody asks.

    Returns:
        False where the shard was withdrawn meanwhile, or finished.
    """
    if file == ANY:
        return True
    found = None
    with suppress(StoreError):  # removed by whoever finished the shard, or damaged, which a retry takes for none
        found = read_earlier(layout, shard)
    return file == (None if found is None else found.file)


def receipts(layout: Layout, known: Collection[int] = ()) -> Iterator[Receipt]:
    """Read the receipts of all shards that are done.

    Args:
        layout: the store.
        known: numbers to leave out, such as those that were read before; receipts do not change.

    Yields:
        In the order of the shards.

    Raises:
        StoreError: one of them is not what it should be.
    """
    for shard in sorted(committed(layout).difference(known)):
        receipt = read_receipt(layout, shard)
        if receipt is not None:  # else it was dropped while we look
            yield receipt


def open_shard(layout: Layout, receipt: Receipt, folder: str = "data") -> ShardFile:
    """Open the data of a receipt.

    Args:
        layout: the store.
        receipt: of the shard.
        folder: ``data`` or ``parts``.

    Returns:
        The file, mapped into memory.

    Raises:
        StoreError: it is not there, or not what the receipt says.
    """
    with layout.folder(folder) as data:
        return ShardFile(data, receipt.file, receipt.rows, receipt.fields, receipt.bytes)


def read_rows(layout: Layout, receipt: Receipt, folder: str = "data") -> Rows:
    """Read all results of a shard, such as to write them again; encoding what was decoded gives the same bits.

    Args:
        layout: the store.
        receipt: of the shard.
        folder: ``data`` or ``parts``.

    Returns:
        The results.

    Raises:
        StoreError: the data are not there, or not what the receipt says, to the last byte.
    """
    with layout.folder(folder) as data:
        if digest_of(data, receipt) != receipt.sha256:
            raise StoreError(f"{data.path / receipt.file}: expected sha256 {receipt.sha256}, got another")
    return open_shard(layout, receipt, folder).to_rows()


def digest_of(folder: Folder, receipt: Receipt) -> str:
    """Compute the sha256 of a data file.

    Args:
        folder: where it is.
        receipt: that names it.

    Returns:
        Hexadecimal digits.

    Raises:
        StoreError: it is not there, of another size, or cannot be read.
    """
    fd = folder.open_file(receipt.file)
    try:
        size = os.fstat(fd).st_size
        if size != receipt.bytes:
            raise StoreError(f"{folder.path / receipt.file}: expected {receipt.bytes} bytes, got {size}")
        digest = hashlib.sha256()
        while block := os.read(fd, 1 << 20):
            digest.update(block)
    except OSError as error:
        raise StoreError(f"{folder.path / receipt.file}: cannot read: {error.strerror}") from error
    finally:
        os.close(fd)
    return digest.hexdigest()
