"""The document that says what a job is, and what may become of an item."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from xai_fast.errors import StoreError, XaiFastError, bad_argument
from xai_fast.jobs.store.folder import TEMPORARY, Folder, dump_json, load_json

__all__ = ["FORMAT", "JOB", "ItemError", "Status", "create_job", "is_ours", "is_starting", "is_whole", "read_job"]

FORMAT = 2
JOB = "job.json"
_LIMIT = 256 << 20
"""Bytes of job.json: room for more than a million files that are listed one by one."""
_OURS = re.compile(r"job\.json|shards|items-[0-9a-f]+|report\.html|report-data|export\..*")


class Status(IntEnum):
    """What became of an item."""

    OK = 0
    UNREADABLE = 1
    """Decoding failed."""
    CHANGED = 2
    """The source is not what it was when the list of items was frozen."""
    FAILED = 3
    """The method or the model raised, or gave a result of another shape than the other items."""
    NOT_FINITE = 4
    """NaN or infinity in the input."""
    KILLED = 5
    """It killed the process that worked on it, as often as is allowed."""

    @property
    def label(self) -> str:
        """The name in lower case, as headers and reports write it."""
        return self.name.lower()


class ItemError(XaiFastError, RuntimeError):
    """One item cannot be explained; the status says which kind of failure it is."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def create_job(root: Folder, document: Mapping[str, Any]) -> bool:
    """Write ``job.json``, once."""
    content = dump_json({"format": FORMAT, **document})
    if len(content) > _LIMIT:
        raise bad_argument(
            "spec",
            f"a description of at most {_LIMIT >> 20} MiB; give the folder of the files instead of a list of them, and "
            "labels instead of a list of targets",
            f"{len(content) >> 20} MiB",
        )
    return root.write(JOB, content)


def read_job(path: Path) -> dict[str, Any]:
    """Read ``job.json``."""
    if not os.path.lexists(path / JOB):
        there = f"one without {JOB}" if path.is_dir() else "no folder"
        raise StoreError(f"{path}: expected a folder that `xai-fast run` or jobs.run made, got {there}")
    document = load_json(Folder(path).read(JOB, _LIMIT), path / JOB)
    if document.get("format") != FORMAT:
        found = repr(document.get("format"))[:40]
        raise StoreError(f"{path / JOB}: expected format {FORMAT} of stores, got {found}; another xai_fast reads it")
    spec, items = document.get("spec"), document.get("items")
    if not (
        isinstance(spec, dict)
        and is_whole(spec.get("shard_size"), 1, 2**31 - 1)
        and isinstance(spec.get("dtype"), str)
        and isinstance(document.get("fingerprint"), str)
        and isinstance(items, dict)
        and is_whole(items.get("count"))
    ):
        raise StoreError(f"{path / JOB}: expected spec, fingerprint and items, got another document")
    return document


def is_starting(path: Path) -> bool:
    """Tell whether a run has begun in a folder, and has not described its job yet."""
    names = os.listdir(path) if path.is_dir() else []
    return JOB not in names and any(name.startswith(TEMPORARY) for name in names)


def is_ours(name: str) -> bool:
    """Tell whether a store has a file or folder of this name in its root."""
    return _OURS.fullmatch(name) is not None or name.startswith(TEMPORARY)


def is_whole(value: object, low: int = 0, high: int = 1 << 48) -> bool:
    """Tell whether a value from a file is an integer within limits; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
