"""The other commands, and the program as a process."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest
from command_line import QUICK, draw, summary

from xai_fast import cli
from xai_fast.cli import demo
from xai_fast.suites import MODEL_NAMES

pytestmark = pytest.mark.usefixtures("place")


def test_the_demo_explains_the_photos_of_installed_packages(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_explain_bikeshare", lambda device, out: None)
    for module in ("skimage", "sklearn", "foolbox"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the package {module}")
    assert cli.main(["demo", *QUICK, "--out", "out"]) == 0
    content = summary(place / "out")
    assert content["explained"] == 27
    assert content["settings"]["aggregate"] == "magnitude"
    assert content["items"][-1]["label"] == 305
    assert capsys.readouterr().out.splitlines()[-1] == "report: out/report.html"


def test_doctor_prints_its_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    doctor = types.ModuleType("xai_fast.doctor")
    doctor.report = lambda: "all is well"
    monkeypatch.setitem(sys.modules, "xai_fast.doctor", doctor)
    monkeypatch.setattr("xai_fast.doctor", doctor, raising=False)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == "all is well\n"


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["neflag", "--help"]) == 0
    text = "".join(capsys.readouterr().out.split())  # argparse breaks lines within names
    assert "exitcodes" in text
    assert ",".join(MODEL_NAMES) in text
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("xai-fast ")
    assert cli.main([]) == 2


@pytest.mark.slow
def test_as_a_program_standard_output_is_clean(place: Path) -> None:
    draw(place / "photos" / "a.png")
    program = [sys.executable, "-c", "import sys; from xai_fast.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*program, "neflag", "photos", "--out", "out", *QUICK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    # Without the compiled module each kernel says once what it runs on.
    said = [line for line in done.stderr.splitlines() if "runs on the reference backend" not in line]
    assert said == []
    assert len(done.stdout.splitlines()) == 2
