"""Chunks fit the limit, and the least limit that an error names is enough."""

from __future__ import annotations

import itertools
import re

import pytest
import torch

from xai_fast.engine.memory import available_bytes, checked_limit, is_out_of_memory, least_limit, usable_bytes
from xai_fast.errors import InputError
from xai_fast.taylor.planner import plan_pairs, plan_sets

PAIRS = [
    {"items": items, "left": left, "right": right, "base": 1000, "kept": kept, "transient": 300,
     "streamed": streamed,
     "given": 50, "on_cpu": cpu}
    for items, left, right, kept, streamed, cpu in itertools.product(
        (1, 7), (1, 5, 64), (0, 3), (10, 4000), (20, 300), (False, True)
    )
]  # fmt: skip


def least_in(caught: pytest.ExceptionInfo[InputError]) -> int:
    found = re.search(r"at least (\d+) bytes", str(caught.value))
    assert found is not None
    return int(found.group(1))


@pytest.mark.parametrize("sizes", PAIRS)
def test_pairs_fit_the_limit_and_the_least_limit_works(sizes: dict[str, int]) -> None:
    with pytest.raises(InputError, match="memory_limit") as caught:
        plan_pairs(limit=1, **sizes)
    least = least_in(caught)
    for limit in (least, 2 * least, 50 * least, 10**9):
        items, row_chunk, group, peak, named = plan_pairs(limit=limit, **sizes)
        assert named == least
        assert peak <= limit
        assert 1 <= items <= sizes["items"]
        assert row_chunk >= 1
        assert 1 <= group <= max(sizes["left"], sizes["right"])
    with pytest.raises(InputError):
        plan_pairs(limit=least - 1, **sizes)


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("rows", [1, 100])
def test_sets_fit_the_limit_and_the_least_limit_works(rows: int, on_cpu: bool) -> None:
    sizes = {"items": 9, "rows": rows, "base": 100, "row": 17, "on_cpu": on_cpu}
    with pytest.raises(InputError, match="memory_limit") as caught:
        plan_sets(limit=1, **sizes)
    least = least_in(caught)
    for limit in (least, 3 * least, 10**9):
        items = plan_sets(limit=limit, **sizes)
        assert items * (100 + rows * 17) <= limit
        assert 1 <= items <= 9
    assert plan_sets(limit=10**9, **sizes) == 9
    with pytest.raises(InputError):
        plan_sets(limit=least - 1, **sizes)


def test_limits() -> None:
    cpu = torch.device("cpu")
    assert checked_limit(12345, cpu) == 12345
    assert checked_limit(None, cpu) > 0
    assert available_bytes(cpu) >= 1 << 26
    for wrong in (0, -1, True, 1.5, "much"):
        with pytest.raises(InputError, match="memory_limit: expected a positive number of bytes"):
            checked_limit(wrong, cpu)


def test_what_counts_as_running_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(RuntimeError("Unable to find a valid cuDNN algorithm: not enough memory"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(RuntimeError("shapes"))


@pytest.mark.parametrize("needed", [1, 14, 15, 16, 17, 1_000, 36_735_720, 36_735_721])
def test_the_least_limit_is_the_least(needed: int) -> None:
    least = least_limit(needed)
    assert usable_bytes(least) >= needed
    assert usable_bytes(least - 1) < needed
