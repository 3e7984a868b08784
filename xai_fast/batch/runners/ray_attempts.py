"""Which deaths of Ray's workers were nobody's fault, and are taken back from the journal.

Ray ends workers for reasons of its own: their node is removed or pre-empted, its memory monitor frees memory, the
driver is gone. None of that says anything of the items that they were at. So an attempt on Ray is signed with run, node
and worker, and whoever takes up the shard next asks the cluster how that one ended.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from xai_fast.batch.journal import Attempt, Journal
from xai_fast.batch.store.layout import Layout
from xai_fast.errors import StoreError

__all__ = ["Marks", "Pardon", "attempts_of_ray", "remove_attempt", "run_of", "sign"]

_SIGNATURE = re.compile(r"ray-([0-9a-f]{8})-([0-9a-f]{1,64})-([0-9a-f]{1,64})")
_SHARD = re.compile(r"shard-(\d{6,15})")
_MARKS = re.compile(r"ray-[0-9a-f]{8}")
_MEMORY_KILLS = 10


def sign(run: str, node: str, worker: str) -> str:
    """Name a worker of Ray so that `Pardon` can ask for it.

    Args:
        run: 8 hexadecimal digits, one run of the runner.
        node: Ray's id of the node.
        worker: Ray's id of the worker process.

    Returns:
        The name.
    """
    return f"ray-{run}-{node}-{worker}"


def run_of(attempt: Attempt) -> str | None:
    """Tell the run of an attempt.

    Args:
        attempt: of any runner.

    Returns:
        Its 8 digits; None for another runner's attempt.
    """
    match = _SIGNATURE.fullmatch(attempt.worker)
    return match[1] if match else None


def attempts_of_ray(layout: Layout) -> Iterator[Attempt]:
    """List the attempts that workers of Ray made, of whichever run.

    Args:
        layout: of the store.

    Yields:
        The attempts, alive or dead.
    """
    if not layout.journal.is_dir():
        return
    with layout.folder(layout.journal.name) as folder:
        shards = sorted(int(match[1]) for name in folder.names() if (match := _SHARD.fullmatch(name)))
    for shard in shards:
        yield from (attempt for attempt in Journal(layout, shard).attempts(exact=False) if run_of(attempt))


def remove_attempt(layout: Layout, attempt: Attempt) -> None:
    """Take an attempt back, so that it does not count.

    Args:
        layout: of the store.
        attempt: which.

    Raises:
        StoreError: its file cannot be removed.
    """
    try:
        with layout.folder(layout.journal.name, layout.journal_of(attempt.shard).name) as folder:
            folder.remove(f"{attempt.start}-{attempt.stop}.{attempt.number}.json")
    except StoreError as error:
        if not isinstance(error.__cause__, FileNotFoundError):  # the shard was finished meanwhile
            raise


class Marks:
    """Small counters of one run in the journal, which outlive the workers that count.

    Args:
        layout: of the store.
        run: which run.
    """

    def __init__(self, layout: Layout, run: str) -> None:
        self._layout = layout
        self._names = (layout.journal.name, f"ray-{run}")

    def count(self, name: str) -> int:
        """Add one.

        Args:
            name: of the counter.

        Returns:
            What it was before.
        """
        with self._layout.folder(*self._names, create=True) as folder:
            before = int(folder.read(name, 20)) if folder.exists(name) else 0
            folder.replace(name, str(before + 1).encode())
        return before

    def clear(self, name: str) -> None:
        """Set a counter back to zero.

        Args:
            name: of the counter.
        """
        with self._layout.folder(*self._names, create=True) as folder:
            folder.remove(name)

    def remove(self) -> None:
        """Remove all counters of the run."""
        if not self._layout.root.joinpath(*self._names).is_dir():
            return
        with self._layout.folder(*self._names) as folder:
            for name in folder.names():
                folder.remove(name)
        with self._layout.folder(self._names[0]) as above:
            os.rmdir(self._names[1], dir_fd=above.fd)

    @staticmethod
    def runs(layout: Layout) -> list[str]:
        """List the runs that left counters.

        Args:
            layout: of the store.

        Returns:
            Their digits.
        """
        if not layout.journal.is_dir():
            return []
        with layout.folder(layout.journal.name) as folder:
            return [name[len("ray-") :] for name in folder.names() if _MARKS.fullmatch(name)]


@dataclass(frozen=True)
class Pardon:
    """Takes back the attempts that died of Ray's own doing.

    Attributes:
        layout: of the store.
        run: the present run.
        earlier: runs whose drivers were there before this one. Their workers went with them; what is dead of these does
            not count. (A run that goes on beside this one counts its own deaths, since it does not know of ours as
            earlier: so deaths are never taken back in turns.)
        nodes: gives the ids of the nodes that are alive.
        ended_by_ray: tells of a worker's id whether Ray has ended it on purpose.
    """

    layout: Layout
    run: str
    earlier: frozenset[str]
    nodes: Callable[[], Collection[str]]
    ended_by_ray: Callable[[str], bool]

    def take_back(self, shard: int) -> list[str]:
        """Take back the innocent deaths over a shard.

        Args:
            shard: its number.

        Returns:
            The reason of each that was taken back.

        Raises:
            StoreError: the journal cannot be read or written.
        """
        reasons = []
        for attempt in Journal(self.layout, shard).attempts():
            reason = self._innocent(attempt)
            if reason is not None:
                remove_attempt(self.layout, attempt)
                reasons.append(reason)
        return reasons

    def _innocent(self, attempt: Attempt) -> str | None:
        match = _SIGNATURE.fullmatch(attempt.worker)
        if match is None:
            return None
        run, node, worker = match.groups()
        if run != self.run:
            return "its driver ended" if run in self.earlier and not attempt.alive else None
        if node not in self.nodes():
            # Alive may be what is left of a heartbeat, or a process that has not noticed yet: two workers at one shard
            # are no harm, and nobody has to wait for the lease to end.
            return "its node was removed"
        if attempt.alive or not self.ended_by_ray(worker):
            return None
        # One item may be what fills the memory each time: after so many kills they count.
        if Marks(self.layout, self.run).count(f"memory-{attempt.shard}") >= _MEMORY_KILLS:
            return None
        return "Ray ended its worker"
