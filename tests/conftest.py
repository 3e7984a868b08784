"""Settings of all tests: the helpers beside this file are importable, and numbers do not depend on the run."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "helpers"))
sys.path.append(str(Path(__file__).parent.parent))  # benchmarks; last, so that the installed package comes first

# What a shell runs in the background ignores SIGINT, and processes inherit that: those that tests interrupt, too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what is imported stays; looking through it at each collection of garbage would take long


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed notes for CUDA who called it, which takes a millisecond
