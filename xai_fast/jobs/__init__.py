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
    from xai_fast.jobs.store.reader import Store as open
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
    "jobs.job_status": ("JobStatus", "status"),
    "jobs.pages": ("View", "report"),
    "jobs.running": ("retry_failed", "run"),
    "jobs.spec": ("JobSpec",),
    "jobs.store.check": ("clean", "repair", "verify"),
    "jobs.store.export": ("export",),
    "jobs.store.reader": ("Store", "open"),
    "references": ("ModelRef",),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that reading a store does not load what runs one."""
    import importlib

    module = next((module for module, names in _PLACES.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"xai_fast.{module}"), "Store" if name == "open" else name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
