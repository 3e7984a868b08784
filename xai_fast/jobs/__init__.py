"""Long jobs: millions of explanations into a store that survives crashes, on one machine or on a cluster.

>>> from xai_fast import jobs
>>> spec = jobs.JobSpec(source="photos", model=jobs.ModelRef("package.module:factory"))  # doctest: +SKIP
>>> jobs.run(spec, "out")  # doctest: +SKIP

`run` brings a job to its end and may be called again after whatever ended it; `open` reads the store like an array.
A shard's file is its receipt, and the first writer wins; who computes is a runner's business.
"""

from __future__ import annotations

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
