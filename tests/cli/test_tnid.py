"""``xai-fast t-nid``: reading tables, the run from table to report, what is refused, and the demo's page."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xai_fast import InteractionRanking, cli
from xai_fast.cli import demo, tnid, tnid_outputs
from xai_fast.datasets.tables import RealTable, bikeshare, diabetes
from xai_fast.errors import InputError
from xai_fast.interaction import FittedMLP
from xai_fast.interaction.mlp_training import Epoch
from xai_fast.tables.columns import encode
from xai_fast.tables.file import read_table_file

pandas = pytest.importorskip("pandas")

FAST = ("--epochs", "12", "--representatives", "20")
SMALL = ("--epochs", "40", "--hidden", "24,12", "--learning-rate", "0.01")


def a_frame(rows: int = 400, seed: int = 0) -> Any:
    """y depends on the product of a and b, more where the colour is red, and on c by itself."""
    random = np.random.default_rng(seed)
    a, b, c = random.normal(size=(3, rows))
    color = random.choice(["red", "blue", "green"], rows)
    y = 3 * a * b + c + 2 * (color == "red") * c
    return pandas.DataFrame({"a": a, "b": b, "c": c, "color": color, "y": y})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def run(*arguments: object) -> int:
    return cli.main(["t-nid", *map(str, arguments)])


def summary(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


@functools.wraps(tnid.fit_mlp)
def no_training(*arguments: object, **options: object) -> None:
    pytest.fail("trained")


def test_from_a_csv_file_to_a_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_frame().to_csv("table.csv", index=False)
    assert run("table.csv", "--target", "y", *FAST, "--epochs", 40, "--out", "out") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0] == "400 rows, 4 columns beside the target y."
    assert "color (3)" in captured.out
    assert "pairs: 6 looked at, all there are" in lines
    first = lines[lines.index("rank      effect      spread  features") + 1].split(maxsplit=3)
    assert (first[0], first[3]) == ("1", "a \u00d7 b")
    assert lines[-1] == "report: out/report.html"
    ranking = InteractionRanking.load("out/ranking.json")
    assert ranking.feature_names == ("a", "b", "c", "color")
    assert ranking.order(2)[0].features == ("a", "b")
    assert ranking.order(2)[1].features == ("c", "color")
    assert float(first[1]) == pytest.approx(ranking["a", "b"].effect, rel=1e-3)
    content = summary(place / "out")
    assert content["groups"] == {"color": ["color=blue", "color=green", "color=red"]}
    assert (content["task"], content["fits"]) == ("regression", True)
    assert content["strongest"][0]["features"] == ["a", "b"]
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "What acts together on y" in page
    assert "Poor fit." not in page
    assert not list(place.rglob("*.tmp"))


def test_a_parquet_file_gives_what_a_csv_file_gives(place: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = a_frame(60)
    frame["color"] = frame["color"].astype("category")
    frame["flag"] = frame["a"] > 0
    frame.to_parquet("table.parquet")
    frame.to_csv("table.csv", index=False, sep=";")
    tables = [encode(read_table_file(Path(name)), "y") for name in ("table.parquet", "table.csv")]
    assert tables[0].columns == tables[1].columns
    assert tables[0].groups == tables[1].groups
    assert tables[0].groups["flag"] == ["flag=False", "flag=True"]
    np.testing.assert_allclose(tables[0].values, tables[1].values)


def test_a_network_that_does_not_fit_is_flagged_and_exits_with_3(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = a_frame(200)
    frame["y"] = np.random.default_rng(1).normal(size=200)
    frame.to_csv("table.csv", index=False)
    assert run("table.csv", "--target", "y", "--order", 2, *FAST, "--out", "out") == 3
    assert "may say little about the table" in capsys.readouterr().out
    assert summary(place / "out")["fits"] is False
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "Poor fit." in page


def fitted(score: float, loss: float, counts: tuple[int, ...] | None) -> FittedMLP:
    classes = None if counts is None else tuple("abc"[: len(counts)])
    return FittedMLP(None, "", classes, loss, score, 0, (Epoch(1.0, 1.0),), ("a",), counts)


@pytest.mark.parametrize(
    ("score", "loss", "counts", "good"),
    [
        (0.5, 0.5, None, True),
        (0.499, 0.501, None, False),
        (-3.0, 4.0, None, False),
        # Always answering with the shares of two equal classes has a loss of log 2; a fifth less is asked for.
        (0.9, 0.79 * np.log(2), (5, 5), True),
        (0.9, 0.81 * np.log(2), (5, 5), False),
        # 99 of 100 right says nothing where 99 of 100 are of one class.
        (0.99, -(0.99 * np.log(0.99) + 0.01 * np.log(0.01)), (99, 1), False),
        # What is never asked is not known, however small the loss.
        (1.0, 0.001, (100, 0), False),
        (1.0, 0.001, (50, 50, 0), False),
    ],
)
def test_the_thresholds_of_a_fit(score: float, loss: float, counts: Any, good: bool) -> None:
    fit = tnid.judge(fitted(score, loss, counts))
    assert fit.good == good
    assert (fit.text == "not known") == (0 in (counts or ()))
    assert ("may say little" in fit.verdict) == (not good)
    assert "-" not in fit.verdict.split("%")[0]


def test_units_change_nothing(place: Path) -> None:
    frame = a_frame()
    frame.to_csv("plain.csv", index=False)
    frame.assign(a=frame["a"] + 1.7e9, b=frame["b"] * 1e300, c=frame["c"] * 1e-320).to_csv("far.csv", index=False)
    strongest = []
    for name in ("plain", "far"):
        assert run(f"{name}.csv", "--target", "y", "--order", 2, *FAST, *SMALL, "--out", name) == 0
        strongest.append(summary(place / name)["strongest"][:2])
    for plain, far in zip(*strongest, strict=True):
        assert far["features"] == plain["features"]
        assert far["effect"] == pytest.approx(plain["effect"], rel=0.05)


@pytest.mark.parametrize(("positives", "said"), [(2, "takes away 0.0% of"), (1, "none is of class True")])
def test_labels_that_are_noise_are_not_explained_by_their_rarity(
    positives: int, said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(3)
    labels = random.permutation(400) < positives
    pandas.DataFrame(random.normal(size=(400, 3)), columns=list("abc")).assign(y=labels).to_csv("t.csv", index=False)
    assert run("t.csv", "--target", "y", "--order", 2, *FAST, "--out", "out") == 3
    assert said in capsys.readouterr().out
    assert summary(place / "out")["fits"] is False


def test_rows_held_back_with_one_target_are_told_instead_of_failing(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_frame(60).to_csv("table.csv", index=False)
    train = tnid.fit_mlp

    @functools.wraps(train)
    def unknown(*arguments: Any, **options: Any) -> FittedMLP:
        return replace(train(*arguments, **options), validation_score=-math.inf)

    monkeypatch.setattr(tnid, "fit_mlp", unknown)
    assert run("table.csv", "--target", "y", "--order", 2, *FAST, "--epochs", 2, "--out", "out") == 3
    verdict = "The rows held back cannot show how well the network fits: all have the same target."
    assert verdict in capsys.readouterr().out
    assert (summary(place / "out")["validation_score"], summary(place / "out")["fits"]) == (None, False)
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert verdict in page
    assert "-inf" not in page


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_folder_that_cannot_be_made_is_told_before_the_training(
    out: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_frame(30).to_csv("table.csv", index=False)
    (place / "taken").write_text("a file")
    monkeypatch.setattr(tnid, "fit_mlp", no_training)
    assert run("table.csv", "--target", "y", "--out", out) == 2
    assert f"--out: expected a folder, or a path where one can be made, got {out}" in capsys.readouterr().err
    assert (place / "taken").read_text() == "a file"


RESULTS = {"ranking.json", "report.html", "report-data", "summary.json"}


def test_the_results_of_another_run_are_refused_and_those_of_the_same_renewed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_frame(60).to_csv("table.csv", index=False)
    arguments = ("table.csv", "--target", "y", "--order", 2, *FAST, "--epochs", 2, "--out", "out")
    assert run(*arguments) in (0, 3)
    before = {file: file.read_bytes() for file in (place / "out").iterdir() if file.is_file()}
    assert run(*arguments) in (0, 3)
    assert (place / "out" / "ranking.json").read_bytes() == before[place / "out" / "ranking.json"]
    monkeypatch.setattr(tnid, "fit_mlp", no_training)
    before = {file: file.read_bytes() for file in (place / "out").iterdir() if file.is_file()}
    a_frame(60, seed=1).to_csv("other.csv", index=False)
    for other in ([*arguments, "--seed", 1], ["other.csv", *arguments[1:]]):
        assert run(*other) == 2
        assert "--out: expected a folder without results of another run, got out" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in (place / "out").iterdir() if file.is_file()} == before
    (place / "job").mkdir()
    (place / "job" / "job.json").write_text("{}")
    assert run(*arguments[:-1], "job") == 2


def test_a_terminal_without_the_letters_gets_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_frame(60).rename(columns={"color": "Farbe \u732b"}).to_csv("table.csv", index=False)
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    assert run("table.csv", "--target", "y", "--order", 2, *FAST, "--epochs", 2, "--out", "out") in (0, 3)
    assert b"a ? b" in shown.getvalue()
    assert b"Farbe ? (3)" in shown.getvalue()
    assert {file.name for file in (place / "out").iterdir()} == RESULTS


def test_a_reader_that_has_gone_leaves_the_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_frame(60).to_csv("table.csv", index=False)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert run("table.csv", "--target", "y", "--order", 2, *FAST, "--epochs", 2, "--out", "out") in (0, 3)
        monkeypatch.undo()
    assert {file.name for file in (place / "out").iterdir()} == RESULTS


def test_everything_is_written_before_the_ranking_is_printed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_frame(60).to_csv("table.csv", index=False)
    found: list[set[str]] = []
    monkeypatch.setattr(tnid_outputs, "say", lambda text: found.append({file.name for file in Path("out").iterdir()}))
    assert run("table.csv", "--target", "y", "--order", 2, *FAST, "--epochs", 2, "--out", "out") in (0, 3)
    assert found
    assert all(files == RESULTS for files in found)


NAN = float("nan")
GAPS = {"n": [1.0, NAN, 3.0, 8.0, *[2.0] * 8], "c": ["u", "v", None, "u", *["v"] * 8], "y": [*range(11), NAN]}


def test_missing_values_are_refused_with_what_to_do() -> None:
    with pytest.raises(InputError) as error:
        encode(pandas.DataFrame(GAPS), "y")
    message = str(error.value)
    assert "n (1 of 12), c (1 of 12), y (1 of 12)" in message
    assert all(remedy in message for remedy in ("--missing drop", "--missing impute", "--ignore"))


def test_missing_values_are_left_out_or_replaced_by_a_rule_that_is_told() -> None:
    frame = pandas.concat([pandas.DataFrame(GAPS)] * 2)
    dropped = encode(frame, "y", missing="drop")
    assert dropped.values.shape == (18, 3)
    assert "Left out: 6 rows that have a missing value." in dropped.notes
    imputed = encode(frame, "y", missing="impute")
    assert imputed.columns == ("n", "c=u", "c=v", "c=(missing)")
    np.testing.assert_array_equal(imputed.values[:4], [[1, 1, 0, 0], [2, 0, 1, 0], [3, 0, 0, 1], [8, 1, 0, 0]])
    assert "Left out: 2 rows without a target." in imputed.notes
    assert "Missing values were replaced in n (2, the median), c (2, a category of their own)." in imputed.notes
    assert len(imputed.labels) == 22


def test_columns_are_read_as_they_are_meant() -> None:
    frame = pandas.DataFrame(
        {
            "hour": [10, 2, 9] * 5,
            "hour=2": np.arange(15.0),
            "text": ["x", "\u00fc", "x"] * 5,
            "flag": [True, False, True] * 5,
            "whole": pandas.array([1, None, 3] * 5, dtype="Int64"),
            "same": 4.0,
            "empty": [NAN] * 15,
            "leak": np.arange(15.0),
            "y": np.arange(15) % 2,
        }
    )
    table = encode(frame, "y", categorical=["hour"], ignore=["leak"], missing="impute")
    # Categories that are numbers keep their order, and no name is taken twice.
    assert table.groups["hour"] == ["hour=2'", "hour=9", "hour=10"]
    assert table.groups["text"] == ["text=x", "text=\u00fc"]
    assert table.columns[3] == "hour=2"
    assert (table.values.shape, table.features) == ((15, 9), 5)
    np.testing.assert_array_equal(table.values[:3, :3], [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(table.values[:3, -1], [1, 2, 3])
    assert "Left out, since they have a single value: same, empty." in table.notes
    assert "Left out, as asked: leak." in table.notes
    assert table.labels.dtype.kind == "i"


USAGE = {
    "file": (["gone.csv"], "TABLE: expected a CSV or Parquet file that exists, got gone.csv"),
    "folder": (["."], "TABLE: expected a CSV or Parquet file that exists, got ."),
    "empty": (["empty.csv"], "TABLE: empty.csv cannot be read"),
    "bytes": (["bytes.csv"], "TABLE: bytes.csv cannot be read"),
    "target": (["table.csv", "--target", "yy"], "--target: expected a column of the table, one of a, b"),
    "category": (["table.csv", "--categorical", "z"], "--categorical: expected a column of the table"),
    "ignore": (["table.csv", "--ignore", "z"], "--ignore: expected a column of the table"),
    "ignored target": (["table.csv", "--ignore", "y"], "--ignore: expected columns other than the target, got 'y'"),
    "few": (["table.csv", "--ignore", "a", "b", "c"], "at least 2 columns beside the target"),
    "rows": (["short.csv"], "TABLE: expected at least 10 rows, got 3"),
    "names": (["names.csv"], "column who: expected numbers, or at most 100 categories (--ignore who leaves it out)"),
    "infinite": (["infinite.csv"], "column a: expected finite numbers, got 1 that are infinite"),
    "constant": (["table.csv", "--target", "one"], "--target: expected a column with at least two different values"),
    "order": (["table.csv", "--order", "5"], "--order: expected at most 4, the number of features, got 5"),
    "low order": (["table.csv", "--order", "1"], "order: expected an integer, from 2 to 6, got 1"),
    "high order": (["table.csv", "--order", "7"], "order: expected an integer, from 2 to 6, got 7"),
    "budget": (["table.csv", "--budget", "much"], "argument --budget: expected X, got 'much'"),
    "epochs": (["table.csv", "--epochs", "0"], "epochs: expected an integer, at least 1, got 0"),
    "rows at which": (["table.csv", "--representatives", "mode,modest"], "representatives: expected"),
    "no rows": (["table.csv", "--representatives", "0"], "representatives: expected"),
    "signed": (["table.csv", "--effect", "signed"], "--effect: expected absolute or square where columns have"),
    "device": (["table.csv", "--device", "toaster"], "device: expected "),
    "task": (["table.csv", "--task", "clustering"], "task: expected one of auto"),
    "gaps": (["gaps.csv"], "TABLE: values are missing in a (1 of 30)"),
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_arguments_exit_with_2_and_say_which(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = a_frame(30)
    frame.assign(one=1).to_csv("table.csv", index=False)
    frame[:3].to_csv("short.csv", index=False)
    pandas.concat([frame] * 4).assign(who=[f"p{i}" for i in range(120)]).to_csv("names.csv", index=False)
    frame.assign(a=[np.inf, *frame["a"][1:]]).to_csv("infinite.csv", index=False)
    frame.assign(a=[NAN, *frame["a"][1:]]).to_csv("gaps.csv", index=False)
    Path("empty.csv").write_text("")
    Path("bytes.csv").write_bytes(b"a,y\n\xff\xfe\x00,1\n")
    arguments, message = USAGE[name]
    target = [] if "--target" in arguments else ["--target", "y"]
    assert run(*arguments, *target, *(() if "--epochs" in arguments else ("--epochs", 1)), "--out", "out") == 2
    assert message in capsys.readouterr().err
    assert not (place / "out").exists()


def test_names_of_users_are_safe_everywhere(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "<b>\"x\" & 'y'</b> {{tabs}} $z \x1b[31m"
    frame = a_frame(60).rename(columns={"a": hostile})
    frame["color"] = np.where(frame["color"] == "red", "<script>alert(1)</script>", "\u202e\u732b")
    frame.to_csv("<i>table.csv", index=False)
    assert run("<i>table.csv", "--target", "y", *FAST, "--epochs", 2, "--out", "out") in (0, 3)
    assert "\x1b" not in capsys.readouterr().out
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("<script>") == 1
    assert InteractionRanking.load("out/ranking.json").feature_names[0] == hostile


def test_what_is_not_installed_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_frame(30).to_csv("table.csv", index=False)
    Path("table.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert run("table.csv", "--target", "y") == 2
    assert "a table needs pandas, which is not installed" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(place)
    monkeypatch.setattr(pandas, "read_parquet", lambda path: __import__("a_package_that_is_not_there"))
    assert run("table.parquet", "--target", "y") == 2
    assert "Parquet needs pyarrow" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_ranking(place: Path) -> None:
    a_frame(100).to_csv("table.csv", index=False)
    for out in ("one", "two"):
        assert run("table.csv", "--target", "y", *FAST, "--order", 2, "--out", out) in (0, 3)
    assert Path("one/ranking.json").read_bytes() == Path("two/ranking.json").read_bytes()


def test_the_demo_adds_the_table(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = a_frame(120).assign(leak=1.0)
    table = RealTable("Tiny", frame, "y", ("color",), ("leak",), "A table that is made up.")
    monkeypatch.setattr("xai_fast.datasets.tables.bikeshare", lambda: table)
    monkeypatch.setattr(demo, "_TABLE_EPOCHS", 2)
    demo.explain_bikeshare("cpu", place / "t-nid")
    assert InteractionRanking.load(place / "t-nid" / "ranking.json").feature_names == ("a", "b", "c", "color")
    assert "A table that is made up." in (place / "t-nid" / "report.html").read_text(encoding="utf-8")

    def missing() -> RealTable:
        raise InputError("not here")

    monkeypatch.setattr("xai_fast.datasets.tables.bikeshare", missing)
    demo.explain_bikeshare("cpu", place / "other")
    assert capsys.readouterr().err == "no T-NID page: not here\n"
    assert not (place / "other").exists()


def settings_of(table: RealTable, **options: Any) -> tnid.TableSettings:
    return tnid.TableSettings(table.target, categorical=table.categorical, ignore=table.ignore, **options)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_working_day_and_hour_come_first_in_bikeshare(seed: int, place: Path) -> None:
    if importlib.util.find_spec("ISLP") is None:
        pytest.skip("needs the package ISLP")
    table = bikeshare()
    chosen = settings_of(table, options={"order": 2, "seed": seed, "epochs": 30})
    assert tnid.explain_frame(table.frame, table.name, chosen, place / "out")
    pairs = InteractionRanking.load(place / "out" / "ranking.json").order(2)
    assert pairs[0].features == ("hr", "workingday")
    assert pairs[0].effect > 1.25 * pairs[1].effect
    assert summary(place / "out")["validation_score"] > 0.9


@pytest.mark.slow
def test_diabetes_is_explained_and_flagged(place: Path) -> None:
    pytest.importorskip("sklearn")
    table = diabetes()
    out = place / "out"
    # Nothing explains much more than half of it: the flag is what is expected of a table like this.
    assert not tnid.explain_frame(table.frame, table.name, settings_of(table, options={"epochs": 60}), out)
    assert 0.2 < summary(out)["validation_score"] < 0.5
    assert InteractionRanking.load(out / "ranking.json").feature_names[1] == "sex"
