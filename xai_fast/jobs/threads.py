"""How many threads a worker's operations have: agreed once for a job, because sums are cut by threads.

A sum of many numbers that is cut in two is rounded in another way than one that is cut in eight. So the number that the
first run takes is kept in the store, and later runs take it over, however many workers they have.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from xai_fast.jobs.store.folders import dump_json, load_json
from xai_fast.jobs.store.layout import Layout, is_whole

__all__ = ["agree_on_threads", "torch_threads"]

_NAME = "threads.json"
_LIMIT = 4096
_MOST = 1 << 16
_LOG = logging.getLogger(__name__)


def agree_on_threads(layout: Layout, wanted: int) -> int:
    """Take over the number of threads of the first run, or let later ones take over this.

    Args:
        layout: of the store.
        wanted: threads of a worker's operations that would suit this run.

    Returns:
        Those that it shall have, for equal bits. Where that is another number, it is logged as a warning.

    Raises:
        StoreError: the store cannot be read or written.
    """
    with layout.folder() as root:
        if not root.exists(_NAME) and root.write_first(_NAME, dump_json({"threads": wanted})):
            return wanted
        agreed = int(load_json(root.read(_NAME, _LIMIT), _NAME, _is_known)["threads"])
    if agreed != wanted:
        _LOG.warning(
            "%s: a worker gets %d threads as when the job began, not %d: so the results are equal bit for bit",
            layout.root / _NAME,
            agreed,
            wanted,
        )
    return agreed


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let operations of torch use so many threads.

    Args:
        threads: at once.

    Yields:
        Nothing.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_known(content: Any) -> bool:
    return isinstance(content, dict) and is_whole(content.get("threads"), 1, _MOST)
