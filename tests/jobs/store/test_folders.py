"""Folders of a store: what a file server says when another machine was faster."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xai_fast.errors import StoreError
from xai_fast.jobs.store import folders

ACTIONS: dict[str, Callable[[folders.Folder], object]] = {
    "read": lambda folder: folder.read("a", 100),
    "names": lambda folder: folder.names(),
    "write": lambda folder: folder.write_first("b", b""),
}


class FileServer:
    """The module os over a file server whose folder was removed by another machine."""

    def __getattr__(self, name: str) -> Any:
        if name not in ("open", "unlink", "stat", "listdir", "link"):
            return getattr(os, name)

        def stale(*arguments: object, **options: object) -> None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        return stale


def test_a_folder_that_another_machine_removed_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with folders.Folder(tmp_path, "journal", create=True) as folder:
        monkeypatch.setattr(folders, "os", FileServer())
        assert folder.remove("a") is False
        assert folder.exists("a") is False
        for act in ACTIONS.values():
            with pytest.raises(StoreError, match="journal") as caught:
                act(folder)
            assert isinstance(caught.value.__cause__, FileNotFoundError)
        monkeypatch.undo()
