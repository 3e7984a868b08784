"""The Triton kernels, compiled for sm_80 and run as PTX in an emulator, equal their references in every case.

The emulator checks every access for bounds and alignment, so tensors lie in storages that end where they end.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
from device_numbers import check_functions, check_known_answers
from kernel_comparison import ALL_CASES, OUTPUTS, deviation, find_case
from kernel_runs import ALONE, LONG_ROWS, check_alone, check_neflag, run, run_guarded
from planted_bugs import PLANTED_BUGS, PlantedBug, planted
from torch import Tensor

from xai_fast.attribution.sphere_steps import STEPS

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("_emulated_gpu", "_poisoned_memory")]


# Aligned and unaligned by turns; the gate compiles every specialisation for both.
SHIFTED = [(*row, at % 2) for at, row in enumerate([*ALL_CASES, *LONG_ROWS])]


@pytest.mark.parametrize(("kernel", "case", "shift"), SHIFTED, ids=lambda value: getattr(value, "name", value))
def test_equals_the_reference(kernel: str, case: Any, shift: int) -> None:
    assert run_guarded(kernel, case, before=shift, after=0) <= 1.0


@pytest.mark.parametrize("bug", PLANTED_BUGS, ids=lambda bug: f"{bug.kernel}: {bug.what}")
def test_a_planted_bug_is_noticed(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    import ptx_emu

    case = find_case(bug.kernel, bug.case)
    with planted(bug, monkeypatch):
        try:
            right = run_guarded(bug.kernel, case, 0, 0) <= 1.0
        except ptx_emu.PtxError as error:
            right = "MEMCHECK" not in str(error)
    assert not right


@pytest.mark.parametrize(("kernel", "name"), ALONE)
def test_the_rest_of_the_batch_does_not_matter(kernel: str, name: str) -> None:
    check_alone(kernel, name)


@pytest.mark.parametrize("step", STEPS)
def test_neflag_equals_neflag_on_the_references(step: str) -> None:
    check_neflag(step)


def test_philox_gives_the_published_words() -> None:
    check_known_answers()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logarithm_and_angle_of_every_uniform(dtype: torch.dtype) -> None:
    check_functions(dtype, block=1024)


FAR = {
    "random_points": find_case("random_points", "odd"),
    "flux_accumulate": find_case("flux_accumulate", "odd"),
}


@pytest.mark.parametrize("kernel", FAR)
def test_a_row_behind_two_billion_entries(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _check_far_row(kernel, monkeypatch)


def test_a_row_offset_in_32_bits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import ptx_emu

    old = "tl.store(points + row * entries"
    bug = PlantedBug("random_points", "int32", old, "tl.store(points + row.to(tl.int32) * entries", "odd")
    with planted(bug, monkeypatch), pytest.raises(ptx_emu.PtxError, match="MEMCHECK"):
        _check_far_row("random_points", monkeypatch)


def _check_far_row(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, entries = 2**15 + 1, 2**16  # the last row starts at entry 2^31
    _skip_idle_programs(monkeypatch, rows)
    case = dataclasses.replace(FAR[kernel], rows=1, items=1, entries=entries)
    expected = case.arguments()
    flag = "negative" if kernel == "flux_accumulate" else "active"
    expected[flag][:] = True
    expected["item"][:] = 0
    for name in ("points", "gradients"):
        if name in expected and expected[name].isnan().any():
            expected[name] = torch.randn(1, entries)
    arguments = {key: value.clone() if isinstance(value, Tensor) else value for key, value in expected.items()}
    run(kernel, expected, "reference")
    for name in {"points", "gradients", "item", "point", flag} & arguments.keys():
        arguments[name] = _last_of_many_rows(arguments[name], rows)
    run(kernel, arguments, "triton")
    if "points" in OUTPUTS[kernel]:
        arguments["points"] = arguments["points"][-1:]
    assert deviation(kernel, case.dtype, arguments, expected) <= 1.0


def _skip_idle_programs(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Leave out the programs of all rows but the last ones, which would return at once, but take minutes to do so."""
    import ptx_emu

    emulate = ptx_emu.Kernel._run

    def emulate_the_end(self: ptx_emu.Kernel, programs: np.ndarray, grid: tuple[int, ...], *rest: Any) -> None:
        total = math.prod(grid)
        if total <= rows or programs[-1] >= total - total // rows:
            emulate(self, programs, grid, *rest)

    monkeypatch.setattr(ptx_emu.Kernel, "_run", emulate_the_end)


def _last_of_many_rows(row: Tensor, rows: int) -> Tensor:
    """Return zeros, and the row at the end, in memory of which only the pages that are used exist."""
    no_reserve = 0x4000  # MAP_NORESERVE of Linux, which the module lacks before Python 3.13
    pages = mmap.mmap(-1, rows * row.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    many = torch.frombuffer(pages, dtype=row.dtype).view(rows, *row.shape[1:])
    many[-1] = row[0]
    return many
