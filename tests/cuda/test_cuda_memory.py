"""Memory on a CUDA device: it stays flat over many calls, and running out of it makes batches smaller."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from test_cuda_methods import moved
from test_methods import items_for, method_for
from torch import Tensor, nn

from xai_fast import taylor
from xai_fast.taylor.program import Program

pytestmark = pytest.mark.cuda
CALLS = {"cuda": 200, "cpu": 5}


def _in_use(device: torch.device) -> int:
    """Return the bytes of all tensors there."""
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    alive = [value for value in gc.get_objects() if issubclass(type(value), Tensor)]
    return sum({s.data_ptr(): s.nbytes() for s in (value.untyped_storage() for value in alive)}.values())


@pytest.mark.parametrize("name", ["neflag", "integrated_gradients", "lrp", "rise", "taylor_cam", "tnid_rows"])
def test_stays_flat_over_many_calls(name: str, device: torch.device) -> None:
    method, x = moved(method_for(name, torch.float32), device), items_for(name, torch.float32).to(device)
    for _ in range(3):
        method.explain(x)
    before = _in_use(device)
    for _ in range(CALLS[device.type]):
        method.explain(x)
    assert _in_use(device) <= before


ROOM = 1 << 28
"""Bytes that are left on a GPU; the pairs below want more than a gigabyte at once."""


@pytest.fixture
def shortage(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Leave little memory; in a rehearsal, pretend that more than 100 tangents do not fit. Gives the tries."""
    original, tried = Program.tangents, []

    def counted(self: Program, state: object, rows: dict[int, Tensor], *rest: object, **more: object) -> object:
        tried.append(max(row.shape[0] * row.shape[1] for row in rows.values()))
        if device.type == "cpu" and tried[-1] > 100:
            raise torch.OutOfMemoryError("pretended")
        return original(self, state, rows, *rest, **more)

    monkeypatch.setattr(Program, "tangents", counted)
    yield tried
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def test_running_out_of_memory_halves_the_rows(device: torch.device, shortage: list[int]) -> None:
    layers = [nn.Conv2d(8, 32, 3, padding=1), nn.GELU(), nn.Conv2d(32, 32, 3, padding=1), nn.GELU(), nn.Flatten()]
    side, directions = (64, 512) if device.type == "cuda" else (6, 128)
    model = nn.Sequential(*layers, nn.Linear(32 * side**2, 3)).eval().to(device)
    x, V = torch.rand(2, 8, side, side), torch.rand(2, directions, 8, side, side)
    x, V = x.to(device), V.to(device)
    few = taylor.bilinear_form(model, x, V[:, :8], target=0, method="forward")
    shortage.clear()
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        room = torch.cuda.memory_allocated(device) + ROOM
        torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info(device)[1], device)
    found = taylor.bilinear_form(taylor.prepare(model, x, target=0), x, V, method="forward")
    torch.testing.assert_close(found[:, :8, :8], few, rtol=1e-4, atol=1e-4 * float(few.abs().max()))
    assert max(shortage) > min(shortage)
