"""A receipt: what is known of a shard that is done."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from xai_fast.errors import StoreError
from xai_fast.jobs.store.fields import Field, parse_fields
from xai_fast.jobs.store.layout import Status, is_digest, is_whole

__all__ = ["FAILURES_SHOWN", "Receipt", "parse_receipt"]

FAILURES_SHOWN = 100
"""How many failures a receipt names; all are in the data."""

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
    "failed": lambda value: isinstance(value, list) and len(value) <= FAILURES_SHOWN and all(map(_is_failure, value)),
    "seconds": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "evaluations": lambda value: is_whole(value, 0, 1 << 62),
    "peak_memory": lambda value: is_whole(value, 0, 1 << 62),
    "worker": _is_text,
    "versions": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "attempts": is_whole,
    "finished": _is_number,
    "more": lambda value: isinstance(value, dict),
}
