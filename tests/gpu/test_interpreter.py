"""The Triton kernels in Triton's interpreter equal their references: every case, among guards."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("triton")
from device_numbers import check_functions, check_known_answers
from kernel_comparison import ALL_CASES, find_case
from kernel_runs import ALONE, GUARD, check_alone, check_neflag, run_guarded
from planted_bugs import PLANTED_BUGS, PlantedBug, planted

from xai_fast.attribution.sphere_steps import STEPS

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.usefixtures("_poisoned_memory"),
    # numpy, which interprets, warns about a division by zero; a GPU does not, and the kernels select the result away.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


@pytest.mark.parametrize(("kernel", "case"), ALL_CASES, ids=lambda value: getattr(value, "name", value))
def test_equals_the_reference(kernel: str, case: Any) -> None:
    assert run_guarded(kernel, case, before=GUARD + 1, after=GUARD) <= 1.0


@pytest.mark.parametrize(
    "bug", [bug for bug in PLANTED_BUGS if not bug.emulator_only], ids=lambda bug: f"{bug.kernel}: {bug.what}"
)
def test_a_planted_bug_is_noticed(bug: PlantedBug, monkeypatch: pytest.MonkeyPatch) -> None:
    case = find_case(bug.kernel, bug.case)
    with planted(bug, monkeypatch):
        assert run_guarded(bug.kernel, case, GUARD, GUARD) > 1.0


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
    check_functions(dtype, block=1 << 16)
