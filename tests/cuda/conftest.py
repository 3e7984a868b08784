"""Checks on a CUDA device, which an ordinary run skips. ``XAI_FAST_CHECK_DEVICE=cpu`` rehearses them on the CPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]  # these checks, and test_methods


def pytest_configure(config: pytest.Config) -> None:
    if _is_chosen(config) and _device().type == "cuda":
        # CUDA's libraries warn of what is no error, such as a thread without a context.
        config.addinivalue_line("filterwarnings", "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = _is_chosen(config)
    reason = "needs a run of its own: python tests/run_states.py cuda"
    if chosen and _device().type == "cuda" and not torch.cuda.is_available():
        chosen, reason = False, "needs a CUDA device, or XAI_FAST_CHECK_DEVICE=cpu for a rehearsal"
    for item in items:
        if item.get_closest_marker("cuda") and not chosen:
            item.add_marker(pytest.mark.skip(reason=reason))


def _is_chosen(config: pytest.Config) -> bool:
    return bool(config.option.markexpr.strip() == "cuda")


def _device() -> torch.device:
    return torch.device(os.environ.get("XAI_FAST_CHECK_DEVICE", "cuda"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that is checked; in a rehearsal the CPU."""
    return _device()


@pytest.fixture(autouse=True)
def _full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 where tensors are: cuDNN would round to TF32 by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before
