"""Settings of the tests of the store."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fsync is for is tested with simulated power failures; a real one takes its time and shows nothing."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
