"""Looking for damage in a store, making only what is damaged be done again, and removing what crashes left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xai_fast.errors import StoreError
from xai_fast.jobs.store.folder import TEMPORARY, Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import read_job
from xai_fast.jobs.store.shards import SHARDS, Shards

__all__ = ["Damage", "clean", "repair", "verify"]

_NEW = 3600.0
"""Seconds for which an unfinished file may still be written."""


@dataclass(frozen=True)
class Damage:
    """Something in a store that is not as it was written.

    Attributes:
        shard: which has to be done again, or None where it is the list of items.
        reason: what is wrong.
    """

    shard: int | None
    reason: str


def verify(out: str | os.PathLike[str], deep: bool = True, seen: Callable[[int], None] | None = None) -> list[Damage]:
    """Look for damage.

    Args:
        out: the folder of the job.
        deep: read all data and compare their sha256; else headers, names, types and sizes only.
        seen: called with the number of each shard that was looked at, such as for a progress bar.

    Returns:
        What is damaged; empty where nothing is.

    Raises:
        StoreError: ``job.json`` cannot be read, so that it is not known what should be there.
    """
    job, root = read_job(Path(out)), Folder(Path(out))
    shards, found = Shards.of(root, job), []
    try:
        items = Items(root, job["items"])
        if deep:
            items.check()
    except StoreError as error:
        found.append(Damage(None, str(error)))
    shards.agreed(deep=deep)
    for shard in shards.all_done():
        reason = _damage(shards, shard, deep)
        if reason is not None:
            found.append(Damage(shard, reason))
        if seen is not None:
            seen(shard)
    return found


def repair(out: str | os.PathLike[str]) -> list[Damage]:
    """Remove what is damaged, so that the next run does it again, and only that.

    Args:
        out: the folder of the job.

    Returns:
        What was damaged.

    Raises:
        StoreError: the list of items is damaged, which cannot be done again: the job has to be started anew; or the
            store cannot be written.
    """
    path = Path(out)
    shards = Shards.of(Folder(path), read_job(path))
    found = verify(path)
    for damage in found:
        if damage.shard is None:
            raise StoreError(f"{damage.reason}; the list of items cannot be repaired, start the job in another folder")
    shards.agreed(deep=True)
    for damage in found:
        # Judged once more right before: a run may have done the shard again since.
        if damage.shard is not None and _damage(shards, damage.shard, deep=True) is not None:
            shards.remove(damage.shard)
    return found


def clean(out: str | os.PathLike[str], force: bool = False) -> list[str]:
    """Remove unfinished files that crashed workers left, and lists of items that belong to no job.

    Args:
        out: the folder of the job.
        force: also what is less than an hour old, which a worker may be writing; that is then done again.

    Returns:
        The names of what was removed, from the root of the store.

    Raises:
        StoreError: it is no store, or a file cannot be removed.
    """
    path = Path(out)
    job = read_job(path)
    root = Folder(path)
    before = float("inf") if force else time.time() - _NEW
    removed = list(_clean(root, "", before))
    for name in root.names():
        if name.startswith("items-") and name != job["items"].get("folder") and (root.changed(name) or 0) < before:
            root.remove_folder(name)
            removed.append(name)
    if root.exists(SHARDS):
        shards = root.folder(SHARDS)
        for name in [name for name in shards.names() if name.isdigit()]:
            removed += _clean(shards.folder(name), f"{SHARDS}/{name}/", before)
    return sorted(removed)


def _clean(folder: Folder, prefix: str, before: float) -> Iterator[str]:
    for name in folder.names():
        if name.startswith(TEMPORARY) and (folder.changed(name) or 0) < before and folder.remove(name):
            yield prefix + name


def _damage(shards: Shards, shard: int, deep: bool) -> str | None:
    try:
        shards.open(shard, deep=deep)
    except StoreError as error:
        return str(error)
    return None
