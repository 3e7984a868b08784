"""Seeing how a long job goes: its status from the receipts, a progress bar, structured logs.

All of it reads what the store holds, and nothing that lives in the memory of a runner: it is right after a restart,
on every runner, and from another shell or machine.
"""

from __future__ import annotations

from xai_fast.jobs.observe.log import Log
from xai_fast.jobs.observe.progress import JobProgress
from xai_fast.jobs.observe.status import FailedItem, JobStatus, status
from xai_fast.jobs.observe.summary import summary

__all__ = ["FailedItem", "JobProgress", "JobStatus", "Log", "status", "summary"]
