"""``xai-fast explain``: from pictures to a store and a report, with any method."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import QUICK, TOY, draw
from PIL import Image
from report_data import entries

import xai_fast
from xai_fast import BiLRP, NeFLAG, Neuralize, TaylorCAM, cli, jobs
from xai_fast.images import open_image
from xai_fast.models import load
from xai_fast.references import ModelRef

pytestmark = pytest.mark.usefixtures("place")


def explain(*arguments: object) -> int:
    return cli.main(["explain", *map(str, arguments)])


def photos(place: Path, count: int = 4) -> list[str]:
    names = ["a.png", "b/c.jpg", "b/d.webp", "z.JPEG", *(f"z{i}.png" for i in range(count))][:count]
    for seed, name in enumerate(names):
        draw(place / "photos" / name, seed, quality=90)
    return names


def test_photos_become_a_store_and_a_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = photos(place)
    assert explain("photos", *QUICK, "--seed", 5, "--blur", 1, "--out", "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pictures are resized to cover 18 x 18 pixels, cut to the central 16 x 16, and scaled")
    assert lines[-1] == "report: out/report.html"
    assert "note:" not in "".join(lines)

    model = load("cli_models:build")
    x = torch.stack([model.transform(open_image(place / "photos" / name)) for name in names])
    expected = NeFLAG(model.model, points=3, max_steps=9, seed=5).explain(x)
    store = jobs.open("out")
    assert [store[i].id for i in range(len(store))] == names
    stored = store.explanation("neflag", range(len(names)))
    torch.testing.assert_close(stored.attributions, expected.attributions, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(stored.scores, expected.scores)
    assert stored.targets.tolist() == expected.targets.tolist()
    assert stored.evaluations.tolist() == expected.evaluations.tolist()
    assert stored.settings["seed"] == 5
    assert (place / "out" / "report.html").is_file()


@pytest.mark.parametrize("arguments", [(), ("--taylor-cam-method", "hvp", "--scope", "global")])
def test_another_method_with_its_options(arguments: tuple[str, ...], place: Path) -> None:
    draw(place / "a.png")
    options = ("--method", "taylor_cam", "--model", "cli_models:with_maps", "--layer", "stem", "--target", "CRICKET")
    assert explain("a.png", *options, *arguments, "--out", "out") == 0
    model = load("cli_models:with_maps")
    given = {"method": "hvp", "scope": "global"} if arguments else {}
    x = model.transform(open_image(place / "a.png"))[None]
    expected = TaylorCAM(model.model, "stem", **given).explain(x, target=2)
    stored = jobs.open("out").explanation("taylor_cam", [0])
    assert (stored.layer, stored.grid, stored.targets.tolist()) == ("stem", (4, 4), [2])
    scale = float(expected.attributions.abs().max())
    torch.testing.assert_close(stored.attributions, expected.attributions, rtol=0, atol=1e-4 * scale)


def test_a_layer_that_is_not_named_is_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(place / "a.png")
    assert explain("a.png", "--method", "gradcam", "--model", "cli_models:with_maps") == 2
    assert "--layer: expected a layer of cli_models:with_maps, such as body (4 x 4 cells)" in capsys.readouterr().err
    assert not (place / "out").exists()


def test_a_plain_module_gets_a_line_about_what_is_assumed(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    draw(place / "a.png", size=(60, 80))
    assert explain("a.png", "--model", "cli_models:plain", "--points", 1, "--max-steps", 1) == 0
    (line,) = caplog.messages
    assert line.startswith("model: cli_models:plain returns a plain module, so the usual preparation for ImageNet")
    assert "resized to cover 256 x 256 pixels, cut to the central 224 x 224" in line
    np.save("x.npy", np.zeros((2, 3, 224, 224), np.float32))
    assert explain("x.npy", "--model", "cli_models:plain", "--points", 1, "--max-steps", 1, "--out", "array") == 0
    assert "pictures" not in capsys.readouterr().out
    assert len(caplog.messages) == 1


def test_the_results_of_another_run_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(place)
    assert explain("photos", *QUICK, "--out", "out") == 0
    before = {file: file.read_bytes() for file in (place / "out").rglob("*") if file.is_file()}
    capsys.readouterr()
    for arguments, message in {
        ("--method", "toy_cam:Toy", "--model", "cli_models:build"): "method: ",
        (*QUICK, "--seed", "1"): "seed",
        (*QUICK, "--model", "cli_models:other_weights"): "model",
    }.items():
        (place / "toy_cam.py").write_text(TOY)
        assert explain("photos", *arguments, "--out", "out") == 2
        assert message in capsys.readouterr().err
    (place / "table.csv").write_text("a,b,y\n" + "".join(f"{i},{i % 3},{i % 5}\n" for i in range(30)))
    assert cli.main(["t-nid", "table.csv", "--target", "y", "--out", "out"]) == 2
    (place / "other").mkdir()
    for name in ("report.html", "summary.json"):
        (place / "other" / name).write_text("{}")
        assert explain("photos", *QUICK, "--out", "other") == 2
        (place / "other" / name).unlink()
    assert {file: file.read_bytes() for file in (place / "out").rglob("*") if file.is_file()} == before
    assert explain("photos", *QUICK, "--out", "out") == 0


@pytest.mark.parametrize("out", ["photos/out", "photos"])
def test_results_are_never_inputs(out: str, place: Path) -> None:
    names = photos(place)
    for _ in range(2):
        assert explain("photos", *QUICK, "--out", out) == 0
        store = jobs.open(out)
        assert [store[i].id for i in range(len(store))] == names


def test_broken_files_are_named_and_the_others_explained(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        draw(place / "photos" / f"good{seed}.png", seed)
    draw(place / "photos" / "cut.jpg", 4, (200, 200))
    (place / "photos" / "cut.jpg").write_bytes((place / "photos" / "cut.jpg").read_bytes()[:5000])
    (place / "photos" / "text.webp").write_text("not a picture")
    Image.new("RGB", (20, 20), "white").save(place / "photos" / "white.png")
    assert explain("photos", *QUICK, "--model", "cli_models:fails_on_white", "--out", "out") == 3
    text = capsys.readouterr().out
    for name in ("cut.jpg", "text.webp", "white.png"):
        assert f"  {name}: " in text
    failed = {name: reason for _, name, _, reason in jobs.open("out").failures()}
    assert "finite" in failed["white.png"]
    assert len(failed) == 3


def test_names_of_all_kinds(place: Path) -> None:
    names = ["Zürich 東京 🐱.png", "<img src=x onerror=alert(1)>.png", "a'b\"c&d.png", "-v.png", "%20#?.png"]
    names += [os.fsdecode(b"caf\xe9.png"), "\u00fc" * 100 + ".png"]
    for seed, name in enumerate(names):
        draw(place / "seed.png", seed)
        (place / "photos").mkdir(exist_ok=True)
        (place / "seed.png").rename(place / "photos" / name)
    assert explain("photos", *QUICK, "--out", "out") == 0
    store = jobs.open("out")
    assert {store[i].id for i in range(len(store))} == set(names)
    page = (place / "out" / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page


USAGE = {
    "source": (["gone"], "source: "),
    "empty": (["empty"], "at least one picture"),
    "method": (["photos", "--method", "neflog"], "(did you mean 'neflag'?), got 'neflog'"),
    "model": (["photos", "--model", "resnet"], "model: expected"),
    "module": (["photos", "--model", "gone:build"], "model: there is no module 'gone'"),
    "option": (["photos", "--radius", "-1"], "radius: expected"),
    "kind": (["photos", "--points", "few"], "argument --points: expected N, got 'few'"),
    "unknown": (
        ["photos", "--pionts", "3"],
        "expected what `xai-fast explain --method neflag --help` lists, got --pionts 3",
    ),
    "target": (["photos", "--target", "crickets"], "such as 'cricket', got 'crickets'"),
    "clip": (["photos", "--clip", "99", "80"], "clip: expected two percentiles"),
    "blur": (["photos", "--blur", "-1"], "smooth: expected 0 or a positive"),
    "batch": (["photos", "--batch-size", "0"], "batch_size: expected an integer, at least 1, got 0"),
    "no source": ([], "the following arguments are required"),
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_arguments_exit_with_2_and_say_which(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "empty").mkdir()
    draw(place / "photos" / "a.png")
    arguments, message = USAGE[name]
    defaults = [] if "--model" in arguments else ["--model", "cli_models:build"]
    assert explain(*arguments, *defaults, "--out", "out") == 2
    assert message in capsys.readouterr().err
    assert not (place / "out" / "report.html").exists()


def test_a_method_of_another_package_is_there_at_once(
    toy: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len([line for line in TOY.splitlines() if line.strip()]) <= 25
    photos(place)
    assert xai_fast.methods()["toy"].__name__ == "Toy"
    assert explain("--method", "toy", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--strength X factor of the input. (default: 1.0)" in text
    command = [sys.executable, "-c", "import sys; from xai_fast.cli import main; sys.exit(main())"]
    run = ["run", "--source", "photos", "--method", "toy", "--option", "strength=2", "--model", "cli_models:build"]
    done = subprocess.run(
        [*command, *run, "--out", "out", "--runner", "local", "--workers", "1"],
        env={"PYTHONPATH": f"{toy}:{Path(xai_fast.__file__).parent.parent}", "PATH": "/usr/bin:/bin"},
        cwd=place,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    explanation = jobs.open("out").explanation("toy", range(4))
    assert explanation.settings["strength"] == 2.0
    assert explanation.attributions.shape == (4, 3, 16, 16)
    assert cli.main(["jobs", "report", "out"]) == 0
    assert "toy" in (place / "out" / "report.html").read_text(encoding="utf-8")
    from xai_fast import doctor

    assert re.search(r"^  toy +toy_package\.Toy$", doctor.report(), re.MULTILINE)


def test_an_interrupted_run_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(place, 6)
    literal, calls = NeFLAG.explain, []

    def interrupted(self: NeFLAG, *arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return literal(self, *arguments, **options)

    monkeypatch.setattr(NeFLAG, "explain", interrupted)
    arguments = ("photos", *QUICK, "--shard-size", 2, "--out", "out")
    assert explain(*arguments) == 130
    assert "goes on from here" in capsys.readouterr().err
    before = jobs.status("out").done
    assert 0 < before < 6
    calls[:] = [()] * 3
    assert explain(*arguments) == 0
    assert len(calls) - 3 == (6 - before) // 2
    assert jobs.status("out").done == 6


@pytest.mark.parametrize("runner", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
def test_python_explain_and_run_give_the_same_bits(runner: str, place: Path) -> None:
    if runner == "ray":
        pytest.importorskip("ray")
    names = photos(place, 8)
    model = load("cli_models:build")
    x = torch.stack([model.transform(open_image(place / "photos" / name)) for name in sorted(names)])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected = NeFLAG(model.model, points=3, max_steps=9).explain(x, internal_batch_size=8)
    finally:
        torch.set_num_threads(threads)
    assert explain("photos", *QUICK, "--batch-size", 8, "--threads", 1, "--out", "explained") == 0
    job = {"source": "photos", "model": "cli_models:build", "dtype": "float32", "batch_size": 8}
    (place / "job.json").write_text(json.dumps({**job, "method": "neflag", "options": {"points": 3, "max_steps": 9}}))
    assert cli.main(["run", "job.json", "--out", "run", "--runner", runner, "--workers", "2", "--threads", "1"]) == 0
    for out in ("explained", "run"):
        stored = jobs.open(out).explanation("neflag", range(8))
        assert torch.equal(stored.attributions, expected.attributions), out
        assert torch.equal(stored.scores, expected.scores), out
    assert torch.get_num_threads() == threads


def test_a_list_of_pairs_with_the_layer_of_a_classifier(place: Path) -> None:
    names = photos(place)
    (place / "pairs.csv").write_text("x,y\n" + "".join(f"photos/{name},photos/{names[0]}\n" for name in names))
    options = ("--model", "cli_models:with_maps", "--layer", "body", "--cells", "2,3", "--similarity", "cosine")
    assert explain("pairs.csv", "--method", "bilrp", *options, "--out", "out") == 0
    model = load("cli_models:with_maps")
    x = torch.stack([model.transform(open_image(place / "photos" / name)) for name in names])
    expected = BiLRP(model.model, layer="body", cells=(2, 3), similarity="cosine").explain(x, x[[0] * len(x)])
    stored = jobs.open("out").explanation("bilrp", range(len(names)))
    torch.testing.assert_close(stored.attributions, expected.attributions, rtol=1e-4, atol=1e-7)
    assert stored.settings == expected.settings
    assert {entry["layers"][0]["kind"] for entry in entries(place / "out" / "report.html")} == {"links"}


def test_rows_of_a_table_with_an_estimator(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A function that returns one of scikit-learn is a model; bars have the names of the columns."""
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    (place / "kernel_models.py").write_text(
        "import numpy as np\nfrom sklearn.svm import OneClassSVM\n"
        "def load():\n    return OneClassSVM(nu=0.1).fit(np.random.default_rng(0).normal(size=(40, 2)))\n"
    )
    rows = np.array([[0.5, 7.0], [-6.0, 1.0]])
    (place / "rows.csv").write_text(
        "name,height,width\n" + "".join(f"row {i},{a},{b}\n" for i, (a, b) in enumerate(rows))
    )
    source = json.dumps({"path": "rows.csv", "id": "name"})
    assert explain(source, "--method", "neuralize", "--model", "kernel_models:load", "--out", "out") == 0
    expected = Neuralize(ModelRef("kernel_models:load").load().module).explain(rows)
    stored = jobs.open("out").explanation("neuralize", [0, 1])
    torch.testing.assert_close(stored.attributions.double(), expected.attributions, rtol=1e-5, atol=1e-6)
    shown = entries(place / "out" / "report.html")
    assert [(entry["name"], entry["layers"][0]["names"]) for entry in shown] == [
        ("row 0", ["height", "width"]),
        ("row 1", ["height", "width"]),
    ]
    assert explain('{"path": ', "--method", "saliency", "--out", "other") == 2
    assert "source: expected JSON within braces, got '{\"path\": '" in capsys.readouterr().err
