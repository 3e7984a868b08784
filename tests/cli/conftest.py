from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command_line import MODELS, install_toy


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a module of models."""
    (tmp_path / "cli_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("cli_models", None)
    return tmp_path


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed package that has a method."""
    folder = tmp_path / "site"
    folder.mkdir()
    install_toy(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "toy_package", raising=False)
    return folder
