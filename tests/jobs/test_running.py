"""Beginning and resuming: what is the same job, what is refused, and what may be another."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from batch_faults import check_clean, check_undisturbed, make_spec, our_threads, results

from xai_fast.errors import InputError, JobError, StoreError
from xai_fast.jobs import JobSpec, ModelRef, retry_failed, run, status
from xai_fast.jobs import open as open_store
from xai_fast.jobs.runners import local
from xai_fast.jobs.work import _Run

LONG = {"length": 1 << 17}
"""A sum that is rounded in another way by every other number of threads."""


def undo(out: Path, *shards: int) -> None:
    """Let shards be missing."""
    for shard in shards:
        (out / "shards" / "000000" / f"{shard:09d}.safetensors").unlink()


def pictures_spec(photos: Path | list[Path], **fields: Any) -> JobSpec:
    return JobSpec(photos, "batch_models:Sums", model="batch_models:tiny", shard_size=2, **fields)


@pytest.mark.slow
def test_equal_bits_however_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row at a time, so that all batches are equal; a run that goes on has the threads of the first."""
    monkeypatch.setattr(local, "_cores", lambda: 16)
    run(make_spec({}, LONG, batch_size=1, shard_size=45), tmp_path / "whole", workers=0)
    out = tmp_path / "out"
    run(make_spec({}, LONG, batch_size=1, shard_size=7), out, workers=2)
    assert open_store(out).job["plan"]["threads"] == 2, "as if there were the default of 8 workers"
    undo(out, 1, 3)
    monkeypatch.setattr(local, "_cores", lambda: 1)
    run(make_spec({}, LONG, batch_size=1, shard_size=7), out, workers=0)
    check_undisturbed(out, results(tmp_path / "whole"), {}, exact=True)
    check_clean(out)
    assert not our_threads()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard_size": 7}, "shard_size: 10 in the store, 7 asked for"),
        ({"seed": 3}, "seed: 0 in the store, 3 asked for"),
        ({"method": {"pause": 0.5}}, r"options\.pause: nothing in the store, 0\.5 asked for"),
        ({"source": {"count": 44}}, r"source\.arguments\.count: nothing in the store, 44 asked for"),
    ],
)
def test_another_job_in_the_same_folder_is_refused(tmp_path: Path, changes: Mapping[str, Any], message: str) -> None:
    run(make_spec(), tmp_path / "out", workers=0)
    with pytest.raises(InputError, match=rf"out: .*holds another job.*\n  {message}"):
        run(make_spec(**changes), tmp_path / "out", workers=0)


def test_what_no_result_depends_on_may_change(tmp_path: Path, expected: list[Any]) -> None:
    run(make_spec(), tmp_path / "out", workers=0)
    undo(tmp_path / "out", 2)
    run(make_spec(batch_size=5, max_attempts=7), tmp_path / "out", workers=0)
    check_undisturbed(tmp_path / "out", expected, {}, exact=True)


def test_what_is_done_is_not_done_again(tmp_path: Path, expected: list[Any]) -> None:
    out = tmp_path / "out"
    run(make_spec(), out, workers=0)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run(make_spec(), out).complete
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times
    undo(out, 0, 3)
    run(make_spec(), out, workers=0)
    assert sum(path.stat().st_mtime_ns != times[path] for path in out.glob("shards/*/*")) == 2
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"out: expected a new folder, or one with a job, got .*thesis\.tex"):
        run(make_spec(), tmp_path)
    with pytest.raises(InputError, match="out: expected a folder, got the file"):
        run(make_spec(), tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def touched(photos: Path) -> Path:
    for path in photos.rglob("*.png"):
        os.utime(path, ns=(7, 7))
    return photos


def moved(photos: Path) -> Path:
    return photos.rename(photos.with_name("moved"))


def copied(photos: Path) -> Path:
    return Path(shutil.copytree(photos, photos.with_name("copy"), copy_function=shutil.copyfile))


@pytest.mark.parametrize("change", [touched, moved, copied])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_pictures_that_are_the_same_go_on(photos: Path, tmp_path: Path, change: Any, workers: int) -> None:
    out = tmp_path / "out"
    run(pictures_spec(photos), out, workers=0)
    undo(out, 1, 2)
    assert run(pictures_spec(change(photos)), out, workers=workers).statuses == {"ok": 6}


@pytest.mark.parametrize("kind", ["x.npy", "x.tar", "x.csv"])
def test_files_that_are_the_same_go_on(tmp_path: Path, kind: str) -> None:
    import tarfile

    pandas = pytest.importorskip("pandas")
    np.save(tmp_path / "1.npy", np.ones((5, 3), np.float32))
    if kind == "x.npy":
        (tmp_path / "1.npy").rename(tmp_path / kind)
    elif kind == "x.tar":
        with tarfile.open(tmp_path / kind, "w") as archive:
            archive.add(tmp_path / "1.npy", "1.npy")
    else:
        pandas.DataFrame({"a": [1.0, 2, 3], "b": [4.0, 5, 6]}).to_csv(tmp_path / kind, index=False)

    def spec(path: Path) -> JobSpec:
        return JobSpec(path, "batch_models:Sums", model="batch_models:identity", shard_size=1)

    first = run(spec(tmp_path / kind), tmp_path / "out", workers=0)
    undo(tmp_path / "out", 0)
    (tmp_path / "elsewhere").mkdir()
    shutil.copyfile(tmp_path / kind, tmp_path / "elsewhere" / kind)
    (tmp_path / kind).unlink()
    assert run(spec(tmp_path / "elsewhere" / kind), tmp_path / "out", workers=0).done == first.done
    undo(tmp_path / "out", 0)
    with (tmp_path / "elsewhere" / kind).open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"7")
    with pytest.raises(InputError, match=r"holds another job.*\n  source\.path: .* whose content is another"):
        run(spec(tmp_path / "elsewhere" / kind), tmp_path / "out", workers=0)


