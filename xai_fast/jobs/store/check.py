"""Looking for damage in a store, and making only what is damaged be done again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xai_fast.errors import StoreError
from xai_fast.jobs.store.fields import agree_on_fields, read_fields
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.layout import Layout, Status, read_job
from xai_fast.jobs.store.manifest import read_manifest, shard_count
from xai_fast.jobs.store.receipts import Receipt, committed, digest_of, open_shard, read_receipt
from xai_fast.jobs.store.withdrawal import drop_receipts

__all__ = ["Damage", "repair", "verify"]


@dataclass(frozen=True)
class Damage:
    """Something in a store that is not as it was written.

    Attributes:
        shard: which has to be done again, or None where it is no shard.
        reason: what is wrong.
        file: what `repair` acts on where it is no shard: ``items``, ``fields.json`` or ``manifest.json``.
    """

    shard: int | None
    reason: str
    file: str | None = None


def verify(out: str | os.PathLike[str], deep: bool = True, seen: Callable[[int], None] | None = None) -> list[Damage]:
    """Look for damage.

    Args:
        out: the folder of the job.
        deep: read all data and compare their sha256; else sizes, headers, statuses and receipts only.
        seen: called with the number of each shard that was looked at, such as for a progress bar.

    Returns:
        What is damaged; empty where nothing is.

    Raises:
        StoreError: ``job.json`` cannot be read, so that it is not known what should be there.
    """
    layout = Layout(out)
    job = read_job(layout)
    found = [*_check_items(layout, job, deep), *_check_fields(layout)]
    for shard in sorted(committed(layout)):
        reason = _check_shard(layout, job, shard, deep)
        if reason is not None:
            found.append(Damage(shard, reason))
        if seen is not None:
            seen(shard)
    return [*found, *_check_manifest(layout, job)]


def repair(out: str | os.PathLike[str]) -> list[Damage]:
    """Make what is damaged count as not done, so that the next run does it again, and only that.

    Args:
        out: the folder of the job.

    Returns:
        What was damaged.

    Raises:
        StoreError: the list of items is damaged, which cannot be done again: the job has to be started anew.
    """
    layout = Layout(out)
    layout.check_writable()
    found = verify(out)
    shards = [damage.shard for damage in found if damage.shard is not None]
    files = [damage.file for damage in found if damage.file is not None]
    if shards or files:
        # Judged once more right before: a run may have done the shard again since, and its new receipt stays.
        job = read_job(layout)
        drop_receipts(layout, [])  # the manifest goes in any case
        for shard in shards:
            if _check_shard(layout, job, shard, deep=True) is not None:
                drop_receipts(layout, [shard])
    if layout.fields.name in files:
        _rewrite_fields(layout)
    if layout.items.name in files:
        reason = next(damage.reason for damage in found if damage.file == layout.items.name)
        raise StoreError(f"{reason}; the list of items cannot be repaired, start the job in another folder")
    return found


def _check_items(layout: Layout, job: dict[str, Any], deep: bool) -> Iterator[Damage]:
    try:
        items = Items.open(layout)
    except StoreError as error:
        yield Damage(None, str(error), layout.items.name)
        return
    frozen = job["items"]
    if (len(items), items.sha256) != (frozen["count"], frozen["sha256"]):
        yield Damage(None, f"{layout.items}: expected the items that job.json tells of, got others", layout.items.name)
    elif deep and items.digest() != items.sha256:
        yield Damage(None, f"{layout.items}: expected sha256 {items.sha256}, got another", layout.items.name)


def _check_fields(layout: Layout) -> Iterator[Damage]:
    try:
        read_fields(layout)
    except StoreError as error:
        yield Damage(None, str(error), layout.fields.name)


def _check_manifest(layout: Layout, job: dict[str, Any]) -> Iterator[Damage]:
    try:
        manifest = read_manifest(layout, job)
        if manifest is not None:
            for shard in range(len(manifest)):
                if manifest.receipt(shard) != read_receipt(layout, shard):
                    raise StoreError(f"{layout.manifest}: expected the receipt of shard {shard}, got another")
    except StoreError as error:
        yield Damage(None, str(error), layout.manifest.name)


def _check_shard(layout: Layout, job: dict[str, Any], shard: int, deep: bool) -> str | None:
    """Return what is wrong with a shard, or None."""
    try:
        receipt = read_receipt(layout, shard)
        if receipt is not None:
            _check_receipt(layout, job, receipt)
            statuses = open_shard(layout, receipt).statuses
            if Counter(Status(code).label for code in statuses.tolist()) != Counter(receipt.statuses):
                return f"{layout.data / receipt.file}: expected the statuses of its receipt, got others"
            if deep:
                with layout.folder(layout.data.name) as data:
                    if digest_of(data, receipt) != receipt.sha256:
                        return f"{layout.data / receipt.file}: expected sha256 {receipt.sha256}, got another"
    except StoreError as error:
        return str(error)
    return None


def _check_receipt(layout: Layout, job: dict[str, Any], receipt: Receipt) -> None:
    size, count = job["spec"]["shard_size"], job["items"]["count"]
    start = receipt.shard * size
    if receipt.shard >= shard_count(job) or (receipt.start, receipt.stop) != (start, min(start + size, count)):
        raise StoreError(
            f"{layout.commits}: expected shards of {size} of {count} items, "
            f"shard {receipt.shard} has items {receipt.start} to {receipt.stop - 1}"
        )
    try:
        agreed = read_fields(layout)
    except StoreError:  # reported by itself; the receipts are what fields.json is made from again
        return
    if receipt.fields.items() - (agreed or {}).items():
        raise StoreError(f"{layout.commits}: expected the fields of fields.json, shard {receipt.shard} has others")


def _rewrite_fields(layout: Layout) -> None:
    """Write ``fields.json`` again, from the shards that have an item with results."""
    with layout.folder() as root:
        root.remove(layout.fields.name)
        root.sync()
    for shard in sorted(committed(layout)):
        receipt = read_receipt(layout, shard)
        if receipt is not None and receipt.statuses.get(Status.OK.label):
            agree_on_fields(layout, receipt.fields)
            return
