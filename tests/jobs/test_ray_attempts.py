from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from xai_fast.errors import InputError, JobError, StoreError
from xai_fast.jobs.journal import Journal, plan_ranges
from xai_fast.jobs.runners.local import raised
from xai_fast.jobs.runners.local_worker import described
from xai_fast.jobs.runners.ray import run_ray
from xai_fast.jobs.runners.ray_attempts import FORGIVEN, new_name, sign_deaths, take_back, take_back_all
from xai_fast.jobs.sources import SourceChanged
from xai_fast.jobs.store import Layout

DEAD = 1 << 22  # no process has this number


def _attempt(
    layout: Layout,
    shard: int,
    worker: str,
    *,
    alive: bool,
    number: int = 1,
    place: tuple[int, int, int] | None = None,
) -> None:
    """Write what a claim leaves: of this process, or of one that is gone."""
    start, stop, number = place or (0, 10, number)
    with Journal(layout, shard).claim(start, stop, number, worker) or pytest.fail("no claim"):
        name = layout.journal_of(shard) / f"{start}-{stop}.{number}.json"
        content = json.loads(name.read_text())
    name.write_text(json.dumps(content if alive else {**content, "pid": DEAD}))


def _names(layout: Layout, shard: int) -> set[str]:
    return {attempt.worker for attempt in Journal(layout, shard).attempts()}


def test_deaths_count_only_where_somebody_saw_them(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    seen, unseen, alive = (new_name("5ad24721f247a0c0defb9c9e") for _ in range(3))
    _attempt(layout, 3, seen, alive=False)
    _attempt(layout, 3, unseen, alive=False, number=2)
    _attempt(layout, 3, alive, alive=True, number=3)
    _attempt(layout, 3, "host-12-abc-local", alive=False, number=4)  # another runner's, which counts as it says
    _attempt(layout, 4, unseen, alive=False)
    assert sign_deaths(layout, 3, seen) == 1
    assert take_back(layout, 3) == 1
    assert _names(layout, 3) == {f"{seen}-died", alive, "host-12-abc-local"}
    assert take_back_all(layout) == 1
    assert _names(layout, 3) == {f"{seen}-died", alive, "host-12-abc-local"}
    assert _names(layout, 4) == set()


def _try(layout: Layout, item: int, shard: tuple[int, int], max_attempts: int, *, seen: bool) -> tuple[int, set[int]]:
    """Work on a shard as actors do, with an item that kills its child, and unless ``seen`` the actor, too.

    Returns:
        How many deaths there were, and the items that are given up.
    """
    done: set[tuple[int, int]] = set()
    for deaths in range(1000):
        take_back(layout, 0)
        plan = plan_ranges(*shard, done, Journal(layout, 0).attempts(), max_attempts)
        done |= {(low, high) for low, high, _ in plan.pending if not low <= item < high}
        fatal = [one for one in plan.pending if one[0] <= item < one[1]]
        if not fatal:
            return deaths, {index for index, _ in plan.killed}
        worker = new_name("5ad24721f247a0c0defb9c9e")
        _attempt(layout, 0, worker, alive=False, place=fatal[0])
        if seen:
            sign_deaths(layout, 0, worker)
    raise AssertionError("tried for ever")


@pytest.mark.parametrize(
    ("seen", "deaths"), [(True, 2 + 3 + 2), (False, (FORGIVEN + 2) + 3 + (FORGIVEN + 2))], ids=["child", "actor, too"]
)
def test_an_item_that_takes_its_actor_along_is_found(tmp_path: Path, seen: bool, deaths: int) -> None:
    # 16 items twice, 8, 4 and 2 once, the item twice; what nobody saw is forgiven at the shard and at the item.
    assert _try(Layout(tmp_path), 37, (32, 48), 2, seen=seen) == (deaths, {37})


def test_what_several_actors_take_back_counts_once(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    for _ in range(FORGIVEN):
        worker = new_name("ab")
        for _ in range(3):  # as if three of them had seen it before one removed it
            _attempt(layout, 0, worker, alive=False)
            assert take_back(layout, 0) == 1
    _attempt(layout, 0, new_name("ab"), alive=False)
    assert take_back(layout, 0) == 0
    (counted,) = Journal(layout, 0).attempts()
    assert counted.worker.endswith("-died")
    assert take_back(layout, 0) == 0
    assert Journal(layout, 0).attempts() == [counted]


def test_a_child_that_released_its_claim_did_not_die_over_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert sign_deaths(layout, 0, new_name("ab")) == 0
    assert take_back(layout, 0) == 0
    assert take_back_all(layout) == 0


@pytest.mark.parametrize("error", [StoreError("full"), InputError("x: expected 1, got 2"), SourceChanged("another")])
def test_our_errors_pass_processes_as_they_were_raised(error: Exception) -> None:
    made = raised(json.loads(json.dumps(described(error))))
    assert type(made) is type(error)
    assert str(made) == str(error)


def test_foreign_errors_arrive_with_class_message_and_trace() -> None:
    try:
        {}["missing"]
    except KeyError as error:
        made = raised(json.loads(json.dumps(described(error))))
    assert type(made) is JobError
    assert "KeyError: 'missing'" in str(made)
    assert "test_ray_attempts.py" in str(made.__cause__)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers: expected"),
        ({"num_cpus": 0}, "num_cpus: expected a positive number, got 0"),
        ({"num_gpus": -1}, "num_gpus: expected a number of GPUs, got -1"),
        ({"device": "cuda:1"}, "device: expected 'cuda' without a number"),
        ({"lease": 0}, "lease: expected a positive number of seconds, got 0"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_ray(None, **options)  # type: ignore[arg-type]


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from xai_fast import InputError\n"
        "from xai_fast.jobs.runners.ray import run_ray\n"
        "try:\n    run_ray(None)\nexcept InputError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True, cwd=tmp_path)
    assert "pip install 'xai-fast[ray]'" in done.stdout


def test_the_runner_does_not_import_ray() -> None:
    code = "import sys, xai_fast.jobs.runners.ray_worker, xai_fast.jobs.runners.ray_driver; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout == "False\n"
