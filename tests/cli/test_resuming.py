"""A run goes on from what an earlier one left."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import draw, run, summary
from report_data import entries

from xai_fast.cli import explainer, outputs

pytestmark = pytest.mark.usefixtures("place")


def test_a_second_run_keeps_what_is_still_right(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A module that is written twice in a second is as large and as old as its compiled form says.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    explained: list[int] = []
    literal = explainer.Explainer.explain

    def counting(self: Any, inputs: torch.Tensor, item_ids: list[int]) -> list:
        explained.append(len(item_ids))
        return literal(self, inputs, item_ids)

    monkeypatch.setattr(explainer.Explainer, "explain", counting)

    def computed(*arguments: str) -> int:
        explained.clear()
        assert run("photos", "--out", "photos/out", *arguments) == 0
        assert summary(place / "photos" / "out")["explained"] == len(list((place / "photos").glob("*.png")))
        return sum(explained)

    for seed in range(4):
        draw(place / "photos" / f"{seed}.png", seed)
    assert computed() == 4
    page = entries(place / "photos" / "out" / "report.html")
    assert computed() == 0
    assert "4 of them kept from before" in capsys.readouterr().out
    assert entries(place / "photos" / "out" / "report.html") == page

    # What only concerns the pictures needs no new maps.
    (place / "photos" / "out" / "overlays" / "1.png.png").unlink()
    assert computed("--smooth", "2", "--clip", "50", "90") == 0
    assert (place / "photos" / "out" / "overlays" / "1.png.png").is_file()

    draw(place / "photos" / "new.png", 8)
    draw(place / "photos" / "0.png", 9)
    (place / "photos" / "out" / "maps" / "1.png.npz").write_bytes(b"PK broken")
    outputs_of_2 = np.load(place / "photos" / "out" / "maps" / "2.png.npz")
    np.savez(place / "photos" / "out" / "maps" / "2.png.npz", attribution=outputs_of_2["attribution"])
    assert computed() == 4
    assert computed("--overwrite") == 5
    assert computed("--seed", "1") == 5
    assert computed("--seed", "1", "--model", "cli_models:build") == 0
    sources = (place / "cli_models.py").read_text()
    (place / "cli_models.py").write_text(sources.replace("def network(seed=0)", "def network(seed=7)"))
    sys.modules.pop("cli_models")
    assert computed("--seed", "1") == 5


def test_an_interrupted_run_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(4):
        draw(place / "photos" / f"{seed}.png", seed)
    literal = outputs.write_map
    written: list[Path] = []

    def write(path: Path, explanation: Any) -> None:
        literal(path, explanation)
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("xai_fast.cli.neflag.write_map", write)
    assert run("photos", "--out", "out", "--batch-size", 1) == 130
    assert "goes on from here" in capsys.readouterr().err
    assert run("photos", "--out", "out", "--batch-size", 1) == 0
    assert len(written) == 4
    assert not list(place.rglob("*.tmp"))
