"""Commits: a shard counts when its receipt is there, and the first receipt wins.

The order, and what a crash after each step leaves:

1. the data under a temporary name, forced to the disk: a temporary file, removed by ``clean``;
2. the data under a name that no other attempt has, forced to the disk: data without a receipt, removed by ``clean``;
3. the receipt, linked to its name, which fails if another attempt was first: the shard is done. Only what is on the
   disk for good is ever named by a receipt, so after a power failure there is no receipt without its data;
4. who lost removes his own data: else data that the receipt does not name, removed by ``clean``.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from xai_fast.batch.store.fields import Field, agree_on_fields, describe_fields, parse_fields, read_fields
from xai_fast.batch.store.folders import Folder, dump_json, load_json, unique_name
from xai_fast.batch.store.layout import Layout, Status, is_digest, is_whole, shard_stem
from xai_fast.batch.store.rows import Rows
from xai_fast.batch.store.shard_file import Measured, ShardFile, write_rows
from xai_fast.errors import StoreError, bad_argument

__all__ = [
    "Receipt",
    "commit_rows",
    "committed",
    "drop_receipts",
    "open_shard",
    "parse_receipt",
    "read_receipt",
    "receipts",
    "write_shard",
]

_RECEIPT_LIMIT = 8 << 20
_RECEIPT_NAME = re.compile(r"shard-([0-9]{6,15})\.json")
_FAILURES_SHOWN = 100
_REASON_SHOWN = 300
_LABELS = {status.label for status in Status}


@dataclass(frozen=True)
class Receipt:
    """What is known of a shard, or of a part of one, that is done.

    Attributes:
        shard: its number.
        start: the first item.
        stop: one beyond the last item.
        file: the name in ``data/`` (or ``parts/``).
        bytes: the size of the file.
        sha256: of the file.
        fields: what is in it.
        statuses: how many items have which status, by its label.
        failed: (row, reason) of the first failures, cut to a line or two.
        seconds: of work, by kind: decode, model, kernels, write, total.
        evaluations: of the model's gradient.
        peak_memory: of the worker, in bytes.
        worker: who did it.
        versions: of the software.
        attempts: how many it took.
        finished: unix time.
        more: whatever else the worker told.
    """

    shard: int
    start: int
    stop: int
    file: str
    bytes: int
    sha256: str
    fields: dict[str, Field]
    statuses: dict[str, int]
    failed: list[tuple[int, str]]
    seconds: dict[str, float] = field(default_factory=dict)
    evaluations: int = 0
    peak_memory: int = 0
    worker: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    attempts: int = 1
    finished: float = 0.0
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of items."""
        return self.stop - self.start

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        fields = {name: one.to_dict() for name, one in self.fields.items()}
        return {**asdict(self), "fields": fields, "failed": [list(pair) for pair in self.failed]}


_ABOUT = ("seconds", "evaluations", "peak_memory", "worker", "versions", "attempts", "finished")


