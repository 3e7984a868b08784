"""What is printed reaches any terminal, and nobody minds when the reader goes."""

from __future__ import annotations

import copy
import io
import re
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from xai_fast import TNID, InteractionRanking, NeFLAG, TaylorCAM, fit_mlp, jobs, shared, terminal
from xai_fast.interaction import FAST
from xai_fast.metrics import insertion_deletion, pixel_flipping, pointing_game
from xai_fast.terminal import printable, say


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "R\u00b2 \u2192 \u2265"), ("ascii", "R? ? ?"), ("latin-1", "R\u00b2 ? ?")]
)
@pytest.mark.parametrize("error", [False, True])
def test_letters_that_a_terminal_lacks_are_replaced(
    error: bool, encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr" if error else "stdout", io.TextIOWrapper(written, encoding))
    say("R\u00b2 \u2192 \u2265", error=error)
    assert written.getvalue().decode(encoding) == shown + "\n"


def test_bytes_of_a_name_that_are_no_text_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    say("photo\udcff.png")
    assert capsys.readouterr().out == "photo?.png\n"


def test_what_does_things_to_a_terminal_is_marked() -> None:
    assert printable("a\x1b[2J\nb\u202e\udcff\u2028c é") == "a\ufffd[2J\ufffdb\ufffd\ufffd\ufffdc é"


PROGRAM = "import sys; from xai_fast.cli import main; sys.exit(main())"
COMMANDS = {
    "help": ["--help"],
    "status": ["jobs", "status", "job"],
    "wrong": ["jobs", "status", "gone"],
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a job lies, in the folder job."""
    place = tmp_path_factory.mktemp("place")
    np.save(place / "x.npy", np.zeros((4, 3, 28, 28), np.float32))
    jobs.run(
        jobs.JobSpec(
            source=str(place / "x.npy"),
            method="gradcam",
            options={"layer": "features"},
            model="xai_fast.models.generated_shapes:small_classifier",
        ),
        place / "job",
        workers=0,
    )
    return place


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_has_gone_is_no_error(name: str, job: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *COMMANDS[name]],
        cwd=job,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"},
    )
    program.stdout.close()  # before it has written anything
    complaints = program.stderr.read().decode()
    program.stderr.close()
    assert program.wait(60) == (1 if name == "wrong" else 0)
    assert complaints.startswith("xai-fast: gone") == (name == "wrong"), complaints
    assert "Traceback" not in complaints
    assert "BrokenPipe" not in complaints


def test_only_one_function_logs_and_warns() -> None:
    """So that nothing is said twice, and all of it can be found."""
    package = Path(terminal.__file__).parent
    told = re.compile(r"warnings\.warn\(|[lL](og|OG|ogger)\.(warning|error|info)\(")
    assert {path.name for path in package.rglob("*.py") if told.search(path.read_text())} == {"terminal.py"}


class Slotted:
    __slots__ = ()


def test_a_notice_is_said_once_of_each_thing(caplog: pytest.LogCaptureFixture) -> None:
    first, second, slotted = nn.Identity(), nn.Identity(), Slotted()
    for about in (first, first, second, None, None, slotted):
        terminal.tell("a notice of this test", about)
    assert caplog.messages == ["a notice of this test"] * 3  # the last one as of the whole process
    with pytest.warns(UserWarning, match="a result") as told:
        terminal.tell("a result of this test", first, stacklevel=1)
    terminal.tell("a result of this test", first, stacklevel=1)  # as an error, if it were said
    assert told[0].filename == __file__


torch.manual_seed(0)
SOFTMAX = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Softmax(1)).eval()
RELU = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Tanh(), nn.Linear(8, 1)).eval()
MAPS = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU(), nn.Upsample(size=(5, 3)), nn.Flatten(), nn.Linear(60, 2)).eval()
X, ROWS = torch.rand(6, 3, 4, 4), torch.rand(6, 4)
SAID = {
    "probabilities": (
        lambda: NeFLAG(SOFTMAX, points=2).explain(X, internal_batch_size=2),
        r"outputs are probabilities already, and score='auto' takes them for logits; score=\"output\" explains the",
    ),
    "metrics of probabilities": (
        lambda: insertion_deletion(copy.deepcopy(SOFTMAX), X, X, steps=3, internal_batch_size=2),
        r"outputs are probabilities already, and score='probability' takes them for logits",
    ),
    "an argument with as many rows as items": (
        lambda: NeFLAG(lambda x, w: SOFTMAX[:2](x) + w[:, None].mean(), points=2).explain(
            X, 0, torch.rand(6), internal_batch_size=2
        ),
        r"additional_forward_args\[0\]: a tensor \(6,\) is taken as one row per item.*shared\(tensor\)",
    ),
    "kinks": (
        lambda: TNID(RELU, order=3).detect(ROWS),
        'the score has relu: .* are not found; smooth="gelu"',
    ),
    "no interactions": (
        lambda: TNID(lambda v: (v**2).sum(1), order=2).detect(ROWS),
        "every interaction is exactly zero",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_each_call_says_what_it_changed_and_nothing_twice(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_said", weakref.WeakKeyDictionary())
    call, expected = SAID[name]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        call()
    said = [*caplog.messages, *(str(one.message) for one in told)]
    (line,) = [one for one in said if "runs on the reference backend" not in one]  # where nothing is compiled
    assert len(set(said)) == len(said)
    assert re.search(expected, line)


def item_result() -> object:
    reader = pytest.importorskip("xai_fast.jobs.store.reader")
    return reader.ItemResult(3, "a.png", reader.Status.OK, None, {"maps": torch.rand(9)})


def image_model() -> object:
    return pytest.importorskip("xai_fast.images").ImageModel(SOFTMAX, "mine", class_names=("a",) * 1000)


RANKING = InteractionRanking.from_effects([f"x{i}" for i in range(500)], {(0, i): 1.0 / i for i in range(1, 500)})
REPRS = {
    "neflag": (lambda: NeFLAG(SOFTMAX, points=2), ["NeFLAG(Sequential, radius=0.1, points=2, ", "seed=0"]),
    "tnid": (lambda: TNID(RELU, order=3), ["TNID(Sequential, order=3, "]),
    "no model": (lambda: FAST(), ["FAST("]),
    "explanation": (
        lambda: NeFLAG(SOFTMAX, points=2, score="output").explain(X),
        ["FluxExplanation(6 items of neflag: attributions float32 (6, 3, 4, 4), scores float32 (6,)", "'points': 2"],
    ),
    "interaction map": (
        lambda: TaylorCAM(MAPS, "2").explain(X),
        ["InteractionMap(6 items of taylor_cam: attributions float32 (6, 15, 15)", "grid=[5, 3]", "layer='2'"],
    ),
    "ranking": (lambda: RANKING, ["InteractionRanking(feature_names=('x0', 'x1'", "sets=int64 (499, 2)"]),
    "order": (lambda: RANKING.order(2), ["OrderRanking(sets=int64 (499, 2), effects=float64 (499,)", "candidates=499"]),
    "insertion": (
        lambda: insertion_deletion(SOFTMAX, X, X, steps=3, score="output"),
        ["InsertionDeletion(deletion=float32 (6,), ", "insertion_curves=float32 (6, 4)", "'steps': 3"],
    ),
    "flipping": (lambda: pixel_flipping(SOFTMAX, X, X, score="output"), ["PixelFlipping(aopc=float32 (6,), "]),
    "pointing": (lambda: pointing_game(X, [[0, 0, 1, 1]] * 6), ["hits=bool (6,)", "points=int64 (6, 2)"]),
    "network": (lambda: fit_mlp(ROWS, ROWS[:, 0], epochs=2), ["FittedMLP(model=Sequential, task='regression'"]),
    "shared": (lambda: shared(torch.rand(99)), ["Shared(value=float32 (99,))"]),
    "classifier": (image_model, ["ImageModel(model=Sequential, name='mine', size=(224, 224)"]),
    "item of a store": (item_result, ["ItemResult(index=3, id='a.png'", "fields={'maps': float32 (9,)}"]),
}


@pytest.mark.parametrize("name", REPRS)
def test_a_repr_tells_shapes_and_settings_and_no_numbers(name: str) -> None:
    make, parts = REPRS[name]
    text = repr(make())
    assert [part for part in parts if part not in text] == []
    assert len(text) < 2000
    assert "\n" not in text
    assert "tensor([" not in text
    assert " object at 0x" not in text
