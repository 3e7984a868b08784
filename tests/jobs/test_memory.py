from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from xai_fast.errors import XaiFastError
from xai_fast.jobs import memory
from xai_fast.jobs.memory import ChunkSize, OutOfMemory, lacks_memory, peak_memory, reset_peak_memory
from xai_fast.jobs.store import Layout

CPU = torch.device("cpu")


class Device:
    """A device of so many bytes, of which an item takes so many, and the workspace so many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int, item: int, workspace: int = 0) -> None:
        self.size, self.item, self.workspace, self.peak = size, item, workspace, 0
        self.calls: list[int] = []
        monkeypatch.setattr(memory, "available_bytes", lambda device: size)
        monkeypatch.setattr(memory, "usable_bytes", lambda limit: limit)
        monkeypatch.setattr(memory, "reset_peak_memory", self.reset)
        monkeypatch.setattr(memory, "peak_memory", lambda device: self.peak)

    def reset(self, device: torch.device) -> int:
        self.peak = 0
        return 0

    def explain(self, items: int) -> None:
        self.calls.append(items)
        self.peak = max(self.peak, self.workspace + items * self.item)
        if self.peak > self.size:
            raise torch.OutOfMemoryError("no room")


@pytest.mark.parametrize(
    ("size", "item", "workspace", "items"),
    [
        pytest.param(1000, 100, 0, 8, id="ten fit, chunks are powers of two"),
        pytest.param(1000, 100, 650, 2, id="beside a workspace"),
        pytest.param(1000, 600, 0, 1, id="one fits"),
        pytest.param(1000, 0, 0, 32, id="no more than is of use"),
        pytest.param(1000, 2000, 0, 1, id="none fits, which the work itself will tell"),
    ],
)
def test_what_fits_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, item: int, workspace: int, items: int
) -> None:
    device = Device(monkeypatch, size, item, workspace)
    layout = Layout(tmp_path)
    first = ChunkSize(layout, CPU)
    assert first.items is None
    assert first.probe(device.explain, 2) == items
    assert sum(device.calls) <= 4
    assert ChunkSize(layout, CPU).items == items, "the other workers take it over"
    assert ChunkSize(layout, CPU, asked=5).items == 5, "what the user asks for now counts"


def test_one_item_is_enough_where_memory_is_plenty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, 10_000, 100, 200)
    assert ChunkSize(Layout(tmp_path), CPU).probe(device.explain, 2) == 32
    assert device.calls == [1]


def test_workers_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    first, second = ChunkSize(layout, CPU), ChunkSize(layout, CPU)
    first.probe(Device(monkeypatch, 1000, 100).explain, 2)
    assert second.probe(Device(monkeypatch, 1000, 300).explain, 2) == 8
    assert second.halve(8, MemoryError()) == 4
    assert ChunkSize(layout, CPU).items == 4
    assert first.halve(8, MemoryError()) == 4, "no worker forgets what another one has found"
    assert second.halve(4, MemoryError()) == 2
    assert first.halve(4, MemoryError()) == 2
    third = ChunkSize(layout, CPU, asked=16)
    assert third.halve(16, MemoryError()) == 8
    assert ChunkSize(layout, CPU, asked=16).items == 8
    fourth = ChunkSize(layout, CPU)
    assert fourth.probe(Device(monkeypatch, 1000, 100).explain, 2) == 8
    assert ChunkSize(layout, CPU).items == 8


def test_errors_of_other_kinds_come_through(tmp_path: Path) -> None:
    def wrong(items: int) -> None:
        raise RuntimeError("wrong")

    with pytest.raises(RuntimeError, match="wrong"):
        ChunkSize(Layout(tmp_path), CPU).probe(wrong, 2)


def test_the_last_resort(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"batch_size \(now None, as many as fit; 1 was tried\).*device \(now cpu\)"):
        ChunkSize(Layout(tmp_path), CPU).halve(1, MemoryError("no room"))
    assert issubclass(OutOfMemory, XaiFastError)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_which_errors_are_of_memory(error: Exception, answer: bool) -> None:
    assert lacks_memory(error) is answer


def test_the_peak_of_this_process_is_measured() -> None:
    before = reset_peak_memory(CPU)
    block = torch.ones(1 << 24)
    del block
    assert peak_memory(CPU) - before > 1 << 25


def test_kinds_of_devices_are_remembered_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(name="NVIDIA A100-SXM4", total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    ChunkSize(Layout(tmp_path), torch.device("cuda:0")).halve(64, MemoryError())
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["memory-cuda-NVIDIA_A100_SXM4-80GiB.json"]
    assert ChunkSize(Layout(tmp_path), CPU).items is None
    assert ChunkSize(Layout(tmp_path), torch.device("cuda:1")).items == 32
