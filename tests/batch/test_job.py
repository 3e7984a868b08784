"""What is compared, and what is told, when a job is opened again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xai_fast.batch import JobSpec, run

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
