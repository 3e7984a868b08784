from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from batch_faults import our_threads, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_fast.errors import InputError
from xai_fast.jobs.journal import Attempt, Journal, Plan, live_attempts, plan_ranges, release_all, worker_name
from xai_fast.jobs.store import Layout

SHARD = 3


def dead(start: int, stop: int, number: int = 1) -> Attempt:
    return Attempt(SHARD, start, stop, number, False, "gone")


def live(start: int, stop: int, number: int = 1) -> Attempt:
    return Attempt(SHARD, start, stop, number, True, "here")


@pytest.mark.parametrize(
    ("done", "attempts", "plan"),
    [
        pytest.param([], [], Plan(((0, 8, 1),), False, (), ()), id="new"),
        pytest.param([], [live(0, 8)], Plan((), True, (), ()), id="busy"),
        pytest.param([], [dead(0, 8)], Plan(((0, 8, 2),), False, (), ()), id="again"),
        pytest.param([], [dead(0, 8, 2)], Plan(((0, 8, 3),), False, (), ()), id="after one that was released"),
        pytest.param([], [dead(0, 8), dead(0, 8, 2)], Plan(((0, 4, 1), (4, 8, 1)), False, (), ()), id="halved"),
        pytest.param(
            [(0, 4)],
            [dead(0, 8), dead(0, 8, 2), dead(4, 8), live(6, 8)],
            Plan(((4, 6, 1),), True, (), ((0, 4),)),
            id="halves of a half",
        ),
        pytest.param(
            [(0, 4), (4, 6), (7, 8)],
            [dead(0, 8), dead(0, 8, 2), dead(4, 8), dead(6, 8), dead(6, 7)],
            Plan(((6, 7, 2),), False, (), ((0, 4), (4, 6), (7, 8))),
            id="one item has more than one try",
        ),
        pytest.param(
            [(0, 4), (4, 6), (7, 8)],
            [dead(0, 8), dead(0, 8, 2), dead(4, 8), dead(6, 8), dead(6, 7), dead(6, 7, 2)],
            Plan((), False, ((6, 2),), ((0, 4), (4, 6), (7, 8))),
            id="given up",
        ),
    ],
)
def test_what_is_left(done: list[tuple[int, int]], attempts: list[Attempt], plan: Plan) -> None:
    assert plan_ranges(0, 8, done, attempts, max_attempts=2) == plan


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    poison=st.sets(st.integers(0, 39), max_size=4),
    max_attempts=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_bisection_ends_and_finds_exactly_the_poison(
    count: int, poison: set[int], max_attempts: int, seed: int
) -> None:
    """Attempts that hold a poison item die, some others die by chance; a literal simulation of the files."""
    chance = random.Random(seed)
    poison = {item for item in poison if item < count}
    attempts: list[Attempt] = []
    done: set[tuple[int, int]] = set()
    accidents = 5
    for _ in range(1000):
        plan = plan_ranges(0, count, done, attempts, max_attempts)
        if not plan.pending:
            break
        low, high, number = chance.choice(plan.pending)
        # A single item that dies by chance as often as it is tried cannot be told from poison: once less is no reason.
        tries = sum((low, high) == (one.start, one.stop) for one in attempts)
        spared = high - low == 1 and tries + 1 >= max_attempts
        accident = accidents > 0 and not spared and chance.random() < 0.2
        accidents -= accident
        if accident or poison & set(range(low, high)):
            attempts.append(dead(low, high, number))
        else:
            done.add((low, high))
    assert {item for item, _ in plan.killed} == poison
    assert all(tries == max_attempts for _, tries in plan.killed)
    covered = [item for low, high in plan.done for item in range(low, high)]
    assert sorted([*covered, *poison]) == list(range(count))
    assert len(attempts) <= 5 + len(poison) * (2 * max_attempts + count.bit_length())


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(Layout(tmp_path / "store"), SHARD)


def entry(journal: Journal, name: str) -> Path:
    return journal._layout.journal_of(SHARD) / name


def test_one_of_many_gets_a_claim(journal: Journal) -> None:
    start = threading.Barrier(16)
    won = []

    def try_it(number: int) -> None:
        start.wait()
        claim = journal.claim(30, 40, 1, f"worker {number}")
        if claim is not None:
            won.append(number)
            with claim:
                time.sleep(0.2)

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert journal.attempts() == []


def test_a_claim_is_alive_until_it_ends_and_ends_in_an_error_too(journal: Journal) -> None:
    claim = journal.claim(30, 40, 1, "me")
    assert claim is not None

    def work() -> None:
        with claim:
            assert journal.attempts() == [Attempt(SHARD, 30, 40, 1, True, "me")]
            assert live_attempts(journal._layout) == journal.attempts()
            assert journal.claim(30, 40, 1, "you") is None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert journal.attempts() == []
    assert not our_threads()


def test_the_heart_beats(journal: Journal) -> None:
    claim = journal.claim(30, 40, 1, "me", lease=0.12)
    assert claim is not None
    with claim:
        os.utime(entry(journal, "30-40.1.json"), (0, 0))
        time.sleep(0.1)
        assert time.time() - entry(journal, "30-40.1.json").stat().st_mtime < 1
        assert journal.attempts()[0].alive


