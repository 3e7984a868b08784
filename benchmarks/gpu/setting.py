"""Where and how long a step may measure, and the clock of the device."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.measure import in_turn, wall_clock

__all__ = ["PRECISIONS", "Setting", "clocks", "precision"]

PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass
class Setting:
    """What a step is given.

    Attributes:
        out: folder of the results.
        rehearse: on the CPU, with tiny sizes.
        seconds: how long the step may take.
        name: of the step, whose results are in ``out/NAME.part.json``.
        found: its results so far, by name of the measurement.
    """

    out: Path
    rehearse: bool
    seconds: float
    name: str = ""
    found: dict[str, Any] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> torch.device:
        """The GPU, or in a rehearsal the CPU."""
        return torch.device("cpu" if self.rehearse else "cuda")

    def pick(self, real: Any, tiny: Any) -> Any:
        """Choose a size."""
        return tiny if self.rehearse else real

    def keep(self, name: str, **values: Any) -> None:
        """Write a result down, so that it is kept if the step is cut."""
        self.found[name] = values
        part = self.out / f"{self.name}.part.json"
        part.with_suffix(".new").write_text(json.dumps(self.found))
        part.with_suffix(".new").replace(part)

    def seconds_of(self, seconds: float = 3.0, **runs: Callable[[], object]) -> dict[str, float]:
        """Time functions in turn, for about so many seconds, at least 3 rounds; returns the median of each."""
        clock = wall_clock if self.rehearse else _device_clock
        most = time.monotonic() + seconds
        times = in_turn(runs, 1, self.pick(1, 0), clock)
        while len(next(iter(times.values()))) < self.pick(3, 1) or (
            not self.rehearse and time.monotonic() < most and len(next(iter(times.values()))) < 50
        ):
            for name, more in in_turn(runs, 1, 0, clock).items():
                times[name] += more
        return {name: median(of) for name, of in times.items()}


def _device_clock(run: Callable[[], object]) -> float:
    """Return the seconds from the first to the last of the work on the current stream."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Compute products of float32 in float32, or in TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name == "tf32"
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def clocks() -> Mapping[str, str]:
    """Ask nvidia-smi for clocks, power and temperature; nothing without it."""
    asked = ("name", "driver_version", "clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={','.join(asked)}", "--format=csv,noheader"],
            text=True,
            capture_output=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(asked, done.stdout.splitlines()[0].split(", "), strict=False))
