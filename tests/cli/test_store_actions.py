"""``xai-fast run`` and ``xai-fast jobs``, from a file of a job to its export."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import draw

from xai_fast import cli, jobs
from xai_fast.cli import run_job

pytestmark = pytest.mark.usefixtures("place")

QUICK = ("--workers", "0")


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run_job.add_command(parser.add_subparsers(dest="command"))
    return parser.parse_args(["run", *arguments])


def job_file(place: Path, **changes: Any) -> None:
    quick = {"points": 2, "max_steps": 3}
    content = {"source": "photos", "method": "neflag", "options": quick, "model": "cli_models:build", "shard_size": 4}
    (place / "job.json").write_text(json.dumps(content | changes))


def photos(place: Path, count: int = 10) -> None:
    for seed in range(count):
        draw(place / "photos" / f"{seed:02d}.png", seed)


def finished(place: Path, capsys: pytest.CaptureFixture[str], count: int = 10) -> None:
    photos(place, count)
    job_file(place)
    assert cli.main(["run", "job.json", "--out", "out", *QUICK]) == 0
    capsys.readouterr()


def test_a_job_from_file_to_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(place)
    (place / "photos" / "03.png").write_text("no picture")
    job_file(place)
    assert cli.main(["run", "job.json", "--out", "out", *QUICK]) == 3
    preparation, text = capsys.readouterr().out.split("\n", 1)
    assert preparation.startswith("pictures are resized to cover 18 x 18 pixels")
    assert "state     complete, 1 item failed" in text
    assert "  03.png: " in text
    assert cli.main(["jobs", "status", "out"]) == 3
    assert "state     complete, 1 item failed" in capsys.readouterr().out
    assert cli.main(["jobs", "status", "out", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["statuses"] == {"ok": 9, "unreadable": 1}

    # Run again: nothing is left to do. Another job is refused, with the difference.
    assert cli.main(["run", "job.json", "--out", "out", *QUICK]) == 3
    assert cli.main(["run", "job.json", "--out", "out", "--seed", "1", *QUICK]) == 2
    assert "seed: 0 in the store, 1 asked for" in capsys.readouterr().err

    assert cli.main(["jobs", "report", "out", "--trust"]) == 0
    assert capsys.readouterr().out == "report: out/report.html\n"
    index = (place / "out" / "report-data" / "index.js").read_text()
    assert "cricket" in index or "ant" in index  # the model's own names of its classes
    assert cli.main(["jobs", "clean", "out"]) == 0
    assert capsys.readouterr().out.endswith(" removed\n")


def test_damage_is_found_repaired_and_done_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(place, capsys)
    assert cli.main(["jobs", "verify", "out"]) == 0
    assert capsys.readouterr().out.endswith("3 of 3 shards are there and undamaged\n")
    file = sorted((place / "out" / "shards").rglob("*.safetensors"))[1]
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    assert cli.main(["jobs", "verify", "out", "--quick"]) == 0
    capsys.readouterr()
    assert cli.main(["jobs", "verify", "out"]) == 3
    assert "  shard 1: " in capsys.readouterr().out
    assert cli.main(["jobs", "repair", "out"]) == 0
    assert "1 to do again" in capsys.readouterr().out
    assert cli.main(["jobs", "status", "out"]) == 0
    assert "6 of 10 items" in capsys.readouterr().out
    assert cli.main(["run", "job.json", "--out", "out", *QUICK]) == 0
    assert cli.main(["jobs", "verify", "out"]) == 0
    assert cli.main(["jobs", "repair", "out"]) == 0
    assert capsys.readouterr().out.endswith("nothing is damaged\n")


def test_items_that_failed_are_tried_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = (place / "cli_models.py").read_text()
    np.save(place / "x.npy", np.stack([np.full((3, 16, 16), value, np.float32) for value in (0.1, 0.95, 0.3)]))
    job_file(place, source="x.npy", model="cli_models:fails_on_white")
    assert cli.main(["run", "job.json", "--out", "out", *QUICK]) == 3
    (place / "cli_models.py").write_text(module.replace("> 0.9", "> 0.99"))
    sys.modules.pop("cli_models")
    assert cli.main(["jobs", "retry", "out", "--trust", *QUICK]) == 0
    assert [result.ok for _, result in jobs.open("out")] == [True] * 3
    capsys.readouterr()
    (place / "cli_models.py").write_text("a module that cannot be imported")
    assert cli.main(["jobs", "retry", "out", *QUICK]) == 0
    said = capsys.readouterr()
    assert "state     complete\n" in said.out
    assert not said.err
    assert jobs.retry_failed("out").complete


def test_functions_that_only_the_store_names_are_told_and_not_called(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(place, 1)
    (place / "photos" / "01.png").write_text("no picture")
    job_file(place)
    assert cli.main(["run", "job.json", "--out", "out", *QUICK]) == 3
    path = place / "out" / "job.json"
    document = json.loads(path.read_text())
    source = {"kind": "indexable", "path": "os:mkdir", "arguments": {"path": "called"}}
    spec = jobs.JobSpec(source=source, method="m:Class", model="n:model").to_dict()
    path.write_text(json.dumps(document | {"spec": spec}))
    assert cli.main(["jobs", "retry", "out"]) == 2
    said = capsys.readouterr().err
    assert 'source: os:mkdir(path="called")' in said
    assert "m:Class()" in said
    assert "--trust" in said
    assert not (place / "called").exists()


def test_export(place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    finished(place, capsys, 3)
    assert cli.main(["jobs", "export", "out", "--to", "x.parquet"]) == 0
    assert capsys.readouterr().out == "export: x.parquet\n"
    assert parquet.read_table("x.parquet").num_rows == 3
    next((place / "out" / "shards").rglob("*.safetensors")).unlink()
    assert cli.main(["jobs", "export", "out", "--to", "y.parquet"]) == 0
    assert capsys.readouterr().out == "export: y.parquet\n"
    assert caplog.messages == ["y.parquet is of a job that is not complete: 0 of 3 items"]


def test_options_take_precedence_over_the_file(place: Path) -> None:
    job_file(place)
    spec = run_job.read_spec(options("job.json", "--out", "o"))
    assert spec == jobs.JobSpec.from_file("job.json")
    changed = run_job.read_spec(
        options(
            "job.json", "--out", "o", "--option", "points=7", "--option", "step=tangent", "--seed", "3",
            "--target", "2", "--source", "x.npy", "--shard-size", "9", "--dtype", "float32", "--batch-size", "5",
            "--max-attempts", "1",
        )
    )  # fmt: skip
    assert changed.options == {"points": 7, "max_steps": 3, "step": "tangent"}
    assert changed.source == {"kind": "array", "path": str(place / "x.npy")}
    assert (changed.seed, changed.target, changed.shard_size, changed.dtype) == (3, 2, 9, "float32")
    assert (changed.batch_size, changed.max_attempts) == (5, 1)
    # Another method does not get the options of the one in the file.
    other = options("job.json", "--out", "o", "--method", "gradcam", "--option", "layer=0")
    assert run_job.read_spec(other).options == {"layer": "0"}


def test_without_a_file(place: Path) -> None:
    spec = run_job.read_spec(options("--out", "o", "--source", "photos", "--model", "m:f", "--target", "label"))
    assert (spec.target, spec.method) == ("label", "neflag")


USAGE = {
    "nothing": (["run", "--out", "o"], "JOB.yaml or --source: expected one of them, got neither"),
    "no such file": (["run", "gone.json", "--out", "o"], "gone.json"),
    "option": (["run", "job.json", "--out", "o", "--option", "points"], "--option: expected NAME=VALUE"),
    "value": (["run", "job.json", "--out", "o", "--shard-size", "0"], "shard_size: expected"),
    "address": (["run", "job.json", "--out", "o", "--address", "a:1"], "address"),
    "rank": (["run", "job.json", "--out", "o", "--runner", "rank", "--workers", "3"], "workers"),
    "limit": (["jobs", "report", "out", "--limit", "0"], "limit: expected"),
    "classes": (["jobs", "report", "out", "--class-names", "gone"], "--class-names: gone cannot be read"),
    "port": (["jobs", "view", "out", "--port", "70000"], "port: expected an integer, from 0 to 65535"),
    "action": (["jobs", "frobnicate", "out"], "invalid choice: 'frobnicate'"),
}


def test_wrong_arguments_exit_with_2_and_say_which(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(place, capsys, 2)
    for arguments, message in USAGE.values():
        assert cli.main(arguments) == 2, arguments
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("action", ["status", "view", "report", "verify", "repair", "retry", "clean", "export"])
def test_a_folder_without_a_job_exits_with_1(action: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "empty").mkdir()
    for folder in ("empty", "gone"):
        assert cli.main(["jobs", action, folder]) == 1
        assert folder in capsys.readouterr().err
    assert not (place / "gone").exists()
    assert list((place / "empty").iterdir()) == []


def test_ids_and_reasons_cannot_write_into_the_terminal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "photos").mkdir()
    (place / "photos" / "\x1b]0;title\x07\r\nstate complete.png").write_text("no picture")
    job_file(place)
    cli.main(["run", "job.json", "--out", "out", *QUICK])
    text = capsys.readouterr().out
    assert "  \ufffd]0;title" in text
    assert not set(text) & set("\x1b\x07\r")
