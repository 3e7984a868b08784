"""Which items of a job a gallery shows. A list of numbers can be longer than any page, or than memory."""

from __future__ import annotations

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument

__all__ = ["MOST", "chosen_items", "rest_note"]

MOST = 1_000_000
"""Items in a gallery: the page holds their numbers in the memory of the browser."""


def chosen_items(count: int, first: int, limit: int | None) -> range:
    """Choose consecutive items.

    Args:
        count: items in the job.
        first: index of the first one that is shown.
        limit: how many, at most; None for all that follow, which have to be few enough.

    Returns:
        Their indices.

    Raises:
        InputError: a number is out of range, or there are too many items to show them all.
    """
    check_integer("first", first, 0, max(count - 1, 0))
    if limit is not None:
        return range(first, min(first + check_integer("limit", limit, 1, MOST), count))
    if count - first > MOST:
        expected = f"a number up to {MOST:,} (--limit), from the item `first` (--first) on, of {count:,} items"
        raise bad_argument("limit", expected, "None")
    return range(first, count)


def rest_note(shown: range, count: int) -> str:
    """Say which items these are, where they are not all.

    Args:
        shown: indices of the items.
        count: items in the job.

    Returns:
        A sentence, or "".
    """
    if len(shown) == count:
        return ""
    if shown.start == 0:
        return f"These are the first {len(shown):,} of {count:,} items."
    return f"These are {len(shown):,} of {count:,} items, from item {shown.start:,} on."