def write_shard(
    layout: Layout, shard: int, start: int, stop: int, rows: Rows, dtype: str, about: Mapping[str, Any]
) -> bool:
    """Commit a shard, unless somebody else did.

    Args:
        layout: the store.
        shard: its number.
        start: the first item.
        stop: one beyond the last item.
        rows: the results; successes that differ from the fields of the store are failed in it.
        dtype: the codec of maps of floats.
        about: ``seconds``, ``evaluations``, ``peak_memory``, ``worker``, ``versions``, ``attempts`` and, if it should
            not be now, ``finished``; what has another name is kept under ``more``.

    Returns:
        True where this call committed it; False where another attempt was first.

    Raises:
        StoreError: it cannot be written; nothing is left behind, and the shard is not committed.
    """
    with layout.folder("commits", create=True) as commits, layout.folder("data", create=True) as data:
        if commits.exists(f"{shard_stem(shard)}.json"):
            return False
        fields = _settle_fields(layout, rows, dtype)
        return commit_rows(data, commits, shard_stem(shard), (shard, start, stop), rows, fields, about)


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

    Returns:
        True where the receipt is this call's.

    Raises:
        StoreError: it cannot be written.
    """
    rows.check_whole()
    if rows.count != place[2] - place[1] or place[1] < 0:
        raise bad_argument("rows", f"one for each of the items from {place[1]} to {place[2]}", str(rows.count))
    content = Measured(write_rows(rows, fields))
    name = f"{stem}.{unique_name()}.safetensors"
    temporary = data.write_temporary(content)
    won = False
    try:
        data.rename(temporary, name)
        receipt = _receipt(place, name, content, rows, fields, about)
        won = receipts_folder.write_first(f"{stem}.json", dump_json(receipt.to_dict()))
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
    failed = [row for row, code in enumerate(rows.statuses.tolist()) if code != Status.OK][:_FAILURES_SHOWN]
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
        return {int(match[1]) for name in commits.names() if (match := _RECEIPT_NAME.fullmatch(name))}


def read_receipt(layout: Layout, shard: int) -> Receipt:
    """Read the receipt of a shard.

    Args:
        layout: the store.
        shard: its number.

    Returns:
        The receipt.

    Raises:
        StoreError: there is none, or it is not what it should be.
    """
    name = f"{shard_stem(shard)}.json"
    with layout.folder("commits") as commits:
        document = load_json(commits.read(name, _RECEIPT_LIMIT), layout.commits / name)
    return parse_receipt(document, shard_stem(shard), layout.commits / name, shard)


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
        yield read_receipt(layout, shard)


def drop_receipts(layout: Layout, shards: Collection[int]) -> None:
    """Make shards count as not done; their data become orphans that ``clean`` removes.

    Args:
        layout: the store.
        shards: their numbers.

    Raises:
        StoreError: a receipt cannot be removed.
    """
    # The manifest first: it repeats the receipts, and must never name one that is gone.
    with layout.folder() as root:
        if root.remove(layout.manifest.name):
            root.sync()
    with layout.folder("commits") as commits:
        for shard in shards:
            commits.remove(f"{shard_stem(shard)}.json")
        commits.sync()


def parse_receipt(document: Any, stem: str, where: object, shard: int) -> Receipt:
    """Read a receipt that somebody else may have written.

    Args:
        document: of JSON.
        stem: what the name of the data file has to begin with.
        where: the file, for the message.
        shard: the number that it has to have.

    Returns:
        The receipt.

    Raises:
        StoreError: it is not what it should be.
    """
    if not isinstance(document, dict) or document.get("shard") != shard:
        raise StoreError(f"{where}: expected the receipt of shard {shard}, got another document")
    for key, right in _CHECKS.items():
        if key not in document or not right(document[key]):
            raise StoreError(f"{where}: expected a receipt, got {key} = {repr(document.get(key))[:100]}")
    if not re.fullmatch(re.escape(stem) + r"\.[0-9a-f]{16}\.safetensors", document["file"]):
        raise StoreError(f"{where}: expected the name of a data file of {stem}, got {document['file'][:200]!r}")
    start, stop = document["start"], document["stop"]
    # Each row has at least one byte, so a number of rows beyond the file's size is a lie.
    if not start <= stop <= start + document["bytes"]:
        raise StoreError(f"{where}: expected a range of items that fits {document['bytes']} bytes, got {start}-{stop}")
    if sum(document["statuses"].values()) != stop - start:
        raise StoreError(f"{where}: expected a status for each item, got {document['statuses']}")
    fields = parse_fields(document.get("fields"), where)
    values = {key: document[key] for key in _CHECKS}
    return Receipt(**{**values, "fields": fields, "failed": [(row, reason) for row, reason in document["failed"]]})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15  # False for NaN


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_failure(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and is_whole(value[0]) and isinstance(value[1], str)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "shard": is_whole,
    "start": is_whole,
    "stop": is_whole,
    "file": _is_text,
    "bytes": lambda value: is_whole(value, 0, 1 << 62),
    "sha256": is_digest,
    "statuses": lambda value: (
        isinstance(value, dict) and value.keys() <= _LABELS and all(map(is_whole, value.values()))
    ),
    "failed": lambda value: isinstance(value, list) and len(value) <= _FAILURES_SHOWN and all(map(_is_failure, value)),
    "seconds": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "evaluations": lambda value: is_whole(value, 0, 1 << 62),
    "peak_memory": lambda value: is_whole(value, 0, 1 << 62),
    "worker": _is_text,
    "versions": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "attempts": is_whole,
    "finished": _is_number,
    "more": lambda value: isinstance(value, dict),
}


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
