"""What is compared, and what is told, when a job is opened again."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_objects import save_rows

import xai_fast
from xai_fast.attribution import NeFLAG
from xai_fast.errors import InputError
from xai_fast.jobs import JobSpec, ModelRef, job, run
from xai_fast.jobs.explainers import neflag
from xai_fast.jobs.job import prepare_job
from xai_fast.jobs.store import read_job

pytest.importorskip("safetensors")


def array_spec(path: Path) -> JobSpec:
    return JobSpec(source=str(path), explainer="batch_faults:Maps", shard_size=4, dtype="float32")


def test_a_source_that_changed_since_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.ones((10, 4, 4), dtype=np.float32))
    spec = array_spec(tmp_path / "values.npy")
    run(spec, tmp_path / "out", workers=0)
    run(spec, tmp_path / "out", workers=0)
    np.save(tmp_path / "values.npy", np.ones((9, 4, 4), dtype=np.float32))
    with pytest.warns(UserWarning, match=r"values\.npy had 768 bytes when this job began, and has 704 now") as caught:
        assert run(spec, tmp_path / "out", workers=0).complete
    assert caught[0].filename == __file__


def test_another_release_is_told_where_something_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "values.npy", np.ones((10, 4, 4), dtype=np.float32))
    spec = array_spec(tmp_path / "values.npy")
    run(spec, tmp_path / "done", workers=0)
    prepare_job(spec, tmp_path / "begun")
    was = xai_fast.__version__
    monkeypatch.setattr(xai_fast, "__version__", "99.0")
    assert run(spec, tmp_path / "done", workers=0).complete
    with pytest.warns(UserWarning, match=f"the job began with xai_fast {was}, now 99.0; what is left") as caught:
        assert run(spec, tmp_path / "begun", workers=0).complete
    assert caught[0].filename == __file__


@pytest.mark.parametrize("step", ["os.listdir", "open_source", "Items.freeze", "create_job"])
def test_somebody_else_begins_and_ends_the_job_meanwhile(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "values.npy", np.ones((10, 4, 4), dtype=np.float32))
    spec = array_spec(tmp_path / "values.npy")
    out = tmp_path / "out"
    out.mkdir()
    real = operator.attrgetter(step)(job)

    def overtaken(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        assert run(spec, out, workers=0).complete
        return real(*arguments, **options)

    monkeypatch.setattr(f"xai_fast.jobs.job.{step}", overtaken)
    found = prepare_job(spec, out)
    assert operator.attrgetter(step)(job) is real
    assert found.pending() == []


def test_other_defaults_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_rows(tmp_path / "x.npy", 4)
    spec = JobSpec(source=str(tmp_path / "x.npy"), model=ModelRef("batch_objects:rows_model"))
    job = prepare_job(spec, tmp_path / "out")
    settings = read_job(job.layout)["settings"]["neflag"]
    assert (settings["method"], settings["seed"], settings["score"]) == ("NeFLAG", 0, "probability")
    prepare_job(spec, tmp_path / "out")
    monkeypatch.setattr(neflag, "NeFLAG", lambda model, **given: NeFLAG(model, **{"points": 77, **given}))
    line = f"\n  settings.neflag.points: {settings['points']} in the store, 77 now"
    for again in (lambda: prepare_job(spec, tmp_path / "out"), lambda: job.compute_on("cpu")):
        with pytest.raises(InputError, match=line):
            again()


def test_another_preparation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("PIL")
    import batch_models

    from xai_fast.suites.models import ImageModel

    np.save(tmp_path / "x.npy", np.zeros((3, 8, 8, 3), dtype=np.uint8))
    model = ModelRef("batch_models:tiny")
    spec = JobSpec(source=str(tmp_path / "x.npy"), model=model, explainer="batch_models:Sums")
    job = prepare_job(spec, tmp_path / "out")
    prepare_job(spec, tmp_path / "out")
    before = batch_models.tiny()
    other = ImageModel(before.model, "tiny", before.size, (0.5, 0.5, 0.5), before.std, margin=before.margin)
    monkeypatch.setattr(batch_models, "tiny", lambda: other)
    for again in (lambda: prepare_job(spec, tmp_path / "out"), lambda: job.compute_on("cpu")):
        with pytest.raises(InputError, match=r"preparation.mean: \[0.485, .* in the store, \[0.5, 0.5, 0.5\] now"):
            again()
