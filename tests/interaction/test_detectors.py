"""The contract of every detector: one call, options read from the signature, the model left as it was."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rankings import effects_of
from torch import nn

from xai_fast import InputError, InteractionRanking, ModelError, detectors
from xai_fast.errors import needs
from xai_fast.interaction import Detector

NAMES = ["a", "b", "c", "d"]
LIBRARIES = {"shapley_interactions": "shapiq", "rulefit": "sklearn", "fast": "interpret", "anova": "statsmodels"}
QUICK = {"rulefit": {"trees": 10, "sample": 20}, "fast": {"rounds": 50}, "h_statistic": {"sample": 20}}
DETECTORS = list(detectors())


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).eval()


def rows(count: int = 60) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(count))


def made(name: str, explained: nn.Module | None = None) -> Detector:
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    kind = detectors()[name]
    arguments = [explained or model()] if "model" in inspect.signature(kind).parameters else []
    return kind(*arguments, **QUICK.get(name, {}))


def column(detector: Detector) -> np.ndarray | None:
    """The target: of a method that fits a model of its own, a column."""
    x = rows().numpy()
    noise = np.random.default_rng(0).normal(size=len(x))
    return x[:, 0] * x[:, 1] + x[:, 2] + 0.1 * noise if detector.model is None else None


@pytest.mark.parametrize("name", DETECTORS)
def test_rankings_have_names_settings_and_files(name: str, tmp_path: Path) -> None:
    detector = made(name)
    ranking = detector.detect(rows(), column(detector), feature_names=NAMES)
    assert ranking.feature_names == tuple(NAMES)
    assert (0, 1) in ranking
    assert ranking.settings["method"] == name == detector.name
    assert detector.settings.items() <= ranking.settings.items()
    assert list(detector.settings) == list(type(detector).options())
    json.dumps(ranking.settings, allow_nan=False)
    ranking.save(tmp_path / "r.json")
    assert effects_of(InteractionRanking.load(tmp_path / "r.json")) == effects_of(ranking)


@pytest.mark.parametrize("name", DETECTORS)
def test_arrays_and_tensors_give_the_same_and_the_model_is_left_as_it_was(name: str) -> None:
    explained = model()
    explained[0].weight.requires_grad_(False)
    before = {key: value.clone() for key, value in explained.state_dict().items()}
    detector = made(name, explained)
    x, state = rows(), torch.random.get_rng_state()
    first = detector.detect(x, column(detector))
    again = detector.detect(x.double().numpy(), column(detector))
    assert list(first) == list(again)
    assert torch.equal(x, rows())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [p.requires_grad for p in explained.parameters()] == [False, True, True, True]
    assert all(p.grad is None for p in explained.parameters())
    assert all(torch.equal(explained.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", DETECTORS)
def test_what_does_not_fit_is_said(name: str) -> None:
    detector = made(name)
    target, bad = column(detector), rows()
    bad[7, 3] = math.nan
    for wrong, message in (
        (bad, "rows: expected finite values, got nan in the column 'x3', row 7"),
        (rows()[:0], "rows: expected rows and columns"),
        (rows()[:, :1], "rows: expected two columns or more"),
        (None, "rows: expected an array"),
    ):
        with pytest.raises(InputError, match=message):
            detector.detect(wrong, target)
    with pytest.raises(InputError, match="feature_names: expected 4 different names"):
        detector.detect(rows(), target, feature_names=["a"])
    if not detector.takes_groups:
        with pytest.raises(InputError, match=f"groups: expected None, since {name} takes no groups"):
            detector.detect(rows(), target, groups={"both": [0, 1]})
    if detector.model is not None:
        with pytest.raises(ModelError, match="evaluation mode"):
            made(name, nn.Sequential(*model(), nn.Dropout(0.5)).train()).detect(rows())
        with pytest.raises(InputError, match="model: expected a module"):
            type(detector)(3)
        return
    for wrong, message in (
        (None, r"target: expected the column to fit, \(60,\) numbers, got None"),
        (target[:5], "one value per row"),
        (target[:, None], "one value per row"),
        (np.full(60, math.inf), "target: expected finite values"),
        (["a"] * 60, "numbers"),
    ):
        with pytest.raises(InputError, match=message):
            detector.detect(rows(), wrong)


TOY = """
from xai_fast.interaction import Detector, InteractionRanking

class Toy(Detector):
    def __init__(self, *, strength: float = 2.0) -> None:
        super().__init__()
        self.strength = strength

    def _rank(self, table, target, groups):
        effects = {(0, 1): self.strength, (1, 2): -3.0, (0, 2): 3.0}
        return InteractionRanking.from_effects(table.names, effects, facts={"piecewise_linear": ["relu"]})
"""


def install(folder: Path, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package with a detector on the path."""
    (folder / "toy_detectors.py").write_text(TOY)
    about = folder / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[xai_fast.detectors]\ntoy = toy_detectors:{entry}\n")
    monkeypatch.syspath_prepend(folder)


def test_detectors_of_other_packages_are_found_and_their_facts_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "Toy", monkeypatch)
    with pytest.warns(UserWarning, match="the score has relu: "):
        ranking = detectors()["toy"]().detect(rows()[:, :3])
    assert [found.indices for found in ranking] == [(0, 2), (1, 2), (0, 1)]
    assert ranking.settings == {"method": "toy", "strength": 2.0, "target": None}
    assert len(ranking.notes) == 1
    ranking.save(tmp_path / "r.json")
    assert InteractionRanking.load(tmp_path / "r.json").facts == {"piecewise_linear": ["relu"]}


def test_an_entry_point_that_is_no_detector_is_left_out_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "InteractionRanking", monkeypatch)
    assert "toy" not in detectors()
    assert "toy_detectors:InteractionRanking to be a subclass of xai_fast.Detector" in caplog.text


def test_effects_are_finite_and_libraries_named() -> None:
    with pytest.raises(ModelError, match="the effect of b, c is nan"):
        InteractionRanking.from_effects(NAMES, {(0, 1): 1.0, (1, 2): math.nan})
    with pytest.raises(InputError, match=r"xai-fast\[compare\]"):
        needs("no_such_library", "this test", "'xai-fast[compare]'")
