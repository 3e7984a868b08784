"""The record of a comparison: what is best within error, what is said of it, and how it is kept."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from comparisons import METHODS, comparison

from xai_fast.comparison import Comparison
from xai_fast.errors import InputError
from xai_fast.explanation import Explanation

NEFLAG, LRP, OCCLUSION, EDGES, RANDOM = METHODS
APART = (0.3, 0.3, 0.1, 0.0, 0.0)
ALIKE = (0.0, 0.0, 0.0, 0.0, 0.0)
NAN = math.nan


@pytest.mark.parametrize(
    ("effects", "better", "best"),
    [
        (APART, "higher", {NEFLAG, LRP}),
        (APART, "lower", {EDGES, RANDOM}),
        (ALIKE, "higher", set(METHODS)),
        ((0.3, 0.2, 0.1, 0.0, 0.0), "higher", {NEFLAG}),
        ((NAN, 0.3, 0.3, 0.0, 0.0), "higher", {LRP, OCCLUSION}),
        ((NAN,) * 5, "higher", set()),
    ],
)
def test_best_are_those_within_error_of_the_best_mean(effects: tuple[float, ...], better: str, best: set[str]) -> None:
    found = comparison({"road": effects}, better=better)
    assert set(found.best("road")) == best
    means = dict(zip(METHODS, found.scores["road"].nanmean(1).tolist(), strict=True))
    assert sorted(found.best("road"), key=means.__getitem__, reverse=better == "higher") == list(found.best("road"))


def test_a_difference_has_an_interval_and_its_reverse() -> None:
    made = comparison({"road": APART})
    made.scores["road"][0, :7] = NAN
    found, back = made.difference(NEFLAG, OCCLUSION, "road"), made.difference(OCCLUSION, NEFLAG, "road")
    pairs = made.scores["road"][0] - made.scores["road"][2]
    assert found.mean == pytest.approx(float(pairs[7:].mean()))
    assert found.count == 33
    assert found.corrected_low < found.low < found.mean < found.high < found.corrected_high
    assert (found.found, found.p < found.corrected_p) == (True, True)
    assert back == dataclasses.replace(
        found,
        a=OCCLUSION,
        b=NEFLAG,
        mean=-found.mean,
        low=-found.high,
        high=-found.low,
        corrected_low=-found.corrected_high,
        corrected_high=-found.corrected_low,
    )
    assert comparison({"road": APART}).differences("road") == comparison({"road": APART}).differences("road")


SCORES = {"road": torch.zeros(2, 3)}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "two of one name": ({"methods": ("a", "a")}, "methods, items: expected at least one of each, and methods whose"),
    "no items": ({"items": ()}, "methods, items: expected at least one"),
    "a way": ({"better": {"road": "up"}}, 'better: expected "higher" or "lower" for each of'),
    "another metric": ({"better": {"irof": "higher"}}, "better: expected"),
    "scores": ({"scores": {"road": torch.zeros(3, 2)}}, r"scores\['road'\]: expected \(2, 3\): methods, items, got"),
    "evaluations": ({"evaluations": torch.zeros(2)}, r"evaluations: expected \(2, 3\)"),
    "maps": ({"maps": torch.zeros(3, 2, 4)}, r"maps: expected \(2, 3\) and the shape of a map, got \(3, 2, 4\)"),
    "seconds": ({"seconds": (1.0,)}, "seconds: expected 2 numbers, one per method, got 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_named(case: str) -> None:
    changed, message = WRONG[case]
    right: dict[str, Any] = {"methods": ("a", "b"), "scores": SCORES, "better": {"road": "higher"}}
    right |= {"evaluations": torch.zeros(2, 3), "items": ("x", "y", "z")}
    Comparison(**right)
    with pytest.raises(InputError, match=message):
        Comparison(**(right | changed))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((LRP, LRP, "road"), "b: expected one of"), (("cam", LRP, "road"), "a: "), ((LRP, EDGES, "irof"), "metric: ")],
)
def test_unknown_names_are_errors(arguments: tuple[str, str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        comparison({"road": APART}).difference(*arguments)


@pytest.mark.parametrize("maps", [None, torch.rand(5, 40, 3, 4), torch.rand(5, 40, 6)])
def test_a_file_gives_back_the_same(maps: torch.Tensor | None, tmp_path: Path) -> None:
    given: dict[str, Any] = {"maps": maps, "settings": {"model": "m", "steps": [1, 2]}}
    made = comparison({"road": APART, "irof, 0.5": ALIKE}, seconds=None if maps is None else (1.0,) * 5, **given)
    made.scores["road"][1, 2] = NAN
    made.save(tmp_path / "c")
    back = Comparison.load(tmp_path / "c")
    for entry in dataclasses.fields(Comparison):
        old, new = getattr(made, entry.name), getattr(back, entry.name)
        if entry.name == "scores":
            assert list(old) == list(new)
            for metric, values in old.items():
                torch.testing.assert_close(new[metric], values, rtol=0, atol=0, equal_nan=True)
        elif isinstance(old, torch.Tensor):
            assert torch.equal(old, new)
        else:
            assert (old, type(old)) == (new, type(new))


def test_other_files_are_refused(tmp_path: Path) -> None:
    Explanation(attributions=torch.ones(1), scores=torch.ones(1), evaluations=torch.ones(1)).save(tmp_path / "other")
    (tmp_path / "damaged").write_bytes(b"nothing")
    for name in ("other", "damaged"):
        with pytest.raises(InputError, match=r"path: expected a file that Comparison\.save wrote, got"):
            Comparison.load(tmp_path / name)


def test_the_table_has_a_row_per_item_method_and_metric() -> None:
    pandas = pytest.importorskip("pandas")
    made = comparison({"road": APART, "irof": ALIKE}, items=3)
    table = made.to_dataframe()
    assert list(table.columns) == ["item", "method", "metric", "value", "evaluations"]
    pivot = table.pivot(index="method", columns=["metric", "item"], values="value")
    assert pivot.loc[LRP, ("irof", "photo 2.jpg")] == float(made.scores["irof"][1, 2])
    assert len(table) == 30
    assert pandas.api.types.is_float_dtype(table.value)


SENTENCES: dict[str, tuple[Comparison, list[str]]] = {
    "found": (
        comparison({"road": (0.3, 0.2, 0.1, 0.0, 0.0)}),
        [
            "road (higher is better): neflag(points=20) has the best mean, 0.807 \u00b1 0.039. It is better than "
            "lrp(gamma=0.25) by 0.093 (95 % interval 0.057 to 0.13, p = 0.002 after correction), and than occlusion, "
            "random and edges. With 40 items, differences below about 0.03 are as a rule not found."
        ],
    ),
    "not found, at less cost": (
        comparison({"road": (0.32, *APART[1:])}),
        [
            "No difference was found between it and lrp(gamma=0.25).",
            "costs least, 1 gradient evaluation per item in place of 20.",
        ],
    ),
    "lower": (
        comparison({"road": (0.0, 0.2, 0.2, 0.3, 0.3)}, better="lower"),
        ["by 0.21 (95 % interval 0.17 to 0.24,"],
    ),
    "no better than random": (
        comparison({"road": ALIKE, "abpc": ALIKE}),
        ["In road and abpc, the best method is within error of edges and random, which it should beat."],
    ),
    "random is best": (
        comparison({"road": (0.0, 0.0, 0.0, 0.0, 0.5)}),
        ["In road, the best mean is that of random, which does not look at the model."],
    ),
    "few items": (comparison({"road": APART}, items=19), ["With 19 items, intervals are rough and only large"]),
    "favoured": (
        comparison({"insertion": APART, "abpc": APART, "non_sensitivity": APART}),
        [
            "In insertion and abpc, occlusion is favoured by construction: such methods replace",
            "In non_sensitivity, neflag(points=20) is favoured by construction: their papers prove it.",
        ],
    ),
    "favoured, of a peer": (
        comparison({"completeness": (0.0, 0.1)}, methods=("lrp", "captum:IntegratedGradients")),
        ["In completeness, captum:IntegratedGradients is favoured by construction"],
    ),
    "of maps": (comparison({"sparseness": APART}), ["In sparseness, values are about the maps alone"]),
    "undefined": (
        comparison({"road": (NAN, 0.3, 0.0, 0.0, 0.0)}),
        ["values are missing: some method has only 0 of 40."],
    ),
    "undefined for all": (comparison({"road": (NAN,) * 5}), ["road: not defined for any item."]),
    "one method": (
        comparison({"road": (0.3,)}, methods=("lrp",)),
        ["road (higher is better): lrp has the best mean, 0.818 \u00b1 0.037."],
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_conclusions_say_what_can_and_cannot_be_told(case: str) -> None:
    made, expected = SENTENCES[case]
    said = "\n".join(made.conclusions())
    assert [text for text in expected if text not in said] == [], said


def test_nothing_is_warned_of_where_all_is_well() -> None:
    made = comparison({"pointing_game": (0.3, 0.2, 0.1, 0.0, 0.0)})
    assert made.summary()["warnings"] == []


def test_the_summary_is_json() -> None:
    made = comparison({"road": (0.3, 0.2, NAN, 0.0, 0.0)}, maps=torch.ones(5, 40, 6))
    summary = made.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["metrics"]["road"]["front"] == [True, True, False, False, True]
    assert summary["agreement"][0] == [None] * 5  # maps without an order
    assert summary["metrics"]["road"]["best"] == [NEFLAG]


def test_items_that_differ_most_are_listed_first() -> None:
    made = comparison({"road": (0.3, 0.2, 0.1, 0.0, 0.0)})
    made.scores["road"][:, 7] = torch.tensor([-9.0, 9.0, NAN, 50.0, -50.0])
    made.scores["road"][:, 8] = torch.tensor([2.0, 1.0, 3.0, 90.0, 0.0])
    first, second, *rest = made.summary()["metrics"]["road"]["apart"]
    assert first == {
        "item": "photo 7.jpg",
        "place": 7,
        "spread": pytest.approx(18 / math.sqrt(2)),
        "best": LRP,
        "worst": NEFLAG,
        "of_best": 9.0,
        "of_worst": -9.0,
    }
    assert (second["item"], second["best"], second["worst"], len(rest)) == ("photo 8.jpg", OCCLUSION, LRP, 8)
