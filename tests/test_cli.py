from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xai_fast import NeFLAG, cli
from xai_fast.cli import explainer, outputs
from xai_fast.cli.files import content_id
from xai_fast.plot import overlay
from xai_fast.suites import MODEL_NAMES, load, open_image

MODELS = """
import torch
from torch import nn
from xai_fast.suites import ImageModel

class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(6 * x)

def network(seed=0):
    # Bumpy, so that the random points matter: in a smooth one all of them step to the same corner.
    torch.manual_seed(seed)
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 32), Sine(), nn.Linear(32, 3))

def build(model=None):
    half = (0.5, 0.5, 0.5)
    return ImageModel(model or network(), "tiny", (16, 16), half, half, ("ant", "b<i>ee</i>", "cricket"), margin=2)

def other_weights():
    return build(network(1))

class FailsOnWhite(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()
    def forward(self, x):
        white = (x.flatten(1).amin(1, keepdim=True) > 0.9)
        return torch.where(white, torch.nan, self.network(x))

def fails_on_white():
    return build(FailsOnWhite())

class Detached(nn.Module):
    def forward(self, x):
        return x.detach().mean((2, 3))

def detached():
    return build(Detached())

class Flat(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) * 0

def flat():
    return build(Flat())

class TwoOutputs(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x

def two_outputs():
    return build(TwoOutputs())

class Binary(nn.Module):
    def forward(self, x):
        return x.flatten(1).tanh().mean(1)

def binary():
    return build(Binary())
"""
QUICK = ("--model", "cli_models:build", "--points", "3", "--max-steps", "9")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cli_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("cli_models", None)
    return tmp_path


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (20, 30), **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)


def run(*arguments: object) -> int:
    return cli.main(["neflag", *map(str, arguments), *QUICK])


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def attribution(out: Path, name: str) -> np.ndarray:
    with np.load(out / "maps" / (name + ".npz")) as stored:
        return stored["attribution"]


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
        assert item["relative_standard_error"] == pytest.approx(float(ratio), rel=1e-3)

    content = summary(place / "out")
    assert (content["explained"], content["failed"], content["failures"]) == (4, 0, [])
    assert content["settings"]["seed"] == content["settings"]["method"]["seed"] == 5
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="card"') == 4
    assert all(name in page for name in names)
    assert "b<i>ee" not in page


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
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "4 files are missing here" in page
    assert all(reason in page for reason in reasons.values())


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


def test_a_score_that_never_falls_is_flagged(place: Path) -> None:
    draw(place / "photos" / "a.png")
    assert cli.main(["neflag", "photos", *QUICK, "--model", "cli_models:flat", "--out", "out"]) == 0
    item = summary(place / "out")["items"][0]
    assert (item["negative_points"], item["relative_standard_error"]) == (0, None)
    assert "no negative flux (1)" in (place / "out" / "report.html").read_text(encoding="utf-8")


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
    assert "Zürich 東京 🐱.png" in page


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


def test_a_second_run_keeps_what_is_still_right(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    explained: list[int] = []
    literal = explainer.Explainer.explain

    def counting(self: Any, inputs: torch.Tensor, item_ids: list[int]) -> list:
        explained.append(len(item_ids))
        return literal(self, inputs, item_ids)

    monkeypatch.setattr(explainer.Explainer, "explain", counting)

    def computed(*arguments: str) -> int:
        explained.clear()
        assert run("photos", "--out", "photos/out", *arguments) == 0
        assert summary(place / "photos" / "out")["explained"] == len(list((place / "photos").glob("*.png")))
        return sum(explained)

    for seed in range(4):
        draw(place / "photos" / f"{seed}.png", seed)
    assert computed() == 4
    page = (place / "photos" / "out" / "report.html").read_text(encoding="utf-8")
    assert computed() == 0
    assert "4 of them kept from before" in capsys.readouterr().out
    again = (place / "photos" / "out" / "report.html").read_text(encoding="utf-8")
    assert again.count("data:image") == page.count("data:image") == 8

    # What only concerns the pictures needs no new maps.
    (place / "photos" / "out" / "overlays" / "1.png.png").unlink()
    assert computed("--smooth", "2", "--clip", "50", "90") == 0
    assert (place / "photos" / "out" / "overlays" / "1.png.png").is_file()

    draw(place / "photos" / "new.png", 8)
    draw(place / "photos" / "0.png", 9)
    (place / "photos" / "out" / "maps" / "1.png.npz").write_bytes(b"PK broken")
    outputs_of_2 = np.load(place / "photos" / "out" / "maps" / "2.png.npz")
    np.savez(place / "photos" / "out" / "maps" / "2.png.npz", attribution=outputs_of_2["attribution"])
    assert computed() == 4
    assert computed("--overwrite") == 5
    assert computed("--seed", "1") == 5
    assert computed("--seed", "1", "--model", "cli_models:build") == 0
    sources = (place / "cli_models.py").read_text()
    (place / "cli_models.py").write_text(sources.replace("def network(seed=0)", "def network(seed=7)"))
    sys.modules.pop("cli_models")
    assert computed("--seed", "1") == 5


def test_an_interrupted_run_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(4):
        draw(place / "photos" / f"{seed}.png", seed)
    literal = outputs.write_map
    written: list[Path] = []

    def write(path: Path, explanation: Any) -> None:
        literal(path, explanation)
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("xai_fast.cli.neflag.write_map", write)
    assert run("photos", "--out", "out", "--batch-size", 1) == 130
    assert "goes on from here" in capsys.readouterr().err
    assert run("photos", "--out", "out", "--batch-size", 1) == 0
    assert len(written) == 4
    assert not list(place.rglob("*.tmp"))


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
    assert page.count('class="card"') == 3
    assert "1 more picture was explained" in page
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


def test_the_demo_explains_the_photos_of_installed_packages(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("skimage", "sklearn", "foolbox"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the package {module}")
    assert cli.main(["demo", *QUICK, "--out", "out"]) == 0
    content = summary(place / "out")
    assert content["explained"] == 27
    assert content["settings"]["aggregate"] == "magnitude"
    assert content["items"][-1]["label"] == 305
    assert capsys.readouterr().out.splitlines()[-1] == "report: out/report.html"


def test_doctor_prints_its_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    doctor = types.ModuleType("xai_fast.doctor")
    doctor.report = lambda: "all is well"
    monkeypatch.setitem(sys.modules, "xai_fast.doctor", doctor)
    monkeypatch.setattr("xai_fast.doctor", doctor, raising=False)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == "all is well\n"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["neflag", "--help"]) == 0
    text = "".join(capsys.readouterr().out.split())  # argparse breaks lines within names
    assert "exitcodes" in text
    assert ",".join(MODEL_NAMES) in text
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("xai-fast ")
    assert cli.main([]) == 2


@pytest.mark.slow
def test_as_a_program_standard_output_is_clean(place: Path) -> None:
    draw(place / "photos" / "a.png")
    program = [sys.executable, "-c", "import sys; from xai_fast.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*program, "neflag", "photos", "--out", "out", *QUICK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2
