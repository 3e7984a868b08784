"""Which deaths count on Ray: those that somebody saw.

Ray ends processes for reasons of its own: a node is removed or pre-empted, memory is freed, the driver is gone. None of
that says anything of the items that were being worked on. So an actor does not compute: it feeds a child, and where
the child dies it signs for that in the journal. An attempt that is dead and not signed for went down together with its
actor, which is Ray's doing, or the machine's; it is taken back.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from xai_fast.batch.journal import Attempt, Journal
from xai_fast.batch.store.folders import dump_json, load_json
from xai_fast.batch.store.layout import Layout
from xai_fast.errors import StoreError

__all__ = ["new_name", "sign_deaths", "take_back", "take_back_all"]

_NAME = re.compile(r"ray-[0-9a-f]{1,64}-[0-9a-f]{16}")
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
                name = _file(attempt)
                content = load_json(folder.read(name, _LIMIT), name)
                folder.replace(name, dump_json({**content, "worker": worker + _SIGNED}))
    return len(ours)


def take_back(layout: Layout, shard: int) -> int:
    """Remove the attempts at a shard that are dead and that nobody has signed for.

    Args:
        layout: of the store.
        shard: its number.

    Returns:
        How many.

    Raises:
        StoreError: the journal cannot be read or written.
    """
    innocent = [
        attempt
        for attempt in Journal(layout, shard).attempts()
        if not attempt.alive and _NAME.fullmatch(attempt.worker)
    ]
    with _unless_gone():
        for attempt in innocent:
            with layout.folder(layout.journal.name, layout.journal_of(shard).name) as folder:
                folder.remove(_file(attempt))
    return len(innocent)


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
