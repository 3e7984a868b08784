"""What several tests of long jobs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from batch_faults import make_spec, results
from browser import browser as browser  # a fixture, for the tests here

from xai_fast.jobs import run


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What an undisturbed run gives."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run(make_spec(), out, workers=0, progress=False)
    return results(out)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fsync is for is tested with simulated power failures; a real one takes its time and shows nothing."""
    monkeypatch.setattr("os.fsync", lambda fd: None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures in two folders."""
    image = pytest.importorskip("PIL.Image")
    for i in range(6):
        path = tmp_path / "photos" / "ab"[i // 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (8, 8), (40 * i, 0, 0)).save(path)
    return tmp_path / "photos"
