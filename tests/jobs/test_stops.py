"""A worker that is stopped at any call of the system, also during a retry: the next one comes to the same end."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

import pytest
from batch_faults import check_clean, check_undisturbed, make_spec, results
from batch_stores import Crashed, FragileOS

from xai_fast.jobs import journal, retry, worker
from xai_fast.jobs.computation import Computation
from xai_fast.jobs.job import Job, prepare_job
from xai_fast.jobs.store import Layout, cleaning, folders, withdrawal, write_manifest

pytest.importorskip("safetensors")
_UNREADABLE = 3


def _work(job: Job, computation: Computation, mark: Path) -> None:
    """All shards, one of them with an item that fails; then, that being repaired, a retry."""
    for shard in range(job.shards):
        worker.run_shard(job, computation, shard)
    mark.touch()
    _retry(job, computation)


def _retry(job: Job, computation: Computation) -> None:
    retry.withdraw_failed(job.layout)
    for shard in job.pending():
        worker.run_shard(job, computation, shard)
    write_manifest(job.layout)


def _forget_claims(layout: Layout) -> None:
    """The process that crashed is this one, which lives: its claims are made those of a dead one."""
    for path in layout.journal.glob("shard-*/*-*.json"):
        os.utime(path, (0, 0))
    with suppress(Crashed):
        journal.release_all()


@pytest.mark.slow
def test_worker_stops_at_any_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    undisturbed = prepare_job(make_spec(shard_size=20), tmp_path / "right")
    _retry(undisturbed, undisturbed.compute_on("cpu"))
    expected = results(tmp_path / "right")
    for stop_at in itertools.count(0, 7):
        folder = tmp_path / f"folder{stop_at}"
        folder.mkdir()
        spec = make_spec({"unreadable": [_UNREADABLE], "folder": str(folder)}, shard_size=20)
        job = prepare_job(spec, tmp_path / str(stop_at))
        computation = job.compute_on("cpu")
        fragile = FragileOS(tmp_path / f"stash{stop_at}", stop_at)
        ended = False
        with monkeypatch.context() as patch, suppress(Crashed):
            for module in (folders, withdrawal, cleaning, journal):
                patch.setattr(module, "os", fragile)
            _work(job, computation, folder / "repaired")
            ended = True
        _forget_claims(job.layout)
        (folder / "repaired").touch()
        for shard in job.pending():
            worker.run_shard(job, computation, shard)
        _retry(job, computation)
        # A retry explains the item in another chunk than the others, which changes the last bit.
        check_undisturbed(job.layout.root, expected, {}, exact=False)
        check_clean(job.layout.root)
        if ended:
            assert stop_at > 100
            return
