from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batch_faults import check_clean, check_undisturbed, driver_of, make_spec

from xai_fast.errors import InputError
from xai_fast.jobs import open as open_store
from xai_fast.jobs import run
from xai_fast.jobs.runners.rank import find_rank


@pytest.mark.parametrize(
    ("environment", "given", "found"),
    [
        pytest.param({"RANK": "2", "WORLD_SIZE": "4", "SLURM_PROCID": "9"}, {}, (2, 4), id="torchrun"),
        pytest.param({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}, {}, (3, 8), id="SLURM array"),
        pytest.param(
            {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"},
            {},
            (2, 3),
            id="SLURM array from 1",
        ),
        pytest.param({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, {}, (1, 2), id="srun"),
        pytest.param({"JOB_COMPLETION_INDEX": "5"}, {"world_size": 6}, (5, 6), id="Kubernetes"),
        pytest.param({"JOB_COMPLETION_INDEX": "5", "WORLD_SIZE": "7"}, {}, (5, 7), id="Kubernetes, told"),
        pytest.param({"RANK": "2", "WORLD_SIZE": "4"}, {"rank": 0, "world_size": 1}, (0, 1), id="said"),
    ],
)
def test_who_this_is(environment: dict[str, str], given: dict[str, int], found: tuple[int, int]) -> None:
    assert find_rank(environment, **given) == found


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        pytest.param({}, r"rank: expected a number, or the variables RANK and WORLD_SIZE.*, got neither", id="nothing"),
        pytest.param({"JOB_COMPLETION_INDEX": "1"}, "world_size: expected a number", id="no count"),
        pytest.param({"RANK": "x"}, "RANK: expected a number in the environment, got 'x'", id="no number"),
        pytest.param({"RANK": "4", "WORLD_SIZE": "4"}, "rank: expected an integer, from 0 to 3, got 4", id="too large"),
        pytest.param(
            {"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "2"},
            "rank: expected an integer, from 0 to 2, got 4",
            id="an array with steps",
        ),
    ],
)
def test_what_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_rank(environment)


@pytest.mark.slow
def test_ranks_share_the_work_and_leave_nothing_to_one_that_never_came(tmp_path: Path, expected: list[Any]) -> None:
    spec, out = make_spec({"pause": 0.1}), tmp_path / "out"
    with (
        driver_of(out, spec, runner="rank", rank=0, world_size=3) as first,
        driver_of(out, spec, runner="rank", rank=1, world_size=3) as second,
    ):
        for rank in (first, second):
            _, said = rank.communicate(timeout=120)
            assert rank.returncode == 0, said.decode()
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)
    shards = open_store(out).shards
    assert len({shards.header(shard).worker for shard in shards.all_done()}) == 2


@pytest.mark.slow
def test_the_environment_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(make_spec(), tmp_path / "out", runner="rank").complete
    with pytest.raises(InputError, match=r"options of runner='rank'.*workers"):
        run(make_spec(), tmp_path / "out", runner="rank", workers=2)


@pytest.mark.slow
def test_under_torchrun(tmp_path: Path, expected: list[Any]) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import json, sys; sys.path.insert(0, sys.argv[1]); from xai_fast.jobs import JobSpec, run\n"
        "run(JobSpec.from_dict(json.loads(sys.argv[2])), sys.argv[3], runner='rank')"
    )
    arguments = [
        str(Path(__file__).parent.parent / "helpers"),
        json.dumps(make_spec().to_dict()),
        str(tmp_path / "out"),
    ]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(program), *arguments], check=False, capture_output=True, text=True, timeout=120, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    check_undisturbed(tmp_path / "out", expected, {}, exact=True)
    check_clean(tmp_path / "out")
