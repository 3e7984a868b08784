"""Options of methods are read from their signatures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from xai_fast import Method, methods
from xai_fast.attribution.sampled import SampledMethod
from xai_fast.cli.option_values import add_options, described_options, given_options, read_option
from xai_fast.errors import InputError
from xai_fast.registry import find_method


class Many(Method):
    """Options of all kinds.

    Args:
        model: a module.
        number: how many,
            at 100 % of them.
        method: a name that commands have themselves.
    """

    def __init__(
        self,
        model: object,
        *,
        number: int = 3,
        share: float | None = None,
        kind: Literal["a", "b", 3] = "a",
        flag: bool = False,
        size: bool | tuple[int, int] = False,
        grid: Sequence[int] | None = None,
        sets: Sequence[Sequence[int]] = (),
        rows: int | str | Sequence[str] = 4,
        values: str | float | Sequence[float | Method] = 0.0,
        layer: str = "0",
        anything: Any = None,
        method: str = "auto",
        network: Method | None = None,
    ) -> None:
        super().__init__(model)  # type: ignore[arg-type]

    def _explain(self, call: Any) -> Any:
        raise NotImplementedError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--method")
    add_options(made, Many)
    return made


READ = [
    ("--number 7", {"number": 7}),
    ("--share 0.5", {"share": 0.5}),
    ("--share none", {"share": None}),
    ("--kind b", {"kind": "b"}),
    ("--kind 3", {"kind": 3}),
    ("--flag", {"flag": True}),
    ("--no-flag", {"flag": False}),
    ("--size true", {"size": True}),
    ("--size 7,9", {"size": [7, 9]}),
    ("--grid 7,9,11", {"grid": [7, 9, 11]}),
    ("--grid 7", {"grid": [7]}),
    ("--grid [7,9]", {"grid": [7, 9]}),
    ("--sets [[0,1],[0,2]]", {"sets": [[0, 1], [0, 2]]}),
    ("--rows 20", {"rows": 20}),
    ("--rows kmeans:20", {"rows": "kmeans:20"}),
    ("--rows mean,mode", {"rows": ["mean", "mode"]}),
    ("--values blur", {"values": "blur"}),
    ("--values 0.5,blur", {"values": [0.5, "blur"]}),
    ("--values a,b,2", {"values": ["a", "b", 2.0]}),
    ("--layer 4", {"layer": "4"}),
    ("--anything [1,2]", {"anything": [1, 2]}),
    ("--anything word", {"anything": "word"}),
    ("--many-method hvp", {"method": "hvp"}),
    ("--method many", {}),
    ("", {}),
]


@pytest.mark.parametrize(("text", "expected"), READ, ids=[text for text, _ in READ])
def test_values_have_the_type_of_the_annotation(text: str, expected: dict[str, object]) -> None:
    assert given_options(parser().parse_args(text.split())) == expected


@pytest.mark.parametrize(
    "text", ["--number 3.5", "--number x", "--share x", "--kind c", "--size 7", "--grid a,b", "--grid [7"]
)
def test_other_values_are_refused_with_what_was_expected(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(text.split())
    error = capsys.readouterr().err
    assert f"argument {text.split()[0]}: expected " in error
    assert repr(text.split()[1]) in error


def test_the_help_has_the_texts_and_defaults_and_no_option_that_text_cannot_say() -> None:
    text = " ".join(parser().format_help().split())
    assert "--number N how many, at 100 % of them. (default: 3)" in text
    assert "--share X|none (default: none)" in text
    assert "--network" not in text
    assert "--model" not in text


@pytest.mark.parametrize("name", [*methods(), "captum:IntegratedGradients"])
def test_every_option_of_every_method_is_offered_and_described(name: str) -> None:
    if ":" in name:
        pytest.importorskip(name.partition(":")[0])
    kind = find_method(name)
    made = argparse.ArgumentParser()
    add_options(made, kind)
    offered = {action.dest.removeprefix("option_") for action in made._actions} - {"help"}
    assert offered == set(kind.options())
    if ":" not in name:
        assert set(kind.options()) <= set(described_options(kind))


def test_texts_that_refer_to_a_base_are_those_of_the_base() -> None:
    texts = described_options(methods()["neflag"])
    inherited = described_options(SampledMethod)
    assert {name: texts[name] for name in ("embeddings", "compile")} == {
        n: inherited[n] for n in ("embeddings", "compile")
    }
    assert texts["tolerance"] == f"{inherited['tolerance'].rstrip('.')}; points is the limit."
    every = {
        (name, option): text for name, kind in methods().items() for option, text in described_options(kind).items()
    }
    assert not [
        where
        for where, text in every.items()
        if text.startswith("see ") and "SCORES" not in text and where[1] != "model"
    ]


def test_options_by_name_and_value() -> None:
    assert read_option("neflag", "points=7") == ("points", 7)
    assert read_option("gradcam", "layer=0") == ("layer", "0")
    assert read_option("deeplift", "baseline=0.5") == ("baseline", 0.5)
    assert read_option("deeplift", "baseline=blur") == ("baseline", "blur")
    assert read_option("deepshap", "baselines=0.5,blur") == ("baselines", [0.5, "blur"])
    assert read_option("neflag", "tolerance=none") == ("tolerance", None)
    for method, text, value in (
        ("occlusion", "window=3,2", [3, 2]),
        ("feature_ablation", "features=8", 8),
        ("feature_ablation", "features=superpixels:30", "superpixels:30"),
        ("lime", "features=[[0, 0, 1]]", [[0, 0, 1]]),
        ("lime", "features=none", None),
        ("rise", "baseline=mean", "mean"),
        ("rise", "baseline=0.5", 0.5),
        ("kernel_shap", "baseline=0.1,0.2,0.3", [0.1, 0.2, 0.3]),
        ("expected_gradients", "baselines=blur,0.5", ["blur", 0.5]),
        ("guided_ig", "baseline=black,mean", ["black", "mean"]),
        ("quantitative_input_influence", "baseline=[[0.1, 2], [3, 4]]", [[0.1, 2], [3, 4]]),
    ):
        assert read_option(method, text) == (text.partition("=")[0], value)
    for text, message in {
        "points": "--option: expected NAME=VALUE",
        "=3": "--option: expected NAME=VALUE",
        "point=3": "--option: expected an option of neflag: radius, points",
        "points=x": "--option points: expected N, got 'x'",
    }.items():
        with pytest.raises(InputError, match=message):
            read_option("neflag", text)
