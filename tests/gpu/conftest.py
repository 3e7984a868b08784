"""Four groups of checks for the GPU kernels. Each needs a process of its own, so an ordinary run skips them.

Triton decides when it is imported whether kernels are interpreted, and the emulator takes the place of the driver.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

COMMANDS = {
    "interpreter": "TRITON_INTERPRET=1 python -m pytest -m interpreter tests/gpu",
    "gpu_gate": "python -m pytest -m gpu_gate tests/gpu",
    "emulator": "python -m pytest -m emulator tests/gpu",
    "host_threads": "python -m pytest -m host_threads tests/gpu",
}
REPORT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.option.markexpr.strip()
    interprets = os.environ.get("TRITON_INTERPRET") == "1"
    for item in items:
        for group, command in COMMANDS.items():
            if item.get_closest_marker(group) and (chosen != group or interprets != (group == "interpreter")):
                item.add_marker(pytest.mark.skip(reason=f"needs a process of its own: {command}"))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> list[str]:
    """Lines that are printed at the end of the run, also of one that passes."""
    return request.config.stash[REPORT]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in sorted(config.stash[REPORT]):
        terminalreporter.write_line(line)


@pytest.fixture
def _poisoned_memory() -> Iterator[None]:
    """Fill what torch.empty returns with NaN, so that a value that was never written is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def _emulator_folder() -> None:
    """Make the emulator of PTX importable."""
    beside = Path(__file__).parents[3] / "shared" / "gpu_check"
    folder = Path(os.environ.get("XAI_FAST_GPU_CHECK", beside))
    if not (folder / "ptx_driver.py").is_file():
        pytest.skip(f"no emulator in {folder}; set XAI_FAST_GPU_CHECK to the folder of ptx_driver.py")
    sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def _emulated_gpu(_emulator_folder: None) -> None:
    """Run what Triton compiles for sm_80 in an emulator of PTX, on tensors of the CPU."""
    emulated = importlib.import_module("ptx_driver").install(80)
    # Triton 3.9 unloads the kernels that it collects, some of them at exit: so the driver stays where it is.
    vars(emulated).setdefault("unload_module", lambda module: None)
