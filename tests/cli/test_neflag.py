"""`xai-fast neflag` writes maps, overlays, a report and a summary."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import QUICK, attribution, draw, run, summary
from PIL import Image
from report_data import entries, read_script

from xai_fast import NeFLAG, cli
from xai_fast.cli import outputs
from xai_fast.cli.files import content_id
from xai_fast.plot import overlay
from xai_fast.suites import load, open_image

pytestmark = pytest.mark.usefixtures("place")


def test_a_folder_becomes_maps_overlays_a_report_and_a_summary(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a.png", "b/c.jpg", "b/d.webp", "z.JPEG"]
    for seed, name in enumerate(names):
        draw(place / "photos" / name, seed, quality=90)
    assert run("photos", "--out", "out", "--batch-size", 2, "--top-k-classes", 2, "--seed", 5, "--smooth", 1) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "report: out/report.html"
    assert captured.out.startswith("4 pictures explained in ")
    assert captured.err == ""

    # The map is the one that the method gives, and the overlay is drawn from it.
    model = load("cli_models:build")
    method = NeFLAG(model.model, points=3, max_steps=9, seed=5)
    for name in names:
        path = place / "photos" / name
        x = model.transform(open_image(path))[None]
        result = method.explain(x, item_ids=[content_id(path.read_bytes())])
        stored = attribution(place / "out", name)
        assert stored.dtype == np.float32
        torch.testing.assert_close(torch.from_numpy(stored), result.attributions[0], rtol=1e-4, atol=1e-7)
        drawn = np.asarray(Image.open(place / "out" / "overlays" / (name + ".png")))
        assert np.array_equal(drawn, overlay(model.to_rgb(x[0]), stored, smooth=1))

        item = next(item for item in summary(place / "out")["items"] if item["name"] == name)
        with torch.no_grad():
            probabilities = model.model(x).softmax(1)[0]
        assert item["map"] == f"maps/{name}.npz"
        assert item["overlay"] == f"overlays/{name}.png"
        assert item["item_id"] == content_id(path.read_bytes())
        assert item["target"] == int(probabilities.argmax())
        assert item["target_name"] == model.class_names[item["target"]]
        assert item["score"] == pytest.approx(float(probabilities.max()), rel=1e-5)
        assert [c for c, _, _ in item["classes"]] == probabilities.topk(2).indices.tolist()
        assert item["negative_points"] == int(result.negative_points[0])
        assert item["evaluations"] == int(result.evaluations[0])
        ratio = result.standard_error.norm() / result.attributions.norm()
        # To the rounding of a map in float32: where all points end in the same corner, rounding is all there is.
        assert item["relative_standard_error"] == pytest.approx(float(ratio), rel=1e-3, abs=1e-6)

    content = summary(place / "out")
    assert (content["explained"], content["failed"], content["failures"]) == (4, 0, [])
    assert content["settings"]["seed"] == content["settings"]["method"]["seed"] == 5
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert {entry["name"] for entry in entries(place / "out" / "report.html")} == set(names)
    assert "b<i>ee" not in page


def test_a_score_that_never_falls_is_flagged(place: Path) -> None:
    draw(place / "photos" / "a.png")
    assert cli.main(["neflag", "photos", *QUICK, "--model", "cli_models:flat", "--out", "out"]) == 0
    item = summary(place / "out")["items"][0]
    assert (item["negative_points"], item["relative_standard_error"]) == (0, None)
    (fact,) = read_script(place / "out" / "report.html", "index")["facts"]
    assert fact["label"] == "no negative flux"


def test_results_of_equal_names_do_not_collide(place: Path) -> None:
    files = ["x/p/a.png", "x/p/a.jpg", "x/p/sub/a.png", "y/p/a.png", "y/p/A.png"]
    for seed, name in enumerate(files):
        draw(place / name, seed)
    assert run("x/p", "y/p", "--out", "out") == 0
    items = summary(place / "out")["items"]
    assert len(items) == 5
    for kind in ("map", "overlay"):
        assert len({item[kind].casefold() for item in items}) == 5
        assert all((place / "out" / item[kind]).is_file() for item in items)
    maps = [attribution(place / "out", item["name"]) for item in items]
    assert all(not np.allclose(maps[i], maps[j]) for i in range(5) for j in range(i))


def test_names_of_all_kinds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["Zürich 東京 🐱.png", "<img src=x onerror=alert(1)>.png", "a'b\"c&d.png", "-v.png", "%20#?.png"]
    names += [os.fsdecode(b"caf\xe9.png"), "\u00fc" * 100 + ".png"]
    for seed, name in enumerate(names):
        draw(place / "photos" / "seed.png", seed)
        (place / "photos" / "seed.png").rename(place / "photos" / name)
    assert run("photos", "--out", "out") == 0
    items = summary(place / "out")["items"]
    assert {item["name"] for item in items} == {os.fsencode(name).decode("utf-8", "replace") for name in names}
    assert len(list((place / "out" / "maps").iterdir())) == len(names)
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "Zürich 東京 🐱.png" in [entry["name"] for entry in entries(place / "out" / "report.html")]


def test_another_picture_in_the_folder_does_not_change_the_maps(place: Path) -> None:
    for seed in range(3):
        draw(place / "photos" / f"b{seed}.png", seed)
    assert run("photos", "--out", "first") == 0
    draw(place / "photos" / "a.png", 9)
    (place / "photos" / "b0.png").rename(place / "photos" / "c.png")
    assert run("photos", "--out", "second", "--batch-size", 3) == 0
    for before, after in (("b0.png", "c.png"), ("b1.png", "b1.png"), ("b2.png", "b2.png")):
        maps = attribution(place / "first", before), attribution(place / "second", after)
        np.testing.assert_allclose(*maps, rtol=1e-4, atol=1e-7)


def test_options_reach_the_method(place: Path) -> None:
    draw(place / "a.png")
    options = "--radius 0.4 --step-rule tangent --score logit --aggregate magnitude --seed 3 --precision bf16"
    arguments = ["neflag", "a.png", *QUICK, *options.split(), "--tolerance", "0.9", "--target", "CRICKET"]
    assert cli.main([*arguments, "--ranking", "abs_sum", "--out", "out"]) == 0
    content = summary(place / "out")
    expected = {
        "radius": 0.4,
        "points": 3,
        "max_steps": 9,
        "step": "tangent",
        "score": "logit",
        "seed": 3,
        "precision": "bf16",
        "aggregate": "magnitude",
        "tolerance": 0.9,
    }
    assert expected.items() <= content["settings"]["method"].items()
    assert content["items"][0]["target_name"] == "cricket"


def test_a_model_with_one_output(place: Path) -> None:
    draw(place / "a.png")
    assert cli.main(["neflag", "a.png", *QUICK, "--model", "cli_models:binary", "--out", "out"]) == 0
    item = summary(place / "out")["items"][0]
    assert item["classes"] == [[0, "ant", pytest.approx(item["score"], rel=1e-5)]]


def test_the_report_holds_a_limited_number_of_pictures(place: Path) -> None:
    for seed in range(4):
        draw(place / "photos" / f"{seed}.png", seed)
    assert run("photos", "--out", "out", "--max-cards", 3) == 0
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert len(entries(place / "out" / "report.html")) == 3
    assert "1 more pictures were explained" in page
    assert summary(place / "out")["explained"] == 4


def test_pictures_are_never_all_in_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(24):
        draw(place / "photos" / f"{seed:02d}.png", seed)
    events: list[str] = []
    reads, writes = open_image, outputs.write_map
    monkeypatch.setattr("xai_fast.cli.pictures.open_image", lambda file: events.append("read") or reads(file))
    monkeypatch.setattr(
        "xai_fast.cli.neflag.write_map", lambda path, result: events.append("write") or writes(path, result)
    )
    assert run("photos", "--out", "out", "--batch-size", 1) == 0
    waiting = np.cumsum([1 if event == "read" else -1 for event in events])
    assert waiting.max() <= 9
    assert waiting[-1] == 0
