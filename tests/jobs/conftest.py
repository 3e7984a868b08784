"""What several tests of long jobs share."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import browser as browser  # a fixture, for the tests here
from gallery_store import FAILED, HOSTILE, write_store


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gallery") / "a folder with # and ü"
    write_store(root, 150, ids=[HOSTILE, *(f"{i % 7}/photo {i}.png" for i in range(1, 150))], failed=FAILED)
    from xai_fast.jobs.gallery import report  # needs Pillow and matplotlib

    return report(root, class_names=["ant", HOSTILE])
