"""Rows: results in memory, and what becomes of items that differ from the others."""

from __future__ import annotations

import pytest
import torch

from xai_fast.errors import InputError
from xai_fast.jobs.store import Field, Rows, Status


def test_failed_items_are_blank() -> None:
    rows = Rows(5)
    rows.fail(0, Status.UNREADABLE, "no picture")
    maps = torch.ones(3, 2, 2, dtype=torch.float64)
    rows.put(1, {"maps": maps, "count": torch.ones(3, dtype=torch.int16)}, [0, 4, 0], [None, "NaN", None])
    assert rows.missing == 1
    rows.fail(4, Status.KILLED, "x" * 10_000)
    assert rows.missing == 0
    assert rows.statuses.tolist() == [1, 0, 4, 0, 5]
    assert rows.fields["maps"].dtype == torch.float32
    assert rows.fields["maps"].isnan().all((1, 2)).tolist() == [True, False, True, False, True]
    assert rows.fields["count"].tolist() == [0, 1, 0, 1, 0]
    assert rows.reasons[:4] == ["no picture", None, "NaN", None]
    assert len(rows.reasons[4] or "") == 4000


DIFFERENT = [
    ({"maps": torch.ones(1, 3)}, "field 'maps': expected float32 (2,) as other items have, got float32 (3,)"),
    ({"maps": torch.ones(1, 2).long()}, "field 'maps': expected float32 (2,) as other items have, got int64 (2,)"),
    ({}, "field 'maps': expected float32 (2,) as other items have, got no such field"),
]


@pytest.mark.parametrize(("fields", "reason"), DIFFERENT)
def test_item_that_differs_is_failed(fields: dict[str, torch.Tensor], reason: str) -> None:
    for expected in (None, {"maps": Field("float32", (2,), "float32")}):
        rows = Rows(2, expected)
        rows.put(0, {"maps": torch.ones(1, 2)}, [0], [None])
        rows.put(1, fields, [0], [None])
        assert rows.statuses.tolist() == [0, 3]
        assert rows.reasons == [None, reason]
        assert rows.fields["maps"][1].isnan().all()


def test_field_that_comes_later_fails_the_earlier_items() -> None:
    rows = Rows(3)
    rows.put(2, {"a": torch.ones(1)}, [0], [None])
    rows.put(0, {"a": torch.ones(1), "b": torch.ones(1)}, [0], [None])
    assert rows.statuses.tolist() == [0, 255, 3]
    assert rows.reasons[2] == "field 'b': expected float32 () as other items have, got no such field"


WRONG = [
    (lambda rows: rows.put(0, {"a": torch.ones(2)}, [0], [None]), r"fields\['a'\]: expected a tensor of 1 rows"),
    (lambda rows: rows.put(2, {}, [3, 3], ["", ""]), "offset: expected an integer, from 0 to 1"),
    (lambda rows: rows.put(0, {}, [3], []), "reasons: expected as many as statuses"),
    (lambda rows: rows.put(0, {"../a": torch.ones(1)}, [0], [None]), "fields: expected names of letters"),
    (lambda rows: rows.put(0, {"a.scale": torch.ones(1)}, [0], [None]), "fields: expected names of letters"),
    (lambda rows: rows.put(0, {"status": torch.ones(1)}, [0], [None]), "fields: expected names of letters"),
    (lambda rows: rows.put(0, {"a": torch.ones(1) * 1j}, [0], [None]), r"fields\['a'\]: expected a dtype of float32"),
    (lambda rows: rows.fail(0, 9, ""), "statuses: expected an integer, from 0 to 5, got 9"),
]


@pytest.mark.parametrize(("act", "message"), WRONG)
def test_wrong_use_names_the_argument(act: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        act(Rows(3))  # type: ignore[operator]
    assert isinstance(caught.value, InputError)
