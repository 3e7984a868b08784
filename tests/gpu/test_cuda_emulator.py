"""The CUDA kernels, compiled for sm_80 by nvcc and run as PTX in an emulator, equal their references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_builds import SourceBug, needs_compiler, needs_nvcc
from cuda_emulator import Emulator, with_named_parameters
from cuda_runs import ALL_CASES, BUGS, KERNELS, find_case, right, sums_agree
from kernel_cases.tuple_join import Case

from xai_fast import use_backend
from xai_fast.kernels import tuple_sum

pytestmark = [pytest.mark.emulator, pytest.mark.usefixtures("_emulator_folder"), needs_nvcc, needs_compiler]


@pytest.fixture(scope="module")
def emulators(_emulator_folder: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Emulator]:
    """One emulator for each kernel, by name."""
    return {kernel: Emulator(kernel, tmp_path_factory.mktemp(kernel)) for kernel in KERNELS}


@pytest.mark.parametrize(("kernel", "case"), ALL_CASES, ids=lambda value: getattr(value, "name", value))
def test_equals_the_reference(
    kernel: str, case: Any, emulators: dict[str, Emulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert right(kernel, case, emulators[kernel].running(monkeypatch))


def test_more_blocks_than_one_block_adds_at_a_time(
    emulators: dict[str, Emulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("many blocks", parents=3, order=2, features=100_000, window=(0, 263_000))
    assert right("tuple_join", case, emulators["tuple_join"].running(monkeypatch))


@pytest.mark.parametrize(
    "bug", [bug for bug in BUGS if "waited" not in bug.what], ids=lambda bug: f"{bug.kernel}: {bug.what}"
)
def test_a_planted_bug_is_noticed(
    bug: SourceBug, emulators: dict[str, Emulator], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ptx_emu

    emulator, case = emulators[bug.kernel], find_case(bug.kernel, bug.case)
    with emulator.with_bug(bug, tmp_path):
        try:
            is_right = right(bug.kernel, case, emulator.running(monkeypatch))
        except ptx_emu.PtxError as error:
            is_right = not any(check in str(error) for check in ("MEMCHECK", "RACECHECK"))
    assert not is_right


@pytest.mark.parametrize(("case", "column"), [("triples", 0), ("quintuples", 14)])
@pytest.mark.parametrize("index", [-1, 10**6])
def test_a_row_that_is_not_there_makes_its_tuple_nan(
    case: str, column: int, index: int, emulators: dict[str, Emulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, arguments = (find_case("tuple_sum", case).arguments() for _ in range(2))
    with use_backend("reference"):
        tuple_sum(**expected)
    expected["out"][:, 3] = torch.nan
    arguments["members"][3, column] = index
    with emulators["tuple_sum"].running(monkeypatch), use_backend("cuda"):
        tuple_sum(**arguments)
    assert sums_agree(arguments["out"], expected["out"])


def test_parameters_get_their_names_back() -> None:
    text = (
        ".entry k(\n.param .b8 k_param_0[32]\n)\nmov.b64 \t%rd1, k_param_0;\nadd.s64 \t%rd2, %rd1, 16;\n"
        "ld.param.u64 \t%rd3, [%rd2+-8];\nadd.s64 %rd4, %rd3, 1;\n"
    )
    named = ".entry k(\n.param .b8 k_param_0[32]\n)\nld.param.u64 \t%rd3, [k_param_0+8];\nadd.s64 %rd4, %rd3, 1;\n"
    assert with_named_parameters(text) == named
    with pytest.raises(ValueError, match="used for more than to read it"):
        with_named_parameters(text + "st.global.u64 [%rd3], %rd2;\n")
