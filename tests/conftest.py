"""Settings of all tests: the helpers beside this file are importable, and numbers do not depend on the run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
sys.path.append(str(Path(__file__).parent.parent))  # benchmarks; last, so that the installed package comes first

# What a shell runs in the background ignores SIGINT, and processes inherit that: those that tests interrupt, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch.manual_seed(0)
