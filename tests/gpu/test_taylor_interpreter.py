"""The kernels that work on items in Triton's interpreter equal their references: every case, among guards."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton")
from kernel_runs import GUARD
from planted_bugs import PlantedBug, planted
from taylor_kernels import TRITON_CASES, find_case
from taylor_runs import ALONE, BUGS, check_alone, check_bad_index, run_guarded

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.usefixtures("_poisoned_memory"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of numpy, which interprets
]


@pytest.mark.parametrize(("operator", "case"), TRITON_CASES, ids=lambda value: getattr(value, "name", value))
def test_equals_the_reference(operator: str, case: Any) -> None:
    assert run_guarded(operator, case, before=GUARD + 1, after=GUARD) <= 1.0


@pytest.mark.parametrize(
    ("operator", "bug"),
    [(operator, bug) for operator, bug in BUGS if not bug.emulator_only],
    ids=lambda value: getattr(value, "what", value),
)
def test_a_planted_bug_is_noticed(operator: str, bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    case = find_case(operator, bug.case)
    with planted(bug, monkeypatch):
        assert run_guarded(operator, case, GUARD, GUARD) > 1.0


@pytest.mark.parametrize(("operator", "name"), ALONE)
def test_the_rest_of_the_batch_does_not_matter(operator: str, name: str) -> None:
    check_alone(operator, name)


@pytest.mark.parametrize(
    ("name", "value"), [("blocks", 3), ("blocks", -1), ("term_order", 3), ("term_order", -1), ("term_adjoint", 2)]
)
def test_an_index_out_of_range_shows(name: str, value: int) -> None:
    check_bad_index(name, value)
