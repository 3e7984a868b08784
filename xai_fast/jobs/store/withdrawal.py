"""Taking back what was committed: because it is damaged, or because failed items are to be tried again."""

from __future__ import annotations

import os
from collections.abc import Collection

from xai_fast.errors import StoreError
from xai_fast.jobs.store.folders import Folder, is_temporary
from xai_fast.jobs.store.layout import Layout, shard_stem
from xai_fast.jobs.store.receipts import EARLIER

__all__ = ["drop_receipts", "withdraw"]


def drop_receipts(layout: Layout, shards: Collection[int]) -> None:
    """Make shards count as not done; their data become orphans that ``clean`` removes.

    Args:
        layout: the store.
        shards: their numbers.

    Raises:
        StoreError: a receipt cannot be removed.
    """
    _drop_manifest(layout)
    with layout.folder("commits") as commits:
        for shard in shards:
            commits.remove(f"{shard_stem(shard)}.json")
        commits.sync()


def withdraw(layout: Layout, shard: int) -> None:
    """Make a shard count as not done, and keep its receipt in the journal, so that its good items are kept.

    Finished pieces and attempts that are still there go first: whoever finished the shard may have died before he
    removed them, and the shard would be put together from the old pieces again, with the old failures.

    Args:
        layout: the store.
        shard: its number.

    Raises:
        StoreError: it is not committed, or the receipt cannot be moved.
    """
    stem = shard_stem(shard)
    _drop_manifest(layout)
    with layout.folder("commits") as commits, layout.folder("journal", stem, create=True) as journal:
        if not commits.exists(f"{stem}.json"):
            raise StoreError(f"{commits.path / stem}.json: cannot withdraw: there is no such receipt")
        _remove_history(layout, stem, journal)
        try:
            # One step: at no time is the receipt in neither place.
            os.rename(f"{stem}.json", EARLIER, src_dir_fd=commits.fd, dst_dir_fd=journal.fd)
        except OSError as error:
            raise StoreError(f"{commits.path / stem}.json: cannot withdraw: {error.strerror}") from error
        journal.sync()
        commits.sync()


def _remove_history(layout: Layout, stem: str, journal: Folder) -> None:
    """Remove the finished pieces of a shard and what was tried; all of it led to the receipt that is there."""
    if layout.parts.exists():
        with layout.folder("parts") as parts:
            for name in parts.names():
                if name.startswith(f"{stem}."):
                    parts.remove(name)
            parts.sync()
    for name in journal.names():
        if name != EARLIER and not is_temporary(name):
            journal.remove(name)
    journal.sync()


def _drop_manifest(layout: Layout) -> None:
    """Remove the manifest before any receipt: it repeats the receipts, and must never name one that is gone."""
    with layout.folder() as root:
        if root.remove(layout.manifest.name):
            root.sync()
