from __future__ import annotations

import io
import sys

import pytest

from xai_fast import progress
from xai_fast.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (4.25, "4.2 s"), (59.9, "59.9 s"), (59.97, "1:00"), (65, "1:05"), (7387, "2:03:07")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_nothing_is_drawn_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3) as bar:
        bar.advance(3)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    with Progress(4000, lines=30.0) as bar:
        for kept in (True, False, False, False):
            bar.advance(1000, kept=kept)
            now[0] += 20
            bar.note = "7 failed"
    said = ["1,000 of 4,000 items done", "3,000 of 4,000 items done; 50/s, 20.0 s left, 7 failed"]
    assert capsys.readouterr().err.splitlines() == said


def test_a_terminal_sees_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(40) as bar:
        bar.advance(10)
    drawn = terminal.getvalue()
    assert "10/40" in drawn
    assert "/s," in drawn
    assert "left" in drawn


def test_kept_pictures_say_nothing_about_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    bar = Progress(100)
    bar.advance(50, kept=True)
    assert bar.speed() == ""
    now[0] += 10
    bar.advance(20)
    assert bar.speed() == "2.00/s, 15.0 s left"
    now[0] = 101.0
    assert bar.speed() == "20/s, 1.5 s left"
