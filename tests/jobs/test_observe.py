"""Status, log and progress of a job, from receipts that are written by hand."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import time
from pathlib import Path

import pytest
from receipts_by_hand import write_job, write_receipt

from xai_fast.errors import StoreError
from xai_fast.jobs.journal import Journal
from xai_fast.jobs.observe import JobProgress, Log, status
from xai_fast.jobs.observe.receipts import Tally, Work, busy_rate, recent_rate
from xai_fast.jobs.observe.summary import memory_text, rate_text
from xai_fast.jobs.store import Layout


def test_a_job_that_has_not_begun(tmp_path: Path) -> None:
    write_job(tmp_path, 10, 4)
    found = status(tmp_path)
    assert (found.items, found.done, found.failed, found.shards, found.shards_done) == (10, 0, 0, 3, 0)
    assert not found.complete
    assert found.rate is found.seconds_left is found.throughput is found.started is found.finished is None
    assert found.created == 990.0
    assert found.shares == {}
    assert "not running, no shard is done yet" in str(found)


def test_a_job_on_its_way(tmp_path: Path) -> None:
    write_job(tmp_path, 10, 4)
    write_receipt(tmp_path, 2, (8, 10), finished=1010.0, failed=[(1, "not a picture")])
    write_receipt(tmp_path, 0, (0, 4), finished=1020.0, failed=[(0, "NaN"), (3, "too dark")])
    found = status(tmp_path)
    assert (found.done, found.failed, found.shards_done) == (6, 3, 2)
    assert found.statuses == {"ok": 3, "failed": 3}
    assert [(failure.index, failure.reason) for failure in found.failures] == [
        (0, "NaN"),
        (3, "too dark"),
        (9, "not a picture"),
    ]
    # Six items in two spans of ten seconds, one after the other.
    assert (found.rate, found.seconds_left, found.throughput) == (0.3, pytest.approx(4 / 0.3), 0.3)
    assert found.seconds == {"decode": 2.0, "model": 12.0, "kernels": 4.0, "write": 1.0, "total": 20.0}
    shares = {"decode": 0.1, "model": 0.6, "kernels": 0.2, "write": 0.05, "other": 0.05}
    assert found.shares == pytest.approx(shares)
    assert (found.evaluations, found.peak_memory) == (200, 1 << 30)
    assert (found.started, found.finished) == (1000.0, 1020.0)
    text = str(found)
    for part in ("6 of 10 items (60.0 %), 2 of 3 shards", "3: 3 failed", "0.3 items a second, 13.3 s left"):
        assert part in text
    assert json.loads(found.to_json())["failures"][2] == {"index": 9, "id": "9", "reason": "not a picture"}


def test_a_complete_job(tmp_path: Path) -> None:
    write_job(tmp_path, 8, 4)
    for shard in range(2):
        write_receipt(tmp_path, shard, (4 * shard, 4 * shard + 4), finished=1000.0 + 10 * shard)
    found = status(tmp_path)
    assert found.complete
    assert found.seconds_left == 0.0
    assert "state     complete\n" in str(found)
    assert "left" not in str(found)


def test_what_failed_cannot_write_into_the_terminal(tmp_path: Path) -> None:
    write_job(tmp_path, 4, 4)
    write_receipt(tmp_path, 0, (0, 4), finished=1.0, failed=[(0, "\x1b[2J\nstate     complete" + "x" * 5000)])
    text = str(status(tmp_path))
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 400
    assert len([line for line in text.splitlines() if line.startswith("state")]) == 1


SPANS = {
    "one": ([Work(0, 10, 5)], 0.5),
    "one after the other": ([Work(0, 10, 5), Work(10, 20, 10)], 0.75),
    "beside each other": ([Work(0, 10, 5), Work(0, 10, 5), Work(1, 9, 2)], 1.2),
    "overlapping": ([Work(5, 15, 5), Work(0, 10, 10)], 1.0),
    "a night between": ([Work(0, 10, 5), Work(40000, 40010, 5)], 0.5),
    "none": ([], None),
    "no time": ([Work(3, 3, 5)], None),
}


@pytest.mark.parametrize("name", SPANS)
def test_the_rate_is_that_of_the_time_in_which_somebody_worked(name: str) -> None:
    spans, rate = SPANS[name]
    assert busy_rate(spans) == rate


def test_the_recent_rate_follows_a_change_of_workers() -> None:
    slow = [Work(10 * i, 10 * i + 10, 1) for i in range(1000)]
    fast = [Work(10000 + i, 10001 + i, 1) for i in range(400)]
    assert recent_rate(slow + fast) == 1.0
    assert busy_rate(slow + fast) == pytest.approx(1400 / 10400)


def test_the_recent_rate_of_long_shards_on_many_workers() -> None:
    # Eight workers, out of step, a shard an hour each: five minutes would see one of them.
    spans = [Work(450 * i - 3600, 450 * i, 100) for i in range(100)]
    assert recent_rate(spans) == pytest.approx(100 / 450, rel=0.01)


def test_receipts_are_read_once_and_anew_after_a_repair(tmp_path: Path) -> None:
    write_job(tmp_path, 12, 4)
    write_receipt(tmp_path, 0, (0, 4), finished=1.0, failed=[(0, "a")])
    tally = Tally(Layout(tmp_path))
    tally.update()
    assert (tally.items, tally.failures) == (4, 1)
    write_receipt(tmp_path, 0, (0, 4), finished=1.0)  # not looked at again
    write_receipt(tmp_path, 2, (8, 12), finished=2.0)
    (tmp_path / "commits" / ".tmp-shard-000001.json").write_text("unfinished")
    tally.update()
    assert (tally.items, tally.failures, tally.shards) == (8, 1, {0, 2})
    (tmp_path / "commits" / "shard-000002.json").unlink()
    tally.update()
    assert (tally.items, tally.failures, tally.shards) == (4, 0, {0})


def test_receipts_that_do_not_fit_the_job_are_refused(tmp_path: Path) -> None:
    write_job(tmp_path, 8, 4)
    write_receipt(tmp_path, 2, (8, 12), finished=1.0)
    with pytest.raises(StoreError, match="expected receipts of 2 shards, 8 items, got more"):
        status(tmp_path)


def test_a_folder_without_a_job(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(StoreError):
            status(folder)


def test_workers_at_work_are_counted(tmp_path: Path) -> None:
    write_job(tmp_path, 8, 4)
    with Journal(Layout(tmp_path), 0).claim(0, 4, 1, worker="w"):
        assert status(tmp_path).running == 1
        assert "running, 1 at work" in str(status(tmp_path))
    assert status(tmp_path).running == 0


def test_a_log_has_a_json_object_a_line(tmp_path: Path) -> None:
    log = Log(Layout(tmp_path), "node-1/worker 2")
    log.event("started", device="cpu", limit=float("inf"), path=tmp_path, error=ValueError("no\nnewline"))
    log.event("ended", nested={"a": [1, float("nan"), None, True]}, text="x" * 10000)
    (file,) = (tmp_path / "logs").iterdir()
    assert file.name == "node-1_worker_2.jsonl"
    first, second = map(json.loads, file.read_text().splitlines())
    assert (first["event"], first["worker"], first["pid"]) == ("started", "node-1/worker 2", os.getpid())
    assert (first["limit"], first["path"], first["error"]) == ("inf", str(tmp_path), "no\nnewline")
    assert second["nested"] == {"a": [1, "nan", None, True]}
    assert len(second["text"]) < 5000
    assert first["time"] <= second["time"]


@pytest.mark.parametrize("worker", ["..", "", "../../etc/passwd", "x" * 1000, "/abs"])
def test_a_log_stays_in_its_folder(worker: str, tmp_path: Path) -> None:
    Log(Layout(tmp_path), worker).event("started")
    assert [file.parent for file in tmp_path.rglob("*.jsonl")] == [tmp_path / "logs"]


def test_threads_share_a_log(tmp_path: Path) -> None:
    log = Log(Layout(tmp_path), "w")
    threads = [threading.Thread(target=lambda: [log.event("e", text="y" * 500) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in log.path.read_text().splitlines()]) == 200


def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    log = Log(Layout(tmp_path), "w")
    with caplog.at_level(logging.WARNING):
        log.event("one")
        log.event("two")
    assert len(caplog.records) == 1
    assert "no more log" in caplog.text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_counts_receipts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # the plain bar
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    write_job(tmp_path, 100, 10)
    for shard in range(5):
        write_receipt(tmp_path, shard, (10 * shard, 10 * shard + 10), finished=1.0)
    with JobProgress(Layout(tmp_path), 100) as progress:
        kept = terminal.getvalue()
        write_receipt(tmp_path, 7, (70, 80), finished=2.0, failed=[(0, "a")])
        progress.look()
    assert "50/100" in kept
    assert "/s" not in kept
    assert "60/100" in terminal.getvalue()
    assert "/s" in terminal.getvalue()
    assert "1 failed" in terminal.getvalue()
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_log_file_gets_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xai_fast.jobs.observe.progress._INTERVAL_OF_LINES", 0.02)
    write_job(tmp_path, 2000, 10)
    write_receipt(tmp_path, 0, (0, 10), finished=1.0)
    with JobProgress(Layout(tmp_path), 2000):
        write_receipt(tmp_path, 7, (70, 80), finished=2.0, failed=[(0, "a")])
        shown = ""
        for _ in range(500):
            shown += capsys.readouterr().err
            if shown.count("\n") > 1:
                break
            time.sleep(0.02)
    first, second, *_ = shown.splitlines()
    assert first == f"10 of 2,000 items done; look from another shell with: xai-fast jobs status {tmp_path}"
    assert re.match(r"20 of 2,000 items done, 1 failed; .*/s, .* left", second)
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_no_progress_where_nobody_wants_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_job(tmp_path, 100, 10)
    with JobProgress(Layout(tmp_path), 100, visible=False):
        assert not [thread for thread in threading.enumerate() if thread.name == "progress"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (memory_text, 12, "12 bytes"),
        (memory_text, 1536, "1.5 KiB"),
        (memory_text, 3 << 40, "3.0 TiB"),
        (rate_text, 12345.6, "12,346"),
        (rate_text, 12.345, "12.3"),
        (rate_text, 0.012345, "0.0123"),
    ],
)
def test_numbers_in_words(function: object, value: float, text: str) -> None:
    assert function(value) == text
