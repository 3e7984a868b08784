from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from xai_fast.errors import StoreError
from xai_fast.jobs.store import Layout
from xai_fast.jobs.threads import agree_on_threads, torch_threads


def test_the_first_run_decides_and_others_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layout = Layout(tmp_path)
    assert agree_on_threads(layout, 3) == 3
    assert agree_on_threads(layout, 3) == 3
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert agree_on_threads(layout, 8) == 3
    assert "a worker gets 3 threads as when the job began, not 8" in caplog.text


@pytest.mark.parametrize("content", ["", "{}", '{"threads": 0}', '{"threads": "2"}', '{"threads": 1e99}'])
def test_a_hostile_number_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "threads.json").write_text(content)
    with pytest.raises(StoreError, match=r"threads\.json"):
        agree_on_threads(Layout(tmp_path), 1)


def test_threads_are_those_of_before_again() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
