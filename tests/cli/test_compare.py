"""``xai-fast compare``: jobs that are killed go on without loss, and what is printed and written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import draw

import xai_fast
from xai_fast import Comparison, cli
from xai_fast.images import open_image
from xai_fast.models import load

pytestmark = pytest.mark.usefixtures("place")

METRICS = "insertion_deletion(steps=3),max_sensitivity(samples=1),sparseness"
METHODS = "saliency,neflag(points=2,score=output),captum:IntegratedGradients(n_steps=3)"
SLOW = """
import time
from cli_models import *
from cli_models import network

class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()
    def forward(self, x):
        time.sleep(0.03)
        return self.network(x)

def build_slow():
    return image_model(Slow())
"""


def compare(*arguments: object) -> int:
    return cli.main(["compare", "--workers", "0", *map(str, arguments)])


def photos(place: Path, count: int = 5) -> list[str]:
    names = [f"{i}.png" for i in range(count)]
    for seed, name in enumerate(names):
        draw(place / "photos" / name, seed)
    return names


def test_pictures_become_a_comparison(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("captum")
    names = photos(place)
    given = ("photos", "--model", "cli_models:build", "--metrics", METRICS, "--seed", 3, "--limit", 4, "--out", "out")
    assert compare(*given, "--methods", METHODS) == 0
    printed = capsys.readouterr().out
    found = Comparison.load(place / "out" / "comparison.safetensors")
    methods = ("random", "edges", "saliency", "neflag(points=2,score=output)", "captum:IntegratedGradients(n_steps=3)")
    kept = names[:4]  # of five, i * 5 // 4
    assert (found.methods, found.items) == (methods, tuple(kept))
    assert {"comparison.html", "comparison.csv", "comparison.json"} < set(os.listdir(place / "out"))
    assert json.loads((place / "out" / "comparison.json").read_text())["items"] == 4
    assert all(f"\n{method} " in printed for method in methods)
    assert printed.splitlines()[-1] == "report: out/comparison.html"
    assert all(line in printed for line in found.conclusions())

    model = load("cli_models:build")
    x = torch.stack([model.transform(open_image(place / "photos" / name)) for name in kept])
    metrics = METRICS.replace("steps=3", "steps=3,black=[-1,-1,-1]", 1)
    options = "neflag(points=2,score=output,radius=0.3,aggregate=magnitude)"  # those of the gallery
    listed = ["saliency", options, "captum:IntegratedGradients(n_steps=3)"]
    expected = xai_fast.compare(model.model, x, methods=listed, metrics=metrics, seed=3)
    for got, wanted in zip(found.scores.values(), expected.scores.values(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    assert torch.equal(found.evaluations, expected.evaluations)

    # Another method joins, and what was computed is kept.
    before = times(place / "out")
    assert compare(*given, "--methods", f"{METHODS},gradient_x_input") == 0
    assert Comparison.load(place / "out" / "comparison.safetensors").methods == (*methods, "gradient_x_input")
    assert before.items() < times(place / "out").items()


def times(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.glob("methods/*/shards/*/*.safetensors")}


def test_killed_and_resumed_without_loss(place: Path) -> None:
    """Killed within the first method and within others: what was done is kept, and the rest is the same."""
    photos(place, 6)
    (place / "slow_models.py").write_text(SLOW)
    program = "import sys; from xai_fast.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = [
        "compare",
        "photos",
        "--workers",
        "0",
        "--methods",
        "saliency,smoothgrad(samples=2)",
        "--metrics",
        METRICS,
    ]
    arguments += ["--shard-size", "2", "--threads", "1", "--model", "slow_models:build_slow", "--out"]
    environment = {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{Path(xai_fast.__file__).parents[1]}"}
    kept: dict[str, int] = {}
    for shards in (1, 7):
        run = subprocess.Popen([sys.executable, "-c", program, *arguments, "out"], env=environment)
        while len(times(place / "out")) < shards and run.poll() is None:
            time.sleep(0.01)
        run.kill()
        assert run.wait() == -signal.SIGKILL
        assert kept.items() <= times(place / "out").items()
        kept = times(place / "out")
        assert shards <= len(kept) < 12
    assert cli.main([*arguments, "out"]) == 0
    assert kept.items() < times(place / "out").items()
    assert cli.main([*arguments, "undisturbed"]) == 0
    got, expected = (Comparison.load(place / name / "comparison.safetensors") for name in ("out", "undisturbed"))
    assert (got.methods, got.items) == (expected.methods, expected.items)
    for name, scores in expected.scores.items():
        assert torch.equal(got.scores[name], scores), name
    assert torch.equal(got.maps, expected.maps)
    assert torch.equal(got.evaluations, expected.evaluations)


def test_items_and_methods_that_fail_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(place, 3)
    (place / "photos" / "1.png").write_bytes(b"no picture")
    given = ("photos", "--model", "cli_models:build", "--metrics", "sparseness", "--out", "out")
    assert compare(*given, "--methods", "saliency,attention_rollout") == 3
    printed = capsys.readouterr().out
    found = Comparison.load(place / "out" / "comparison.safetensors")
    assert found.methods == ("random", "edges", "saliency")
    assert found.scores["sparseness"].isnan().any(0).tolist() == [False, True, False]
    assert "not compared: attention_rollout (" in printed


def test_other_metrics_need_another_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos(place, 2)
    given = ("photos", "--model", "cli_models:build", "--methods", "saliency", "--out", "out", "--metrics")
    assert compare(*given, "sparseness") == 0
    assert compare(*given, "complexity") == 2
    assert "out: expected another folder, or out with its metrics sparseness, got complexity" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["rows.csv", "rows.npy"])
def test_rows_of_a_table(place: Path, source: str) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    rows = np.random.default_rng(0).normal(size=(12, 3))
    np.savetxt(place / "rows.csv", rows, "%.6f", ",", header="a,b,c", comments="")
    np.save(place / "rows.npy", rows)
    model = "import numpy as np\nfrom sklearn.svm import OneClassSVM\n"
    model += f"def load():\n    return OneClassSVM(gamma=0.5).fit(np.array({rows.tolist()}))\n"
    (place / "estimators.py").write_text(model)
    given = (source, "--model", "estimators:load", "--limit", 10, "--out", "out")
    assert compare(*given, "--methods", "neuralize,gradient_x_input,shapley_sampling(permutations=20)") == 0
    found = Comparison.load(place / "out" / "comparison.safetensors")
    assert found.methods == ("random", "neuralize", "gradient_x_input", "shapley_sampling(permutations=20)")
    assert found.items == tuple(map(str, range(10)))
    assert found.maps is not None
    assert found.maps.shape == (4, 10, 3)
    assert all(scores.isfinite().all() for scores in found.scores.values())


REFUSED = {
    "a method": (["--methods", "salience"], 2, "did you mean 'saliency'"),
    "an option": (["--methods", "saliency(x=1)"], 2, "an option of saliency"),
    "a layer": (["--methods", "gradcam"], 2, "--layer: expected a layer of cli_models:build"),
    "a metric": (["--metrics", "roads"], 2, "metrics: expected one of"),
    "boxes": (["--metrics", "pointing_game"], 2, "metrics: expected boxes"),
    "a file of boxes": (["--boxes", "nowhere.json"], 2, "--boxes: nowhere.json cannot be read"),
    "a metric that fails": (["--metrics", "relative_representation_stability"], 1, "no item can be measured"),
    "items": (["--limit", "0"], 2, "limit: expected an integer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said(place: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    photos(place, 2)
    arguments, code, message = REFUSED[case]
    given = ("photos", "--model", "cli_models:build", "--out", "out")
    defaults = ["--methods", "saliency", "--metrics", "sparseness"]
    assert compare(*given, *defaults, *arguments) == code
    assert message in capsys.readouterr().err
