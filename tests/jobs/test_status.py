"""How a job stands: from any shell, in numbers and in words."""

from __future__ import annotations

import json
from pathlib import Path

import batch_models
import numpy as np
import pytest
from batch_faults import make_spec

from xai_fast.errors import StoreError
from xai_fast.jobs import JobSpec, JobStatus, ModelRef, retry_failed, run, status
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.job_file import create_job
from xai_fast.jobs.store.shards import Header, Shards

pytestmark = pytest.mark.usefixtures("quick_disk")


def begin(root: Path, count: int, size: int = 4) -> Shards:
    folder = Folder(root, create=True)
    items = {"count": count, "folder": None}
    create_job(folder, {"spec": {"shard_size": size, "dtype": "float32"}, "fingerprint": "0", "items": items})
    return Shards(folder, "0", count, size)


def write(shards: Shards, shard: int, finished: float, seconds: float = 10.0, failed: dict | None = None) -> None:
    span = shards.span(shard)
    parts = {"decode": seconds / 5, "explain": seconds / 2, "total": seconds}
    header = Header("0", span.start, span.stop, failed or {}, parts, 7, 1 << 30, finished=finished)
    shards.write(shard, header, {})


def test_a_job_that_has_not_begun(tmp_path: Path) -> None:
    begin(tmp_path, 10)
    found = status(tmp_path)
    assert (found.items, found.done, found.shards, found.shards_done, found.complete) == (10, 0, 3, 0, False)
    assert found.rate is found.seconds_left is found.throughput is found.started is None
    assert "not complete, no shard is done yet" in str(found)
    assert JobStatus(**json.loads(found.to_json())).items == 10


def test_a_run_that_has_described_nothing_yet_is_starting(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((5, 2), np.float32))
    model = ModelRef("batch_models:looking", {"out": str(tmp_path / "out")})
    batch_models.LOOKS.clear()
    done = run(JobSpec(tmp_path / "x.npy", "batch_models:Sums", model=model), tmp_path / "out", workers=0)
    found = batch_models.LOOKS[0]
    assert (found.starting, found.complete, found.items, found.shards, found.rate) == (True, False, 0, 0, None)
    assert "state     starting: the items are not listed yet" in str(found)
    assert JobStatus(**json.loads(found.to_json())).starting
    assert (done.starting, done.complete) == (False, True)
    assert not list((tmp_path / "out").glob(".tmp-*"))
    (tmp_path / "killed").mkdir()
    with pytest.raises(StoreError, match=r"got one without job\.json"):
        status(tmp_path / "killed")
    (tmp_path / "killed" / ".tmp-0").touch()
    assert status(tmp_path / "killed").starting
    with pytest.raises(StoreError, match=r"got one without job\.json"):
        retry_failed(tmp_path / "killed")


def test_a_job_on_its_way(tmp_path: Path) -> None:
    shards = begin(tmp_path, 10)
    write(shards, 0, 1010.0)
    write(shards, 1, 1020.0, failed={1: ("unreadable", "no picture"), 3: ("failed", "\x1b[2J" + "x" * 1000)})
    found = status(tmp_path)
    assert (found.done, found.failed, found.complete, found.exact) == (8, 2, False, True)
    assert found.statuses == {"ok": 6, "unreadable": 1, "failed": 1}
    assert (found.rate, found.seconds_left, found.throughput) == (0.4, 5.0, 0.4)
    assert (found.started, found.finished, found.evaluations, found.peak_memory) == (1000.0, 1020.0, 14, 1 << 30)
    assert found.shares == {"decode": 0.2, "explain": 0.5, "other": pytest.approx(0.3)}
    assert (found.failures[0].index, found.failures[0].id, found.failures[0].reason) == (5, "5", "no picture")
    text = str(found)
    assert "done      8 of 10 items (80.0 %), 2 of 3 shards" in text
    assert "failed    2: 1 unreadable, 1 failed" in text
    assert "speed     0.4 items per second, 5.0 s left" in text
    assert "decoding 20%, explaining 50%, other 30%" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 300


RATES = {
    "one after the other": ([(0, 10), (10, 20)], 0.4),
    "beside each other": ([(0, 10), (0, 10), (1, 9)], 1.2),
    "a night between": ([(0, 10), (40000, 40010)], 0.4),
    "faster of late": (
        [*[(10 * i, 10 * i + 10) for i in range(100)], *[(1000 + i, 1001 + i) for i in range(500)]],
        4.0,
    ),
}


@pytest.mark.parametrize("name", RATES)
def test_the_rate_is_that_of_the_time_in_which_somebody_worked(name: str, tmp_path: Path) -> None:
    spans, rate = RATES[name]
    shards = begin(tmp_path, 4 * len(spans))
    for number, (began, ended) in enumerate(spans):
        write(shards, number, float(ended), ended - began)
    found = status(tmp_path)
    assert found.rate == pytest.approx(rate)
    assert found.seconds_left == 0.0
    assert "state     complete" in str(found)
    assert "left" not in str(found)


def test_of_many_shards_some_are_read(tmp_path: Path) -> None:
    shards = begin(tmp_path, 12_000)
    for shard in range(2500):
        write(shards, shard, 10.0 * shard, failed={0: ("failed", "no")})
    found = status(tmp_path)
    assert (found.exact, found.done, found.shards_done) == (False, 10_000, 2500)
    assert found.failed == 2500
    assert found.rate == pytest.approx(0.4, rel=0.1)
    assert "about 2,500" in str(found)
    assert status(tmp_path, exact=True).exact


def test_shards_of_another_job_are_refused(tmp_path: Path) -> None:
    write(begin(tmp_path / "one", 4), 0, 1.0)
    Shards(Folder(begin(tmp_path / "other", 4).path.parent), "1", 4, 4).write(0, Header("1", 0, 4), {})
    with pytest.raises(StoreError, match="expected items 0 to 3 of this job, got others"):
        status(tmp_path / "other")
    with pytest.raises(StoreError, match=r"got no folder"):
        status(tmp_path / "nothing")


def test_a_log_file_gets_lines_and_a_quiet_run_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.ones((5, 2), np.float32))
    spec = JobSpec(tmp_path / "x.npy", "batch_models:Sums", model="batch_models:identity")
    run(spec, tmp_path / "out", workers=0)
    said = capsys.readouterr().err
    assert said.startswith("0 of 5 items done; look from another shell with: xai-fast jobs status ")
    run(make_spec(), tmp_path / "quiet", workers=0, progress=False)
    assert capsys.readouterr().err == ""
