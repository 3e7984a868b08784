"""The memory that pairs of a real layer take, measured: at most the limit, and no limit below the one that is named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import re
import sys
import torch
from torch import nn
from xai_fast import TaylorCAM
from xai_fast.errors import InputError

torch.set_num_threads(1)
torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(3, 112, 1), nn.ReLU6(), nn.Conv2d(112, 192, 1), nn.ReLU6(),
    nn.Conv2d(192, 192, 5, padding=2, groups=192), nn.ReLU6(), nn.Conv2d(192, 96, 1), nn.ReLU6(),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10),
).eval().requires_grad_(False)
image = torch.rand(1, 3, 14, 14)

def peak():
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])

TaylorCAM(network, "1").explain(image[:, :, :4, :4])  # libraries are loaded and have their workspaces
def explain(limit):
    cam = TaylorCAM(network, "1", memory_limit=limit)
    network(image)
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    before = peak()
    try:
        found = cam.explain(image)
    except InputError as error:
        print("refused", error)
        return int(re.search("at least ([0-9]+) bytes", str(error))[1])
    print("took", peak() - before, float(found.attributions.sum()))
    return 0

if sys.argv[1:]:
    explain(int(sys.argv[1]))
else:  # only the last suffices, as what was freed hides what the next one takes
    least = explain(1 << 20)
    explain(least - 1)
    explain(least)
"""


def _explain(*limit: int) -> list[list[str]]:
    """Run with a limit; by default with one that is far too small, with one byte less than the least, and the least."""
    command = [sys.executable, "-c", MEASURE, *map(str, limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is read from Linux's /proc"
)
def test_pairs_of_14_by_14_by_112_obey_the_limit() -> None:
    refused, too_little, at_the_limit = _explain()
    assert refused[0] == too_little[0] == "refused"
    least = int(re.search(r"at least (\d+) bytes", " ".join(refused))[1])  # type: ignore[index]
    (far_above,) = _explain(8 * least)
    results = {least: at_the_limit, 8 * least: far_above}
    for limit, (word, taken, _) in results.items():
        assert word == "took", limit
        assert int(taken) <= limit
    totals = [float(total) for _, _, total in results.values()]
    assert max(totals) == pytest.approx(min(totals), rel=1e-4)
