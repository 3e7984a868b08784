"""Removing what crashes and lost races left behind."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat

from xai_fast.batch.store.folders import Folder, is_temporary
from xai_fast.batch.store.layout import Layout, read_job
from xai_fast.batch.store.manifest import shard_count
from xai_fast.batch.store.receipts import committed, read_receipt
from xai_fast.batch.store.withdrawal import read_earlier
from xai_fast.errors import StoreError

__all__ = ["clean"]

_DATA = re.compile(r"shard-([0-9]{6,15})\.[0-9a-f]{16}\.safetensors")
_PART = re.compile(r"(shard-([0-9]{6,15})\.[0-9]{1,15}-[0-9]{1,15})(?:\.[0-9a-f]{16}\.safetensors|\.json)")
_SHARD = re.compile(r"shard-([0-9]{6,15})")


def clean(out: str | os.PathLike[str], force: bool = False) -> list[str]:
    """Remove temporary files, data without a receipt, and the parts and the journals of shards that are done.

    What is not known is left alone. Of shards that are not done, finished parts and the record of attempts stay. An
    export that is being written to the folder of the job at the same time would be taken for what a crash left.

    Args:
        out: the folder of the job.
        force: also while a worker is at it; what it is writing may be lost, and is done again.

    Returns:
        The names of what was removed, from the root of the store.

    Raises:
        StoreError: a worker is at it, or a file cannot be removed.
    """
    from xai_fast.batch.journal import live_attempts  # the journal is written with the store's own means

    layout = Layout(out)
    job = read_job(layout)
    layout.check_writable()
    live = [] if force else live_attempts(layout)
    if live:
        workers = ", ".join(sorted({attempt.worker for attempt in live})[:8])
        raise StoreError(f"{layout.root}: expected a store that nobody works on, got live attempts of {workers}")
    done = committed(layout)
    removed = [
        *_clean_root(layout),
        *_clean_data(layout),
        *_clean_parts(layout, done),
        *_clean_journal(layout, done, len(done) == shard_count(job)),
    ]
    for way in (("commits",), ("logs",), ("items",), ("report",), ("report", "shards")):
        removed += _clean_temporary(layout, *way)
    return removed


def _clean_root(layout: Layout) -> list[str]:
    removed = []
    with layout.folder() as root:
        for name in filter(is_temporary, root.names()):
            if _is_folder(root, name):  # a list of items, or an export, that was never finished
                try:
                    shutil.rmtree(layout.root / name)  # which follows no links
                except OSError as error:
                    raise StoreError(f"{layout.root / name}: cannot remove: {error.strerror}") from error
                removed.append(name)
            elif root.remove(name):
                removed.append(name)
    return removed


def _clean_temporary(layout: Layout, *way: str) -> list[str]:
    if not layout.root.joinpath(*way).exists():
        return []
    with layout.folder(*way) as opened:
        names = [name for name in opened.names() if is_temporary(name)]
        return ["/".join((*way, name)) for name in names if opened.remove(name)]


def _clean_data(layout: Layout) -> list[str]:
    if not layout.data.exists():
        return []
    removed = []
    with layout.folder("data") as data:
        for name in data.names():
            match = _DATA.fullmatch(name)
            # The receipt is looked for just before the removal, as late as can be: an attempt that nobody saw alive may
            # commit at this moment. If it does so between the two, it finds its data gone and takes its receipt back.
            orphan = match is not None and not _is_named(layout, int(match[1]), name)
            if (orphan or is_temporary(name)) and data.remove(name):
                removed.append(f"data/{name}")
    return removed


def _is_named(layout: Layout, shard: int, file: str) -> bool:
    """Return whether a receipt names a data file, or a withdrawn one whose good items are still wanted."""
    try:
        receipt = read_receipt(layout, shard) or read_earlier(layout, shard)
    except StoreError:  # a damaged receipt is for `repair` to judge, and until then nothing of its shard is removed
        return True
    return receipt is not None and receipt.file == file


def _clean_parts(layout: Layout, done: set[int]) -> list[str]:
    if not layout.parts.exists():
        return []
    removed = []
    with layout.folder("parts") as parts:
        names = set(parts.names())
        for name in sorted(names):
            match = _PART.fullmatch(name)
            useless = match is not None and (int(match[2]) in done or f"{match[1]}.json" not in names)
            if (useless or is_temporary(name)) and parts.remove(name):
                removed.append(f"parts/{name}")
    return removed


def _clean_journal(layout: Layout, done: set[int], complete: bool) -> list[str]:
    if not layout.journal.exists():
        return []
    removed = []
    with layout.folder("journal") as journal:
        for name in journal.names():
            match = _SHARD.fullmatch(name)
            if match is not None and _is_folder(journal, name):
                removed += _clean_attempts(layout, journal, name, int(match[1]) in done)
                continue
            remembered = complete and re.fullmatch(r"memory-[\w.-]+\.json", name)
            if (remembered or is_temporary(name)) and journal.remove(name):
                removed.append(f"journal/{name}")
    return removed


def _clean_attempts(layout: Layout, journal: Folder, name: str, done: bool) -> list[str]:
    """Remove a shard's attempts if it is done; else only what was being written."""
    with layout.folder("journal", name) as attempts:
        names = [one for one in attempts.names() if done or is_temporary(one)]
        removed = [f"journal/{name}/{one}" for one in names if not _is_folder(attempts, one) and attempts.remove(one)]
    return removed + [f"journal/{one}" for one in _remove_folder(journal, name)] if done else removed


def _is_folder(folder: Folder, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _remove_folder(parent: Folder, name: str) -> list[str]:
    """Remove an empty folder; one that has something in it by now stays."""
    try:
        os.rmdir(name, dir_fd=parent.fd)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            return []
        raise StoreError(f"{parent.path / name}: cannot remove: {error.strerror}") from error
    return [name]
