"""Long jobs: millions of explanations into a store that survives crashes, on one machine or on a cluster.

>>> from xai_fast import jobs
>>> spec = jobs.JobSpec(source="photos", model=jobs.ModelRef("package.module:factory"))  # doctest: +SKIP
>>> jobs.run(spec, "out")  # doctest: +SKIP

`run` brings a job to its end and may be called again after whatever ended it; `open` reads the store like an array.
A shard's file is its receipt, and the first writer wins; who computes is a runner's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_fast.jobs.job_status import JobStatus, status
    from xai_fast.jobs.pages import View, report
    from xai_fast.jobs.running import retry_failed, run
    from xai_fast.jobs.spec import JobSpec
    from xai_fast.jobs.store.check import clean, repair, verify
    from xai_fast.jobs.store.export import export
    from xai_fast.jobs.store.reader import Store
    from xai_fast.jobs.store.reader import open_store as open
    from xai_fast.references import ModelRef

__all__ = [
    "JobSpec",
    "JobStatus",
    "ModelRef",
    "Store",
    "View",
    "clean",
    "export",
    "open",
    "repair",
    "report",
    "retry_failed",
    "run",
    "status",
    "verify",
]

_PLACES = {
    "JobSpec": ("spec", "JobSpec"),
    "JobStatus": ("job_status", "JobStatus"),
    "ModelRef": ("references", "ModelRef"),
    "Store": ("store.reader", "Store"),
    "View": ("pages", "View"),
    "clean": ("store.check", "clean"),
    "export": ("store.export", "export"),
    "open": ("store.reader", "open_store"),
    "repair": ("store.check", "repair"),
    "report": ("pages", "report"),
    "retry_failed": ("running", "retry_failed"),
    "run": ("running", "run"),
    "status": ("job_status", "status"),
    "verify": ("store.check", "verify"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that reading a store does not load what runs one."""
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