def test_other_pictures_of_the_same_names_are_another_job(photos: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    run(pictures_spec(photos), tmp_path / "out", workers=0)
    undo(tmp_path / "out", 1)
    other = copied(photos)
    image.new("RGB", (8, 8), (1, 2, 3)).save(other / "b" / "5.png")
    with pytest.raises(InputError, match=r"source\.path: .* whose content is another: b/5\.png: the file is not"):
        run(pictures_spec(other), tmp_path / "out", workers=0)
    with pytest.raises(InputError, match=r"source\.path: .* whose content is another: .* are gone"):
        run(pictures_spec(tmp_path / "out"), tmp_path / "out", workers=0)


def test_a_picture_that_changed_or_is_damaged_is_told(photos: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (photos / "b" / "4.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert run(pictures_spec(photos), out, workers=0).statuses == {"ok": 5, "unreadable": 1}
    undo(out, 0, 2)
    good = image.new("RGB", (8, 9), (9, 9, 9))
    good.save(photos / "a" / "1.png")
    good.save(photos / "9.png")
    with pytest.warns(UserWarning, match="source: 7 pictures are there now; the job keeps its list of 6"):
        done = run(pictures_spec(photos), out, workers=0)
    assert done.statuses == {"ok": 4, "changed": 1, "unreadable": 1}
    assert {one.index: one.id for one in done.failures} == {1: "a/1.png", 4: "b/4.png"}
    good.save(photos / "b" / "4.png")
    with pytest.raises(InputError, match="trust: the store says which functions to call"):
        retry_failed(out, workers=0)
    moved(photos)
    assert retry_failed(out, workers=0, trust=True, source=photos.with_name("moved")).failed == 0
    assert open_store(out)[4].ok


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_source_that_vanishes_stops_the_job(photos: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"
    spec = JobSpec(photos, "batch_models:Vanish", {"source": str(photos)}, "batch_models:tiny", shard_size=2)
    with pytest.raises(JobError, match="are gone"):
        run(spec, out, workers=workers)
    assert status(out).failed == 0
    assert status(out).done in (2, 4), "a shard that was read may be done"
    photos.with_name("gone").rename(photos)
    assert run(spec, out, workers=0).statuses == {"ok": 6}


def test_an_array_that_is_overwritten_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shard has values of both, though the new file has the same shape."""
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((40, 4), np.float32))
    spec = JobSpec(path, "batch_models:Overwrite", {"path": str(path)}, "batch_models:identity", shard_size=4)
    for _ in range(2):
        with pytest.raises(JobError, match="is not what it was"):
            run(spec, tmp_path / "out", workers=0)
    found = list(open_store(tmp_path / "out"))
    assert 0 < len(found) < 40
    assert all((result.fields["scores"] == 0).all() for _, result in found)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((10, 3), dtype=np.float32))
    weights = tmp_path / "weights"
    weights.write_text("1")
    model = ModelRef("batch_models:linear", {"weights": str(weights)})
    spec = JobSpec(tmp_path / "x.npy", "batch_models:Sums", model=model, shard_size=4)
    run(spec, tmp_path / "out", workers=0)
    undo(tmp_path / "out", 1)
    weights.write_text("2")
    with pytest.raises(InputError, match="model: expected the weights that the job began with"):
        run(spec, tmp_path / "out", workers=0)
    pinned = ModelRef("batch_models:linear", {"weights": str(weights)}, "a" * 64)
    with pytest.raises(InputError, match=r"model\.weights_sha256: expected weights with the hash"):
        run(JobSpec(tmp_path / "x.npy", "batch_models:Sums", model=pinned), tmp_path / "other", workers=0)
    weights.write_text("1")
    assert run(spec, tmp_path / "out", workers=0).complete


def test_a_factory_that_draws_random_weights_is_told_so_at_once(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((10, 2), dtype=np.float32))
    spec = JobSpec(tmp_path / "x.npy", "batch_models:Sums", model="batch_models:random_weights")
    with pytest.raises(InputError, match=r"batch_models:random_weights gives other weights each time .*manual_seed"):
        run(spec, tmp_path / "out", workers=0)
    assert not (tmp_path / "out").exists()


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


def test_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        retry_failed(tmp_path / "nothing")
    with pytest.raises(InputError, match="spec: expected a JobSpec, got dict"):
        run({}, tmp_path / "out")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch_faults"):
        run(make_spec({"nonsense": 1}), tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "job.json").exists()


def test_what_did_not_fit_is_free_before_a_smaller_batch_is_tried() -> None:
    begun: list[weakref.ref[torch.Tensor]] = []

    def explain(items: object) -> tuple[dict[str, object], dict[str, object]]:
        assert all(value() is None for value in begun)
        activations = torch.zeros(8)
        begun.append(weakref.ref(activations))
        if len(begun) < 3:
            raise torch.OutOfMemoryError("pretended")
        return {}, {}

    run = object.__new__(_Run)
    run.held = SimpleNamespace(explain=explain, rows=8, device=torch.device("cpu"))
    run.span, run.methods, run.rows = range(1), {}, SimpleNamespace(put=lambda places, fields: None)
    run._explain([SimpleNamespace(index=0)])
    assert (len(begun), run.held.rows) == (3, 2)
