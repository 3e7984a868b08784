"""Doing the failed items of a finished shard again, and keeping the good ones.

The receipt of the shard is moved to its journal, in one step: the shard counts as not done from then on, and whoever
takes it finds there what is good already. A crash on the way costs nothing; where the old data are damaged, the whole
shard is done again.
"""

from __future__ import annotations

from xai_fast.errors import StoreError
from xai_fast.jobs.store import Layout, Receipt, Rows, Status, read_earlier, read_rows, receipts, withdraw

__all__ = ["earlier_rows", "forget_earlier", "keep_good", "withdraw_failed", "withdrawn"]


def withdraw_failed(layout: Layout) -> list[int]:
    """Make the shards that have failed items count as not done.

    Args:
        layout: of the store.

    Returns:
        Their numbers.

    Raises:
        StoreError: the store cannot be read or written.
    """
    shards = [one.shard for one in receipts(layout) if one.statuses.get(Status.OK.label, 0) < one.rows]
    for shard in shards:
        withdraw(layout, shard)
    return shards


def earlier_rows(layout: Layout, receipt: Receipt) -> Rows | None:
    """Read what was good before the shard was withdrawn.

    Args:
        layout: of the store.
        receipt: that was withdrawn.

    Returns:
        The results, or None where they are damaged.
    """
    try:
        return read_rows(layout, receipt)
    except StoreError:  # damaged or gone: everything is done again, and nothing is lost but time
        return None


def keep_good(earlier: Rows, rows: Rows, shard: range, span: range) -> list[int]:
    """Take over the good results of some items.

    Args:
        earlier: of the whole shard.
        rows: of the span; the good ones are put in.
        shard: indices of the shard's items.
        span: indices of these items.

    Returns:
        The indices of the others.
    """
    missing = []
    for index in span:
        row = index - shard.start
        if int(earlier.statuses[row]) != Status.OK:
            missing.append(index)
            continue
        fields = {name: values[row : row + 1] for name, values in earlier.fields.items()}
        rows.put(index - span.start, fields, [Status.OK], [None])
    return missing


def forget_earlier(layout: Layout, shard: int) -> None:
    """Remove the data of the receipt that was withdrawn, now that there is a new one.

    Args:
        layout: of the store.
        shard: its number.
    """
    receipt = withdrawn(layout, shard)
    if receipt is not None:
        with layout.folder(layout.data.name) as data:
            data.remove(receipt.file)


def withdrawn(layout: Layout, shard: int) -> Receipt | None:
    """Read the receipt that a retry has withdrawn.

    Args:
        layout: of the store.
        shard: its number.

    Returns:
        The receipt, or None where this is no retry, or it cannot be read.
    """
    try:
        return read_earlier(layout, shard)
    except StoreError:  # removed meanwhile by whoever finished the shard, or not what it should be
        return None
