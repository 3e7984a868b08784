"""What cannot be read or explained is reported, skipped and counted; wrong arguments are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import QUICK, draw, run, summary
from PIL import Image
from report_data import entries

from xai_fast import cli

pytestmark = pytest.mark.usefixtures("place")


def test_broken_files_are_reported_skipped_and_counted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place / "photos"
    for seed in range(3):
        draw(folder / f"good{seed}.png", seed)
    draw(folder / "cut.jpg", 4, (200, 200))
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:5000])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.webp").write_text("not a picture")
    (folder / "dangling.png").symlink_to("nothing")
    assert run("photos", "--out", "out") == 3
    captured = capsys.readouterr()
    assert "4 files could not be explained:" in captured.err
    assert captured.out.startswith("3 pictures explained")
    content = summary(place / "out")
    assert (content["explained"], content["failed"]) == (3, 4)
    reasons = {failure["name"]: failure["reason"] for failure in content["failures"]}
    assert reasons["empty.png"] == reasons["text.webp"] == "not a picture, or of a kind that Pillow cannot read"
    assert "truncated" in reasons["cut.jpg"]
    assert reasons["dangling.png"] == os.strerror(2)
    found = {entry["name"]: entry["error"] for entry in entries(place / "out" / "report.html") if entry["error"]}
    assert found == reasons


def test_only_broken_files(place: Path) -> None:
    (place / "text.png").write_text("not a picture")
    assert run("text.png", "--out", "out") == 3
    assert summary(place / "out")["explained"] == 0
    assert "No picture explained" in (place / "out" / "report.html").read_text(encoding="utf-8")


USAGE = {
    "paths": (["gone"], "paths: expected folders and pictures that exist, got gone"),
    "empty": (["empty"], "paths: expected at least one picture"),
    "model": (["photos", "--model", "resnet"], "model: expected one of"),
    "module": (["photos", "--model", "gone:build"], "model: there is no module 'gone'"),
    "radius": (["photos", "--radius", "-1"], "radius: expected"),
    "points": (["photos", "--points", "0"], "points: expected"),
    "target": (["photos", "--target", "crickets"], "of tiny such as 'cricket', got 'crickets'"),
    "class": (["photos", "--target", "3"], "target: expected classes from 0 to 2, got 3"),
    "device": (["photos", "--device", "toaster"], "--device: expected auto, cpu, cuda"),
    "meta": (["photos", "--device", "meta"], "--device: expected a device that this installation"),
    "clip": (["photos", "--clip", "99", "80"], "clip: expected two percentiles"),
    "smooth": (["photos", "--smooth", "-1"], "smooth: expected 0 or a positive"),
    "batch": (["photos", "--batch-size", "0"], "--batch-size: expected an integer, at least 1, got 0"),
    "top k": (["photos", "--top-k-classes", "0"], "--top-k-classes: expected an integer, at least 1, got 0"),
    "tuple": (["photos", "--model", "cli_models:two_outputs"], "model: expected logits (B, C)"),
    "choice": (["photos", "--score", "entropy"], "invalid choice: 'entropy'"),
    "no path": ([], "the following arguments are required"),
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_arguments_exit_with_2_and_say_which(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "empty").mkdir()
    draw(place / "photos" / "a.png")
    arguments, message = USAGE[name]
    defaults = [] if "--model" in arguments else ["--model", "cli_models:build"]
    assert cli.main(["neflag", *arguments, *defaults, "--out", "out"]) == 2
    assert message in capsys.readouterr().err
    assert not (place / "out" / "report.html").exists()


def test_a_model_that_cannot_be_explained_exits_with_1(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(12):
        draw(place / "photos" / f"{seed}.png", seed)
    assert run("photos", "--model", "cli_models:build", "--out", "out") == 0
    for model, message in (("detached", "gradient path"), ("fails_on_white", "finite scores")):
        if model == "fails_on_white":
            for seed in range(12):
                Image.new("RGB", (20, 20), "white").save(place / "photos" / f"{seed}.png")
        arguments = [
            "neflag",
            "photos",
            *QUICK,
            "--model",
            f"cli_models:{model}",
            "--out",
            "other",
            "--batch-size",
            "1",
        ]
        assert cli.main(arguments) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_picture_that_the_model_fails_on_does_not_take_others_with_it(
    batch_size: int, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(5):
        draw(place / "photos" / f"{seed}.png", seed)
    Image.new("RGB", (20, 20), "white").save(place / "photos" / "0 white.png")
    arguments = ["neflag", "photos", *QUICK, "--model", "cli_models:fails_on_white", "--out", "out"]
    assert cli.main([*arguments, "--batch-size", str(batch_size)]) == 3
    assert "0 white.png: model: expected finite scores" in capsys.readouterr().err
    assert summary(place / "out")["explained"] == 5
