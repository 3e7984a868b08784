"""What a source raises for an item."""

from __future__ import annotations

from xai_fast.errors import XaiFastError
from xai_fast.jobs.store.job_file import Status

__all__ = ["ItemError"]


class ItemError(XaiFastError, RuntimeError):
    """One item cannot be explained; the status says which kind of failure it is."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
