"""What is printed reaches any terminal, and nobody minds when the reader goes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xai_fast import jobs
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
