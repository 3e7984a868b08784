"""Where things are in a store, and the document that says what the job is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any

from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.store.folders import Folder, dump_json, load_json

__all__ = [
    "FORMAT",
    "MAXIMUM_ITEMS",
    "Layout",
    "Status",
    "create_job",
    "frozen_digest",
    "is_digest",
    "is_whole",
    "read_job",
    "shard_stem",
]

FORMAT = 1
MAXIMUM_ITEMS = 1 << 48
_JOB_LIMIT = 256 << 20
"""Bytes of job.json: room for more than a million files that are listed one by one."""
_FOLDERS = ("journal", "parts", "data", "commits", "logs")


class Status(IntEnum):
    """What became of an item."""

    OK = 0
    UNREADABLE = 1
    """Decoding failed."""
    CHANGED = 2
    """The source is not what it was when the list of items was frozen."""
    FAILED = 3
    """The explainer or the model raised, or gave a result of another shape than the other items."""
    NOT_FINITE = 4
    """NaN or infinity in the input or in the result."""
    KILLED = 5
    """It killed the process that worked on it, as often as is allowed."""

    @property
    def label(self) -> str:
        """The name in lower case, as receipts and reports write it."""
        return self.name.lower()


def shard_stem(shard: int) -> str:
    """Return the name that the files of a shard begin with.

    Args:
        shard: its number.

    Returns:
        Such as ``shard-000012``.
    """
    return f"shard-{shard:06d}"


class Layout:
    """The places in a store.

    Args:
        root: the folder; it need not be there yet.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.job = self.root / "job.json"
        self.items = self.root / "items"
        self.fields = self.root / "fields.json"
        self.journal = self.root / "journal"
        self.parts = self.root / "parts"
        self.data = self.root / "data"
        self.commits = self.root / "commits"
        self.manifest = self.root / "manifest.json"
        self.logs = self.root / "logs"

    def __repr__(self) -> str:
        return f"Layout({str(self.root)!r})"

    def create(self) -> None:
        """Make the folders that are missing.

        Raises:
            StoreError: that cannot be done, or one of them is a symbolic link.
        """
        for name in _FOLDERS:
            with self.folder(name, create=True):
                pass

    def folder(self, *names: str, create: bool = False) -> Folder:
        """Open a folder of the store.

        Args:
            names: the way down from the root; none for the root itself.
            create: make what is missing.

        Returns:
            The open folder, a context manager.

        Raises:
            StoreError: it cannot be opened, or a step of the way is a symbolic link.
        """
        return Folder(self.root, *names, create=create)

    def journal_of(self, shard: int) -> Path:
        """Return the folder of a shard's attempts.

        Args:
            shard: its number.

        Returns:
            ``journal/shard-000012``.
        """
        return self.journal / shard_stem(shard)

    @property
    def exists(self) -> bool:
        """Whether there is a job in it."""
        return self.job.is_file()

    @property
    def read_only(self) -> bool:
        """Whether this process may not write to it."""
        places = [place for place in (self.root, self.data, self.commits) if place.is_dir()]
        return not all(os.access(place, os.W_OK | os.X_OK) for place in places)

    def check_writable(self) -> None:
        """Check that this process may write to it.

        Raises:
            StoreError: it may not.
        """
        if self.read_only:
            raise StoreError(f"{self.root}: expected a folder that can be written to, got a read-only one")


def create_job(layout: Layout, document: Mapping[str, Any]) -> None:
    """Write ``job.json``, once; the list of items has to be frozen before.

    Args:
        layout: the store.
        document: ``spec`` (with at least ``shard_size`` and ``dtype``), ``fingerprint``, ``items`` (``count`` and
            ``sha256``) and whatever else there is to keep; ``format`` is added.

    Raises:
        InputError: the document is too large to be read again.
        StoreError: there is a job already, it cannot be written, or somebody else froze another list of items.
    """
    whole = {"format": FORMAT, **document}
    if not _is_job(whole):
        raise bad_argument("document", "a job with spec, fingerprint and items", repr(document)[:200])
    content = dump_json(whole)
    if len(content) > _JOB_LIMIT:
        raise bad_argument(
            "spec",
            f"a description of at most {_JOB_LIMIT >> 20} MiB; give the folder of the files instead of a list of them, "
            "and labels instead of a list of targets",
            f"{len(content) >> 20} MiB",
        )
    layout.create()
    with layout.folder() as root:
        if not root.write_first(layout.job.name, content):
            raise StoreError(f"{layout.job}: expected a folder without a job, got one that has a job")
        if frozen_digest(layout) != document["items"]["sha256"]:
            # A job that somebody else begins here at the same time has replaced the list, see `Items.freeze`.
            root.remove(layout.job.name)
            raise StoreError(f"{layout.items}: expected the items of this job, got those of another; start it again")


def frozen_digest(layout: Layout) -> str | None:
    """Read the sha256 of the list of items that is frozen.

    Args:
        layout: the store.

    Returns:
        Hexadecimal digits, or None where there is no list, or what is there is none.
    """
    with suppress(StoreError), layout.folder(layout.items.name) as items:
        found = load_json(items.read("items.json", 1 << 16), layout.items, lambda one: isinstance(one, dict))
        return found["sha256"] if is_digest(found.get("sha256")) else None
    return None


def read_job(layout: Layout) -> dict[str, Any]:
    """Read ``job.json``.

    Args:
        layout: the store.

    Returns:
        The document that `create_job` wrote.

    Raises:
        StoreError: there is none, it is of another version of the format, or not what it should be.
    """
    if not os.path.lexists(layout.job):
        there = "one without job.json" if layout.root.is_dir() else "no folder"
        raise StoreError(f"{layout.root}: expected a folder that `xai-fast run` or jobs.run made, got {there}")
    with layout.folder() as root:
        document = load_json(root.read(layout.job.name, _JOB_LIMIT), layout.job, lambda job: isinstance(job, dict))
    if document.get("format") != FORMAT:
        found = repr(document.get("format"))[:40]
        raise StoreError(f"{layout.job}: expected format {FORMAT} of stores, got {found}; a newer xai_fast reads it")
    if not _is_job(document):
        raise StoreError(f"{layout.job}: expected spec, fingerprint and items, got another document")
    return dict(document)


def is_whole(value: object, low: int = 0, high: int = MAXIMUM_ITEMS) -> bool:
    """Return whether a value from a file is an integer within limits; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_digest(value: object) -> bool:
    """Return whether a value from a file is a sha256 in hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_job(document: Mapping[str, Any]) -> bool:
    spec, items = document.get("spec"), document.get("items")
    return (
        isinstance(spec, Mapping)
        and is_whole(spec.get("shard_size"), 1)
        and isinstance(spec.get("dtype"), str)
        and isinstance(document.get("fingerprint"), str)
        and re.fullmatch("[0-9a-zA-Z]{1,128}", document["fingerprint"]) is not None
        and isinstance(items, Mapping)
        and is_whole(items.get("count"))
        and is_digest(items.get("sha256"))
    )
