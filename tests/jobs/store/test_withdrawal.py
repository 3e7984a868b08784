"""Taking a commit back: nothing of what led to it comes back with the shard."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_stores import ABOUT, commit, complete, rows_of

from xai_fast.errors import StoreError
from xai_fast.jobs import store
from xai_fast.jobs.journal import Journal


def _bisected(root: Path) -> store.Layout:
    """A shard whose worker died between its receipt and the removal of its pieces and attempts."""
    layout = complete(root)
    store.drop_receipts(layout, [1])
    for first, last in ((4, 6), (6, 8)):
        store.write_part(layout, 1, first, last, rows_of(first, last), "float16_scaled", ABOUT)
        claim = Journal(layout, 1).claim(first, last, 1, "dead")
        assert claim is not None
        claim.abandon()
        claim.__exit__(None, None, None)
    commit(layout, 1)
    return layout


def test_old_pieces_and_attempts_go_with_the_receipt(tmp_path: Path) -> None:
    layout = _bisected(tmp_path / "job")
    store.withdraw(layout, 1)
    assert store.read_parts(layout, 1) == []
    assert Journal(layout, 1).attempts() == []
    assert list(layout.parts.iterdir()) == []
    assert store.read_earlier(layout, 1) is not None


def test_pieces_of_a_shard_that_is_not_committed_stay(tmp_path: Path) -> None:
    layout = _bisected(tmp_path / "job")
    store.drop_receipts(layout, [1])
    with pytest.raises(StoreError, match="no such receipt"):
        store.withdraw(layout, 1)
    assert len(store.read_parts(layout, 1)) == len(Journal(layout, 1).attempts()) == 2


def test_an_attempt_that_began_before_the_withdrawal_loses(tmp_path: Path) -> None:
    """A late worker has the old failures, which are to be done again."""
    layout = complete(tmp_path / "job")
    place = (1, 4, 8, rows_of(4, 8), "float16_scaled", ABOUT)
    store.withdraw(layout, 1)
    assert store.write_shard(layout, *place, earlier=None) is False
    assert store.write_part(layout, 1, 4, 6, rows_of(4, 6), "float16_scaled", ABOUT, earlier=None) is False
    first = store.read_earlier(layout, 1)
    assert first is not None
    assert len(list(layout.data.iterdir())) == 3  # the loser left nothing
    assert list(layout.parts.iterdir()) == []
    assert store.write_shard(layout, *place, earlier=first.file) is True
    store.withdraw(layout, 1)
    assert store.write_shard(layout, *place, earlier=first.file) is False
    second = store.read_earlier(layout, 1)
    assert second is not None
    assert store.write_shard(layout, *place, earlier=second.file) is True