def test_who_ends_for_other_reasons_releases_and_who_fails_leaves_it(journal: Journal) -> None:
    first, second = journal.claim(30, 35, 1, "me"), journal.claim(35, 40, 1, "me")
    assert first is not None
    assert second is not None
    with first, second:
        second.abandon()
        release_all()
        assert journal.attempts() == [Attempt(SHARD, 35, 40, 1, False, "me")]
    assert journal.attempts() == [Attempt(SHARD, 35, 40, 1, False, "me")]
    journal.release("you")
    assert len(journal.attempts()) == 1
    journal.release("me")
    assert journal.attempts() == []


def test_the_dead_are_known(journal: Journal) -> None:
    program = (
        "import sys; from xai_fast.jobs.journal import *; from xai_fast.jobs.store import Layout; import os\n"
        "claim = Journal(Layout(sys.argv[1]), 3).claim(30, 40, 1, 'other'); claim.__enter__(); print(flush=True)\n"
        "sys.stdin.read(1); os._exit(1)"
    )
    arguments = [sys.executable, "-c", program, str(journal._layout.root)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert journal.attempts() == [Attempt(SHARD, 30, 40, 1, True, "other")]
        process.stdin.close()
        while b"Z" not in Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2][:3]:
            time.sleep(0.01)
        assert not journal.attempts()[0].alive, "a process that is dead and not waited for"
    assert not journal.attempts()[0].alive


@pytest.mark.parametrize(
    ("changes", "age", "alive"),
    [
        pytest.param({"host": "elsewhere"}, 0, True, id="another machine, heard of"),
        pytest.param({"host": "elsewhere"}, 61, False, id="another machine, not heard of"),
        pytest.param(
            {}, 61, True, id="this machine, and the process runs: the server's clock is behind, or it is busy"
        ),
        pytest.param({"pid_started": 1}, 61, False, id="this machine, another process"),
        pytest.param({"pid_started": 1}, 0, False, id="a pid that was given again"),
        pytest.param({"pid": 2**22 + 1}, 0, False, id="no such process"),
        pytest.param({"pid": "x"}, 0, False, id="not ours to understand"),
    ],
)
def test_liveness(journal: Journal, changes: dict[str, object], age: float, alive: bool) -> None:
    claim = journal.claim(30, 40, 1, worker_name())
    assert claim is not None
    path = entry(journal, "30-40.1.json")
    content = json.loads(path.read_bytes())
    entry(journal, "30-40.2.json").write_text(json.dumps(content | changes))
    os.utime(entry(journal, "30-40.2.json"), (time.time() - age,) * 2)
    with claim:
        found = {attempt.number: attempt.alive for attempt in journal.attempts()}
    assert found == {1: True, 2: alive}


def test_clocks_that_differ_kill_nobody(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours is two minutes before that of the file server; for the others it is the file server's that counts."""
    claim = journal.claim(30, 40, 1, "here")
    assert claim is not None
    with claim:
        content = json.loads(entry(journal, "30-40.1.json").read_bytes())
        entry(journal, "30-40.2.json").write_text(json.dumps(content | {"host": "elsewhere", "worker": "there"}))
        real = time.time
        monkeypatch.setattr("time.time", lambda: real() + 120)
        assert {attempt.worker for attempt in live_attempts(journal._layout)} == {"here", "there"}
        os.utime(entry(journal, "30-40.2.json"), (real() - 61,) * 2)
        monkeypatch.setattr("time.time", lambda: real() - 120)
        assert {attempt.worker for attempt in live_attempts(journal._layout)} == {"here"}
        assert len(live_attempts(journal._layout, exact=False)) == 2, "our own clock, where nothing may be written"


def test_a_process_that_is_stopped_is_dead_after_its_lease_and_alive_when_it_goes_on(journal: Journal) -> None:
    program = (
        "import sys; from xai_fast.jobs.journal import *; from xai_fast.jobs.store import Layout; import os\n"
        "claim = Journal(Layout(sys.argv[1]), 3).claim(30, 40, 1, 'other', lease=0.6)\n"
        "with claim: print(flush=True); sys.stdin.read(1)"
    )
    arguments = [sys.executable, "-c", program, str(journal._layout.root)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: not journal.attempts()[0].alive)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: journal.attempts()[0].alive)
        process.communicate()
    assert journal.attempts() == []


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE])
def test_who_is_late_finds_the_folder_gone(journal: Journal, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file server says ESTALE where another machine has removed the folder."""
    claims = [journal.claim(30 + i, 31 + i, 1, "late", lease=0.06) for i in range(2)]

    def gone(*arguments: object, **others: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("utime", "unlink", "stat"):
        monkeypatch.setattr(os, name, gone)
    first, second = (claim for claim in claims if claim is not None)
    with first, second:
        first.abandon()
        second._thread.join(60)
        assert not second._thread.is_alive(), "there is nothing left to keep alive"


def test_a_finished_shard_is_forgotten_while_others_begin(journal: Journal) -> None:
    journal.forget()
    claim = journal.claim(30, 40, 1, "me")
    assert claim is not None
    with claim:
        journal.forget()
        assert not journal._layout.journal_of(SHARD).exists()
        late = journal.claim(30, 40, 1, "late")
        assert late is not None
        late.__exit__(None, None, None)
    assert journal.attempts() == []


def test_a_lease_is_positive(journal: Journal) -> None:
    with pytest.raises(InputError, match=r"lease: expected a positive number of seconds, got 0"):
        journal.claim(30, 40, 1, "me", lease=0)
