"""Removing what crashes and lost races left behind."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import stat
from contextlib import suppress

from xai_fast.errors import StoreError
from xai_fast.jobs.store.folders import Folder, is_temporary
from xai_fast.jobs.store.layout import Layout, read_job, shard_stem
from xai_fast.jobs.store.manifest import shard_count
from xai_fast.jobs.store.receipts import committed, read_earlier, read_receipt
from xai_fast.jobs.store.withdrawal import drop_receipts

__all__ = ["clean"]

_DATA = re.compile(r"shard-([0-9]{6,15})\.[0-9a-f]{16}\.safetensors")
_PART = re.compile(r"(shard-([0-9]{6,15})\.[0-9]{1,15}-[0-9]{1,15})(?:\.[0-9a-f]{16}\.safetensors|\.json)")
_SHARD = re.compile(r"shard-([0-9]{6,15})")


def clean(out: str | os.PathLike[str], force: bool = False) -> list[str]:
    """Remove temporary files, data without a receipt, and the parts and the journals of shards that are done.

    What is not known is left alone. Of shards that are not done, finished parts and the record of attempts stay. So do,
    without ``force``, files that were written less than a lease ago (`journal.LEASE`): a run that has just begun may be
    writing them. They go the next time.

    Args:
        out: the folder of the job.
        force: also what is new, and also while a worker is at it; what it is writing may be lost, which may end its
            run, and is done again by the next one.

    Returns:
        The names of what was removed, from the root of the store.

    Raises:
        StoreError: a worker is at it, or a file cannot be removed.
    """
    from xai_fast.jobs.journal import LEASE, live_attempts  # the journal is written with the store's own means

    layout = Layout(out)
    job = read_job(layout)
    layout.check_writable()
    live = [] if force else live_attempts(layout)
    if live:
        workers = ", ".join(sorted({attempt.worker for attempt in live})[:8])
        raise StoreError(f"{layout.root}: expected a store that nobody works on, got live attempts of {workers}")
    before = math.inf if force else _now(layout) - LEASE
    removed = [
        *_clean_root(layout, before),
        *_clean_data(layout, before),
        *_clean_parts(layout, before),
        *_clean_journal(layout, before, len(committed(layout)) == shard_count(job)),
    ]
    for way in (("commits",), ("logs",), ("items",), ("report",), ("report", "shards")):
        removed += _clean_temporary(layout, before, *way)
    return removed


def _now(layout: Layout) -> float:
    """Tell the time by the clock that gives files their times, which on a file server is not ours."""
    with layout.folder() as root:
        probe = root.write_temporary([])
        try:
            return os.stat(probe, dir_fd=root.fd).st_mtime
        finally:
            root.remove(probe)


def _is_old(folder: Folder, name: str, before: float) -> bool:
    """Return whether a file, or all that is in a folder, was last written before that time."""
    times = [_changed(name, folder.fd)]
    if _is_folder(folder, name):
        for _, folders, names, fd in os.fwalk(name, dir_fd=folder.fd):  # which follows no links
            times += [_changed(one, fd) for one in (*folders, *names)]
    return max(times) <= before


def _changed(name: str, folder: int) -> float:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return -math.inf


def _leftovers(folder: Folder, before: float) -> list[str]:
    return [name for name in folder.names() if is_temporary(name) and _is_old(folder, name, before)]


def _clean_root(layout: Layout, before: float) -> list[str]:
    removed = []
    with layout.folder() as root:
        for name in _leftovers(root, before):
            if _is_folder(root, name):  # a list of items, or an export, that was never finished
                try:
                    shutil.rmtree(layout.root / name)  # which follows no links
                except OSError as error:
                    raise StoreError(f"{layout.root / name}: cannot remove: {error.strerror}") from error
                removed.append(name)
            elif root.remove(name):
                removed.append(name)
    return removed


def _clean_temporary(layout: Layout, before: float, *way: str) -> list[str]:
    if not layout.root.joinpath(*way).exists():
        return []
    with layout.folder(*way) as opened:
        return ["/".join((*way, name)) for name in _leftovers(opened, before) if opened.remove(name)]


def _clean_data(layout: Layout, before: float) -> list[str]:
    if not layout.data.exists():
        return []
    removed = []
    with layout.folder("data") as data:
        for name in data.names():
            match = _DATA.fullmatch(name)
            orphan = match is not None and not _is_named(layout, int(match[1]), name)
            if (orphan or is_temporary(name)) and _is_old(data, name, before) and data.remove(name):
                removed.append(f"data/{name}")
                if match is not None:
                    _take_back(layout, int(match[1]), name)
    return removed


def _take_back(layout: Layout, shard: int, file: str) -> None:
    """Drop a receipt whose data were just removed.

    An attempt that nobody saw alive may have committed between the look for its receipt and the removal. It looks for
    its data after that, as this looks for the receipt: at least one of both sees what the other did.
    """
    with suppress(StoreError):  # of a damaged receipt, which is for `repair` to judge
        receipt = read_receipt(layout, shard)
        if receipt is not None and receipt.file == file:
            drop_receipts(layout, [shard])


def _is_named(layout: Layout, shard: int, file: str) -> bool:
    """Return whether a receipt names a data file, or a withdrawn one whose good items are still wanted."""
    try:
        receipt = read_receipt(layout, shard) or read_earlier(layout, shard)
    except StoreError:  # a damaged receipt is for `repair` to judge, and until then nothing of its shard is removed
        return True
    return receipt is not None and receipt.file == file


def _is_done(layout: Layout, shard: int) -> bool:
    return (layout.commits / f"{shard_stem(shard)}.json").exists()


def _clean_parts(layout: Layout, before: float) -> list[str]:
    if not layout.parts.exists():
        return []
    removed = []
    with layout.folder("parts") as parts:
        names = set(parts.names())
        for name in sorted(names):
            match = _PART.fullmatch(name)
            useless = match is not None and (_is_done(layout, int(match[2])) or f"{match[1]}.json" not in names)
            if (useless or is_temporary(name)) and _is_old(parts, name, before) and parts.remove(name):
                removed.append(f"parts/{name}")
    return removed


def _clean_journal(layout: Layout, before: float, complete: bool) -> list[str]:
    if not layout.journal.exists():
        return []
    removed = []
    with layout.folder("journal") as journal:
        for name in journal.names():
            match = _SHARD.fullmatch(name)
            if match is not None and _is_folder(journal, name):
                removed += _clean_attempts(layout, journal, name, before)
                continue
            remembered = complete and re.fullmatch(r"memory-[\w.-]+\.json", name)
            unfinished = is_temporary(name) and _is_old(journal, name, before)
            if (remembered or unfinished) and journal.remove(name):
                removed.append(f"journal/{name}")
    return removed


def _clean_attempts(layout: Layout, journal: Folder, name: str, before: float) -> list[str]:
    """Remove a shard's attempts if it is done; else only what was being written."""
    with layout.folder("journal", name) as attempts:
        names = attempts.names()
        # Only now, after the names: a retry that withdraws the shard makes new ones, which have to stay.
        done = _is_done(layout, int(name.removeprefix("shard-")))
        useless = names if done else _leftovers(attempts, before)
        removed = [f"journal/{name}/{one}" for one in useless if not _is_folder(attempts, one) and attempts.remove(one)]
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
