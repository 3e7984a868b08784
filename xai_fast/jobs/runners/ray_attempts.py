"""Which deaths count on Ray: those that somebody saw, and those that nobody saw too often.

Ray ends processes for reasons of its own: a node is removed or pre-empted, memory is freed, the driver is gone. None of
that says anything of the items that were being worked on. So an actor does not compute: it feeds a child, and where
the child dies it signs for that in the journal. An attempt that is dead and not signed for went down together with its
actor, which is Ray's doing, or the machine's; it is taken back.

But an item may take its actor along: it fills the memory and the system ends the whole container, or the machine stops.
Ray begins the actor again for ever, so each attempt that is taken back leaves a file in the journal,
``0-1024.<worker>.taken``, and after `FORGIVEN` of them a range has them counted, too. Its halves are forgiven no more,
else each would need as many again; a single item is, because it would be given up for what was not its fault.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xai_fast.errors import StoreError
from xai_fast.jobs.journal import Attempt, Journal
from xai_fast.jobs.store.folders import Folder, dump_json, load_json
from xai_fast.jobs.store.layout import Layout

__all__ = ["FORGIVEN", "new_name", "sign_deaths", "take_back", "take_back_all"]

FORGIVEN = 10
"""Attempts at a range that are taken back before the next ones count: more than Ray or a scheduler ends in a row."""
_NAME = re.compile(r"ray-[0-9a-f]{1,64}-[0-9a-f]{16}")
_TAKEN = re.compile(r"(\d{1,15})-(\d{1,15})\.ray-[0-9a-f]{1,64}-[0-9a-f]{16}\.taken")
_SIGNED = "-died"
_SHARD = re.compile(r"shard-(\d{6,15})")
_LIMIT = 1 << 14


def new_name(node: str) -> str:
    """Name a child whose death is to be signed for.

    Args:
        node: Ray's id of its node.

    Returns:
        The name, which no other one has.
    """
    return f"ray-{node[:16]}-{secrets.token_hex(8)}"


def sign_deaths(layout: Layout, shard: int, worker: str) -> int:
    """Say that a child died over its attempts at a shard, so that they count.

    Args:
        layout: of the store.
        shard: its number.
        worker: name of the child, whose process is gone.

    Returns:
        How many attempts that were: none where it had released them.

    Raises:
        StoreError: the journal cannot be written.
    """
    ours = [attempt for attempt in Journal(layout, shard).attempts() if attempt.worker == worker]
    with _unless_gone():
        for attempt in ours:
            with layout.folder(layout.journal.name, layout.journal_of(shard).name) as folder:
                _sign(folder, attempt)
    return len(ours)


def take_back(layout: Layout, shard: int) -> int:
    """Remove the attempts at a shard that are dead and that nobody has signed for; after `FORGIVEN`, sign for them.

    Args:
        layout: of the store.
        shard: its number.

    Returns:
        How many were removed.

    Raises:
        StoreError: the journal cannot be read or written.
    """
    unseen = [
        attempt
        for attempt in Journal(layout, shard).attempts()
        if not attempt.alive and _NAME.fullmatch(attempt.worker)
    ]
    removed = 0
    with _unless_gone():
        for attempt in unseen:
            with layout.folder(layout.journal.name, layout.journal_of(shard).name) as folder:
                if _content(folder, attempt) is None:
                    continue
                # Named after the attempt's worker, so that several actors that see the same one count it once.
                noted = f"{attempt.start}-{attempt.stop}.{attempt.worker}.taken"
                if not folder.exists(noted):
                    if _taken(folder, attempt) >= FORGIVEN:
                        _sign(folder, attempt)
                        continue
                    folder.write_first(noted, b"")
                removed += folder.remove(_file(attempt))
    return removed


def _taken(folder: Folder, attempt: Attempt) -> int:
    """Count what was taken back of a range and of those that it is a part of; of a single item, only its own."""
    ranges = [(int(match[1]), int(match[2])) for name in folder.names() if (match := _TAKEN.fullmatch(name))]
    alone = attempt.stop - attempt.start == 1
    return sum(
        (low, high) == (attempt.start, attempt.stop) or (not alone and low <= attempt.start and attempt.stop <= high)
        for low, high in ranges
    )


def _sign(folder: Folder, attempt: Attempt) -> None:
    content = _content(folder, attempt)
    if content is not None:
        folder.replace(_file(attempt), dump_json({**content, "worker": attempt.worker + _SIGNED}))


def _content(folder: Folder, attempt: Attempt) -> dict[str, Any] | None:
    """Read the file of an attempt; None where another actor took that back, and the number is a new attempt's now."""
    name = _file(attempt)
    if not folder.exists(name):
        return None
    content = load_json(folder.read(name, _LIMIT), name, lambda entry: isinstance(entry, dict))
    return dict(content) if content.get("worker") == attempt.worker else None


def take_back_all(layout: Layout) -> int:
    """Do `take_back` for all shards that have a journal.

    Args:
        layout: of the store.

    Returns:
        How many attempts were removed.
    """
    if not layout.journal.is_dir():
        return 0
    with layout.folder(layout.journal.name) as folder:
        shards = [int(match[1]) for name in folder.names() if (match := _SHARD.fullmatch(name))]
    return sum(take_back(layout, shard) for shard in shards)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Pass over a journal that whoever finished the shard has removed meanwhile."""
    try:
        yield
    except StoreError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise


def _file(attempt: Attempt) -> str:
    return f"{attempt.start}-{attempt.stop}.{attempt.number}.json"
