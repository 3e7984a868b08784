"""Items are read and decoded in threads, while the model works on those before."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from torch import Tensor

from xai_fast.jobs.sources.base import ItemError
from xai_fast.jobs.store.layout import Status

__all__ = ["Decoded", "decoded_ahead"]

_LARGEST_PIECE = 16
"""Items a task: handing over a task costs some 50 microseconds, as much as reading a small item."""


@dataclass(frozen=True)
class Decoded:
    """An item that was read, or why it could not be.

    Attributes:
        index: which.
        value: what the model takes, or None.
        status: a value of `Status`.
        reason: why there is no value.
        seconds: that it took, in its thread.
    """

    index: int
    value: Tensor | None
    status: int
    reason: str | None
    seconds: float


def decoded_ahead(
    load: Callable[[int], Tensor], indices: Sequence[int], *, threads: int, ahead: int
) -> Iterator[Decoded]:
    """Read items in their order, in threads that are ahead of whoever iterates.

    The threads have ended when the iterator is exhausted or closed.

    Args:
        load: reads an item; raises `ItemError` for one that cannot be read.
        indices: which items.
        threads: at once, at least 1.
        ahead: items that may be ready or in work beyond the current one.

    Yields:
        The items.
    """
    piece = max(1, min(_LARGEST_PIECE, ahead // (2 * threads)))
    pieces = iter([indices[first : first + piece] for first in range(0, len(indices), piece)])
    waiting: deque[Future[list[Decoded]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="xai_fast decoding")
    try:
        for some in pieces:
            waiting.append(pool.submit(_read, load, some))
            if len(waiting) * piece > ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(load: Callable[[int], Tensor], indices: Sequence[int]) -> list[Decoded]:
    found = []
    for index in indices:
        started = time.perf_counter()
        try:
            value, status, reason = load(index), int(Status.OK), None
        except ItemError as error:
            value, status, reason = None, int(error.status), error.reason
        found.append(Decoded(index, value, status, reason, time.perf_counter() - started))
    return found
