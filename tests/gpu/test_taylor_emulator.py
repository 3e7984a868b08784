"""The kernels that work on items, compiled for sm_80 and run as PTX in an emulator, equal their references."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton")
from planted_bugs import PlantedBug, planted
from taylor_kernels import TRITON_CASES, find_case
from taylor_runs import ALONE, BUGS, check_alone, check_bad_index, run_guarded

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("_emulated_gpu", "_poisoned_memory")]


# Aligned and unaligned by turns; the gate compiles every specialisation for both.
SHIFTED = [(*row, at % 2) for at, row in enumerate(TRITON_CASES)]


@pytest.mark.parametrize(("operator", "case", "shift"), SHIFTED, ids=lambda value: getattr(value, "name", value))
def test_equals_the_reference(operator: str, case: Any, shift: int) -> None:
    assert run_guarded(operator, case, before=shift, after=0) <= 1.0


@pytest.mark.parametrize(("operator", "bug"), BUGS, ids=lambda value: getattr(value, "what", value))
def test_a_planted_bug_is_noticed(operator: str, bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    import ptx_emu

    case = find_case(operator, bug.case)
    with planted(bug, monkeypatch):
        try:
            right = run_guarded(operator, case, 0, 0) <= 1.0
        except ptx_emu.PtxError as error:
            right = "MEMCHECK" not in str(error)
    assert not right


@pytest.mark.parametrize(("operator", "name"), ALONE)
def test_the_rest_of_the_batch_does_not_matter(operator: str, name: str) -> None:
    check_alone(operator, name)


@pytest.mark.parametrize(
    ("name", "value"), [("blocks", 3), ("blocks", 2**30), ("term_order", -1), ("term_adjoint", 2**30)]
)
def test_an_index_out_of_range_shows_and_nothing_is_read_there(name: str, value: int) -> None:
    check_bad_index(name, value)
