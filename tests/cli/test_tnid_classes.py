"""``xai-fast t-nid`` on a target with classes: which class is explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xai_fast import cli

pandas = pytest.importorskip("pandas")

OPTIONS = ("--target", "y", "--order", "2", "--epochs", "20", "--representatives", "50")


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table where y is "yes" if a and b have the same sign."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(800, 3))
    labels = np.where(rows[:, 0] * rows[:, 1] > 0, "yes", "no")
    pandas.DataFrame(rows, columns=list("abc")).assign(y=labels).to_csv("two.csv", index=False)
    return tmp_path


def strongest(out: str, *arguments: str) -> dict[str, Any]:
    assert cli.main(["t-nid", *arguments, "--out", out]) == 0
    return json.loads(Path(out, "summary.json").read_text(encoding="utf-8"))["strongest"][0]


def test_classes_are_explained(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert strongest("out", "two.csv", *OPTIONS)["features"] == ["a", "b"]
    content = json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    assert (content["task"], content["classes"]) == ("classification", ["no", "yes"])
    assert "accuracy on rows held back" in Path("out/report.html").read_text(encoding="utf-8")
    assert "right in" in capsys.readouterr().out


def test_two_classes_mirror_each_other(two: Path) -> None:
    yes, no, either = (
        strongest(name, "two.csv", *OPTIONS, "--effect", "signed", *options)
        for name, options in {"yes": ["--class", "yes"], "no": ["--class", "no"], "either": []}.items()
    )
    assert yes["features"] == no["features"] == ["a", "b"]
    assert yes["effect"] == either["effect"] > 0
    assert no["effect"] == -yes["effect"]


def test_one_of_three_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(1500, 4))
    evidence = np.stack([rows[:, 0] * rows[:, 1], rows[:, 2] * rows[:, 3], np.zeros(1500)], 1)
    labels = np.array(["p", "q", "r"])[evidence.argmax(1)]
    pandas.DataFrame(rows, columns=list("abcd")).assign(y=labels).to_csv("three.csv", index=False)
    for name, pair in {"p": ["a", "b"], "q": ["c", "d"]}.items():
        assert strongest(name, "three.csv", *OPTIONS, "--class", name)["features"] == pair
        assert f"the logit of class &#x27;{name}&#x27;" in Path(name, "report.html").read_text(encoding="utf-8")


def test_what_is_no_class_is_told_before_anything_is_trained(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["t-nid", "two.csv", *OPTIONS, "--class", "maybe"]) == 2
    assert "--class: expected a class of 'y': no, yes, got 'maybe'" in capsys.readouterr().err
    assert cli.main(["t-nid", "two.csv", *OPTIONS, "--target", "a", "--class", "yes"]) == 2
    assert "--class: expected a target with classes, got numbers in 'a'" in capsys.readouterr().err
    assert not Path("out").exists()
