"""The command for a machine with a GPU, rehearsed: every step is done, and errors that are planted fail it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gpu import steps
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.steps import STEPS
from benchmarks.gpu.table import table
from xai_fast.attribution.neflag import _FluxWalk
from xai_fast.kernels.flux_accumulate import native

ROOT = Path(__file__).parents[2]


@pytest.mark.rehearsal
@pytest.mark.slow
def test_every_step_is_done(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--minutes", "30", "--out", str(tmp_path)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, text=True, capture_output=True, check=False
    )
    results = json.loads((tmp_path / "gpu.json").read_text())
    ended = {name: step.get("error", step["status"]) for name, step in results["steps"].items()}
    assert ended == dict.fromkeys(STEPS, "done")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, step in results["steps"].items():
        assert step["results"], name
        for measured in step["results"].values():
            assert "does_not_fit" not in measured, (name, measured)
            assert all(value > 0 for value in measured.values() if isinstance(value, float)), (name, measured)
    assert len(table(results).splitlines()) > 40
    skipped = [line for line in (tmp_path / "checks.txt").read_text().splitlines() if line.startswith("SKIPPED")]
    assert all("sorts with numpy on a CPU" in line or "captum" in line for line in skipped), skipped


def _zeros(*arguments: Any, **more: Any) -> None:
    for value in arguments:
        if isinstance(value, Tensor) and value.is_floating_point():
            value.zero_()


@pytest.mark.rehearsal
def test_a_kernel_that_returns_zeros_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "run", _zeros)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        steps.kernels(Setting(tmp_path, rehearse=True, seconds=60.0, name="kernels"))


@pytest.mark.rehearsal
def test_a_hidden_read_of_the_host_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = _FluxWalk.end

    def planted(walk: _FluxWalk, items: Any, rows: Any, scores: Tensor) -> tuple[Tensor, Tensor]:
        scores.sum().item()
        return end(walk, items, rows, scores)

    monkeypatch.setattr(_FluxWalk, "end", planted)
    with pytest.raises(RuntimeError, match="synchronizing"):
        steps.neflag(Setting(tmp_path, rehearse=True, seconds=60.0, name="neflag"))


CUT = {
    "rehearsal": True,
    "steps": {
        "kernels": {"status": "done", "results": {"a": {"bytes_per_second": 2e12, "of_a_copy": 0.5, "bytes": 7}}},
        "neflag": {"status": "cut", "error": "it took longer than 9 s", "results": {"b": {"items_per_second": 12.0}}},
        "rise": {"status": "skipped", "reason": "no time was left"},
    },
}


def test_the_table_tells_what_was_cut() -> None:
    assert table(CUT).splitlines()[2:] == [
        "| kernels | a | GB per second 2,000, of a copy 0.5 |",
        "| neflag | b | items per second 12 |",
        "| neflag | cut | it took longer than 9 s |",
        "| rise | skipped | no time was left |",
    ]


def _writes_and(what: str) -> Any:
    def step(setting: Setting) -> None:
        setting.keep("first", value=1.0)
        if what == "hangs":
            torch.randn(3)
            while True:
                pass
        if what == "crashes":
            os._exit(3)
        raise ValueError(what)

    return step


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("what", "status", "error"),
    [
        ("hangs", "cut", "it took longer than 1 s"),
        ("crashes", "failed", "the process ended with 3"),
        ("raises", "failed", "ValueError: raises"),
    ],
)
def test_a_step_that_does_not_end_well_keeps_what_it_had(
    what: str, status: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.gpu import __main__ as command

    monkeypatch.setattr(command, "clocks", dict)
    monkeypatch.setattr(command, "_LEAST", 0.0)
    monkeypatch.setattr(command, "STEPS", {"step": steps.Step(_writes_and(what), 1.0)})
    done = command._step(Setting(tmp_path, rehearse=True, seconds=1.0, name="step"))
    assert done["status"] == status
    assert error in done["error"]
    assert done["results"] == {"first": {"value": 1.0}}
