"""How many items are explained at once: as many as fit, found by trying, halved where they do not, and remembered.

All workers of a job use the same number, as long as it fits, because equal chunks give equal bits. So what the first
worker finds is kept in the store, one file a kind of device.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import torch

from xai_fast.engine.memory import (
    available_bytes,
    is_out_of_memory,
    peak_memory,
    reset_peak_memory,
    usable_bytes,
)
from xai_fast.errors import ModelError, StoreError
from xai_fast.jobs.store.folders import dump_json, load_json
from xai_fast.jobs.store.layout import Layout, is_whole

__all__ = ["ChunkSize", "OutOfMemory", "lacks_memory", "peak_memory", "reset_peak_memory"]

_MOST_ON_CPU = 32
"""A CPU gains nothing from more: what falls out of its caches costs more than it saves in calls."""
_MOST_ON_GPU = 256
_LARGEST = 1 << 20
_LIMIT = 4096


class OutOfMemory(ModelError):
    """One item at a time is too much; the message names every knob and its value."""


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice.

    Args:
        error: that was raised.

    Returns:
        Whether fewer items at once may help.
    """
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error))


class ChunkSize:
    """Items at once on one kind of device.

    Args:
        layout: of the store.
        device: that the items are explained on.
        asked: the number that the user asked for, or None for what fits.
    """

    def __init__(self, layout: Layout, device: torch.device, asked: int | None = None) -> None:
        self._layout = layout
        self._device = device
        self._asked = asked
        self._name = f"memory-{_kind(device)}.json"
        known = self._read()
        self.items: int | None = asked if known is None else known
        """Items at once, or None where that has not been tried."""

    def probe(self, explain: Callable[[int], object], items: int) -> int:
        """Find how many items fit: the memory that two take beyond one says what each further one takes.

        On a CPU, where few items at once are enough, the first one says mostly that so many fit.

        Args:
            explain: explains so many items.
            items: there are to explain with at most.

        Returns:
            Items at once, which the other workers take over.
        """
        most = _MOST_ON_GPU if self._device.type == "cuda" else _MOST_ON_CPU
        fits = 1
        try:
            # The first loads kernels and workspaces, which are there once: it takes more than another one.
            first = self._measured(explain, 1)
            if self._device.type == "cpu" and most * first <= usable_bytes(available_bytes(self._device)):
                return self._agree(most)
            one = self._measured(explain, 1)
            two = self._measured(explain, 2) if items > 1 else one
            each = max(two - one, 1)
            free = usable_bytes(available_bytes(self._device))
            fits = max(1, min(most, (free - one) // each + 1))
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            self._give_back()
        return self._agree(1 << (fits.bit_length() - 1))

    def halve(self, tried: int, error: BaseException) -> int:
        """Go on with fewer items after an error of memory, for good.

        Args:
            tried: items at once that did not fit.
            error: what was raised.

        Returns:
            Items at once from now on.

        Raises:
            OutOfMemory: it was one item.
        """
        self._give_back()
        if tried <= 1:
            raise OutOfMemory(self._last_resort(error)) from error
        fewer = tried // 2
        known = self._read()
        self.items = fewer if known is None else min(known, fewer)
        with self._layout.folder(self._layout.journal.name, create=True) as folder:
            folder.replace(self._name, self._content(self.items))
        return self.items

    def _measured(self, explain: Callable[[int], object], items: int) -> int:
        before = reset_peak_memory(self._device)
        explain(items)
        return max(0, peak_memory(self._device) - before)

    def _agree(self, items: int) -> int:
        """Take over what another worker has found meanwhile, or let the others take over this."""
        with self._layout.folder(self._layout.journal.name, create=True) as folder:
            won = folder.write_first(self._name, self._content(items))
            known = None if won else self._read()
            if not won and known is None:  # what is there was for another batch_size
                folder.replace(self._name, self._content(items))
        self.items = items if known is None else known
        return self.items

    def _content(self, items: int) -> bytes:
        return dump_json({"asked": self._asked, "items": items})

    def _read(self) -> int | None:
        """Read what is remembered, if it was for what the user asks for now."""
        if not (self._layout.journal / self._name).exists():
            return None
        try:
            with self._layout.folder(self._layout.journal.name) as folder:
                content = load_json(folder.read(self._name, _LIMIT), self._name, _is_known)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return int(content["items"]) if content.get("asked") == self._asked else None

    def _give_back(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _last_resort(self, error: BaseException) -> str:
        asked = "None, as many as fit" if self._asked is None else str(self._asked)
        return (
            f"one item at a time does not fit into the memory of {self._device}: {error}. What there is to turn: "
            f"batch_size (now {asked}; 1 was tried), workers (fewer leave more to each; {_free(self._device)} are "
            "free), the explainer's own internal_batch_size, memory_limit, points or top_k, a smaller input, or "
            f"another device (now {self._device})"
        )


def _is_known(content: Any) -> bool:
    return isinstance(content, dict) and is_whole(content.get("items"), 1, _LARGEST)


def _kind(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    properties = torch.cuda.get_device_properties(device)
    name = re.sub(r"[^A-Za-z0-9]+", "_", properties.name).strip("_")
    return f"cuda-{name}-{properties.total_memory >> 30}GiB"


def _free(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.mem_get_info(device)[0] >> 20} MiB"
    try:
        return f"{os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20} MiB"
    except (ValueError, OSError):
        return "unknown amounts"
