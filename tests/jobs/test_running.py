from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batch_faults import check_clean, check_undisturbed, driver_of, make_spec, our_threads, results, wait_for
from live_processes import processes_of

from xai_fast import jobs
from xai_fast.errors import InputError, JobError, StoreError
from xai_fast.jobs import JobSpec, ModelRef, run, status
from xai_fast.jobs import open as open_store
from xai_fast.jobs.computation import Computation
from xai_fast.jobs.job import open_job, prepare_job
from xai_fast.jobs.journal import live_attempts
from xai_fast.jobs.runners import local
from xai_fast.jobs.sources import SourceChanged
from xai_fast.jobs.store import Layout, committed, drop_receipts

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run(make_spec(), out, workers=0)
    return results(out)


LONG = {"length": 1 << 17}
"""A sum that is rounded in another way by every other number of threads."""


@pytest.mark.parametrize(
    ("count", "workers", "shard_size"),
    [(45, 1, 7), pytest.param(3100, 4, 1024, marks=pytest.mark.slow)],
)
def test_equal_results_however_it_is_cut(tmp_path: Path, count: int, workers: int, shard_size: int) -> None:
    """Items one by one, so that all chunks are equal and so are the bits."""
    out, alone = tmp_path / "out", tmp_path / "alone"
    run(make_spec({"count": count}, LONG, batch_size=1, shard_size=count), alone, workers=1)
    slow = {"count": count, "pause": 0.003}  # so that all workers get something
    assert run(make_spec(slow, LONG, batch_size=1, shard_size=shard_size), out, workers=workers).complete
    check_undisturbed(out, results(alone), {}, exact=True)
    assert len({open_store(out).receipt(shard).worker for shard in range(-(-count // shard_size))}) >= min(workers, 2)
    check_clean(out)


def threads_of(out: Path) -> set[int]:
    lines = [line for log in (out / "logs").iterdir() for line in log.read_text().splitlines()]
    return {json.loads(line)["threads"] for line in lines if '"worker_ready"' in line}


@pytest.mark.parametrize("workers", [pytest.param(0, id="in this process"), 4])
def test_a_run_that_goes_on_has_the_threads_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    """Else one shard that is left is explained with more threads, whose sums are rounded in another way."""
    out, spec = tmp_path / "out", make_spec({"count": 6}, LONG, shard_size=3, batch_size=1)
    monkeypatch.setattr(local, "_cores", lambda: 9)
    run(spec, out, workers=2, threads=2)
    before = results(out)
    drop_receipts(Layout(out), [1])
    run(spec, out, workers=workers)
    check_undisturbed(out, before, {}, exact=True)
    assert threads_of(out) == {2}
    assert "a worker gets 2 threads as when the job began, not 1" in caplog.text


def test_the_threads_depend_on_the_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_cores", lambda: 16)
    run(make_spec(shard_size=45), tmp_path / "out", workers=1)
    assert threads_of(tmp_path / "out") == {2}, "as if there were the default of 8 workers"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard_size": 7}, "shard_size: 10 in the store, 7 asked for"),
        ({"seed": 3}, "seed: 0 in the store, 3 asked for"),
        ({"explainer": {"pause": 0.5}}, r"parameters\.pause: nothing in the store, 0\.5 asked for"),
        ({"source": {"count": 44}}, r"source\.arguments\.count: nothing in the store, 44 asked for"),
    ],
)
def test_another_job_in_the_same_folder_is_refused(tmp_path: Path, changes: Mapping[str, Any], message: str) -> None:
    prepare_job(make_spec(), tmp_path / "out")
    with pytest.raises(InputError, match=rf"out: .*holds another job.*\n  {message}"):
        prepare_job(make_spec(**changes), tmp_path / "out")


def test_what_no_result_depends_on_may_change(tmp_path: Path) -> None:
    prepare_job(make_spec(batch_size=3), tmp_path / "out")
    job = prepare_job(make_spec(batch_size=5, max_attempts=7), tmp_path / "out")
    assert (job.spec.batch_size, job.spec.max_attempts) == (5, 7)
    opened = open_job(tmp_path / "out", batch_size=6, max_attempts=2)
    assert (opened.spec.batch_size, opened.spec.max_attempts) == (6, 2)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"out: expected a new folder, or one with a job, got .*thesis\.tex"):
        run(make_spec(), tmp_path)
    with pytest.raises(InputError, match="out: expected a folder, got the file"):
        run(make_spec(), tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def array_spec(path: Path) -> JobSpec:
    return JobSpec(source=str(path), explainer="batch_faults:Maps", shard_size=4, dtype="float32")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_that_changed_is_refused(tmp_path: Path, workers: int) -> None:
    values = np.ones((10, 4, 4), dtype=np.float32)
    np.save(tmp_path / "values.npy", values)
    spec = array_spec(tmp_path / "values.npy")
    job = prepare_job(spec, tmp_path / "out")
    np.save(tmp_path / "values.npy", values[:9])
    with pytest.raises(SourceChanged, match="the source is not what it was when the job began"):
        run(spec, tmp_path / "out", workers=workers)
    with pytest.raises(SourceChanged):
        job.compute_on("cpu")
    assert committed(Layout(tmp_path / "out")) == set()


def test_a_picture_that_changed_or_is_damaged_is_told(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        image.fromarray(np.full((8, 8, 3), 20 * i, dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "4.png").write_bytes(b"no picture")
    spec = JobSpec(source=str(folder), model=ModelRef("batch_models:tiny"), explainer="batch_models:Sums", shard_size=4)
    prepare_job(spec, tmp_path / "out")
    image.fromarray(np.full((8, 9, 3), 99, dtype=np.uint8)).save(folder / "1.png")
    image.fromarray(np.full((8, 9, 3), 99, dtype=np.uint8)).save(folder / "9.png")
    with pytest.warns(UserWarning, match="1 file was added since this job began; it is not part of it"):
        done = run(spec, tmp_path / "out", workers=0)
    assert dict(done.statuses) == {"ok": 4, "changed": 1, "unreadable": 1}
    assert {one.index: one.id for one in done.failures} == {1: "1.png", 4: "4.png"}


def test_other_weights_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.ones((10, 3), dtype=np.float32))
    weights = tmp_path / "weights"
    weights.write_text("1")
    model = ModelRef("batch_models:linear", {"weights": str(weights)})
    spec = JobSpec(source=str(tmp_path / "values.npy"), explainer="batch_models:Sums", model=model, shard_size=4)
    job = prepare_job(spec, tmp_path / "out")
    weights.write_text("2")
    with pytest.raises(InputError, match="model: expected the weights that the job began with"):
        run(spec, tmp_path / "out", workers=0)
    with pytest.raises(InputError, match="model: expected the weights"):
        job.compute_on("cpu")
    weights.write_text("1")
    assert run(spec, tmp_path / "out", workers=0).complete


def test_what_is_done_is_not_done_again(tmp_path: Path, expected: list[Any]) -> None:
    out = tmp_path / "out"
    run(make_spec(), out, workers=0)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run(make_spec(), out).complete
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times
    (out / "commits" / "shard-000002.json").unlink()
    (out / "manifest.json").unlink()
    run(make_spec(), out, workers=0)
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)
    assert (out / "manifest.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runner": "slurm"}, "runner: expected one of local, rank, ray, got 'slurm'"),
        ({"address": "auto"}, r"options of runner='local'.*address"),
        ({"workers": -1}, "workers: expected an integer, from 0 to 1024, got -1"),
        ({"device": "cuda:99"}, "device: expected one"),
        ({"device": "tpu!"}, "device: expected"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(make_spec(), tmp_path / "out", **options)


def test_an_array_that_is_overwritten_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shard has values of both, though the new file has the same shape."""
    np.save(tmp_path / "values.npy", np.zeros((40, 4, 4), dtype=np.float32))
    spec, chunks = array_spec(tmp_path / "values.npy"), itertools.count()
    explain = Computation.explain

    def overwritten(self: Computation, inputs: Any, indices: Any) -> Any:
        if next(chunks) == 3:
            np.save(tmp_path / "values.npy", np.ones((40, 4, 4), dtype=np.float32))
        return explain(self, inputs, indices)

    monkeypatch.setattr(Computation, "explain", overwritten)
    for _ in range(2):
        with pytest.raises(SourceChanged):
            run(spec, tmp_path / "out", workers=0)
    store = open_store(tmp_path / "out")
    assert 0 < len(list(store)) < 40
    assert all((result.fields["scores"] == 0).all() for _, result in store)
    assert live_attempts(Layout(tmp_path / "out")) == []


def test_a_picture_that_is_replaced_is_explained_by_a_retry(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(4):
        image.new("RGB", (8, 8), (60 * i, 0, 0)).save(pictures / f"{i}.png")
    good = (pictures / "2.png").read_bytes()
    (pictures / "2.png").write_bytes(good[:40])
    model = ModelRef("batch_models:tiny")
    spec = JobSpec(source=str(pictures), model=model, explainer="batch_models:Sums", shard_size=2)
    assert [one.index for one in run(spec, tmp_path / "out", workers=0).failures] == [2]
    (pictures / "2.png").write_bytes(good + b"\n")
    with pytest.raises(InputError, match="trust: the store says which functions to call"):
        jobs.retry_failed(tmp_path / "out", workers=0)
    assert jobs.retry_failed(tmp_path / "out", workers=0, trust=True).failed == 0
    assert open_store(tmp_path / "out")[2].ok


def test_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        jobs.retry_failed(tmp_path / "nothing")
    with pytest.raises(StoreError):
        open_job(tmp_path / "nothing")
    with pytest.raises(InputError, match="spec: expected a JobSpec, got dict"):
        run({}, tmp_path / "out")  # type: ignore[arg-type]


def test_what_fails_in_a_worker_is_raised_here_and_the_worker_ends(tmp_path: Path) -> None:
    """The first to load the source is the driver; what then goes wrong in a worker only is told as it was there."""
    spec = make_spec({"folder": str(tmp_path), "crash": "refuse"})
    with pytest.raises(JobError, match=r"a worker failed: ZeroDivisionError: not in a worker") as caught:
        run(spec, tmp_path / "out", workers=1)
    assert "batch_faults.py" in str(caught.value.__cause__)
    assert not our_threads()


@pytest.mark.slow
def test_workers_that_die_at_their_start_end_the_run(tmp_path: Path) -> None:
    spec = make_spec({"folder": str(tmp_path), "crash": "start"})
    with pytest.raises(JobError, match=r"3 workers in a row died before they could begin, .* exit code -9"):
        run(spec, tmp_path / "out", workers=1)


def test_public_names() -> None:
    assert sorted(jobs.__all__) == dir(jobs)
    for name in jobs.__all__:
        assert getattr(jobs, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        jobs.nothing  # noqa: B018
    assert callable(jobs.run)


def test_reading_loads_no_runner() -> None:
    program = (
        "import sys; from xai_fast import jobs; jobs.open; "
        "print([name for name in sys.modules if name.startswith('xai_fast.jobs.r') or name == 'ray'])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_million_items(tmp_path: Path) -> None:
    """The driver's memory does not grow with the items, and work begins at once."""
    out = tmp_path / "out"
    with driver_of(out, make_spec({"count": 10**6}, shard_size=1000, batch_size=500), workers=1) as driver:
        wait_for(lambda: out.exists() and len(committed(Layout(out))) >= 1, 60)
        # Time of processors, as the machine may be busy with other tests.
        assert sum(processor_time(pid) for pid in processes_of(driver.pid)) < 20
        at_first = peak_memory(driver.pid)
        wait_for(lambda: len(committed(Layout(out))) >= 20, 60)
        later = peak_memory(driver.pid)
        driver.terminate()
        driver.communicate()
    assert later < 500e6
    assert later - at_first < 10e6
    assert status(out).items == 10**6
    assert torch.equal(jobs.open(out)[12].fields["noise"], torch.tensor(17.0 * 12 % 101))


def processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_job_that_cannot_work_ends_at_once(tmp_path: Path, workers: int) -> None:
    """A class that the model does not have: not a million failures, one by one, in hours."""
    np.save(tmp_path / "x.npy", np.ones((200, 3), np.float32))
    (tmp_path / "weights").write_text("1.0")
    model = ModelRef("batch_models:linear", {"weights": str(tmp_path / "weights")})
    spec = JobSpec(tmp_path / "x.npy", "neflag", {"points": 1}, model, target=99, shard_size=40)
    with pytest.raises(JobError, match=r"first 40 items failed alike.*target: expected"):
        run(spec, tmp_path / "out", workers=workers)
    assert not committed(Layout(tmp_path / "out"))
    few = JobSpec(tmp_path / "x.npy", "neflag", {"points": 1}, model, target=99, shard_size=20)
    assert run(few, tmp_path / "few", workers=0).failed == 200
