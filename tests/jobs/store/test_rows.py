"""Rows: results in memory, and what becomes of items that differ from the others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xai_fast.errors import InputError
from xai_fast.jobs.store.fields import Field
from xai_fast.jobs.store.job_file import Status
from xai_fast.jobs.store.rows import Rows


def rows(count: int) -> Rows:
    return Rows(count, "float16_scaled")


def test_failed_items_are_blank() -> None:
    made = rows(4)
    made.fail(0, Status.UNREADABLE, "no picture")
    maps = torch.ones(2, 2, 2, dtype=torch.float64)
    made.put([1, 3], {"maps": maps, "count": torch.ones(2, dtype=torch.int16), "score": torch.ones(2)})
    assert made.failed == {0: (Status.UNREADABLE, "no picture")}
    assert made.tensors["maps"].dtype == torch.float16
    assert made.tensors["maps.scale"].isnan().tolist() == [True, False, True, False]
    assert made.tensors["score"].isnan().tolist() == [True, False, True, False]
    assert made.tensors["count"].tolist() == [0, 1, 0, 1]


DIFFERENT = [
    ({"maps": torch.ones(1, 3)}, "field 'maps': expected float32 (2,) as other items have, got float32 (3,)"),
    ({"maps": torch.ones(1, 2).long()}, "field 'maps': expected float32 (2,) as other items have, got int64 (2,)"),
    ({"other": torch.ones(1)}, "field 'maps': expected float32 (2,) as other items have, got no such field"),
]


@pytest.mark.parametrize(("fields", "reason"), DIFFERENT)
def test_an_item_that_differs_fails(fields: dict[str, torch.Tensor], reason: str) -> None:
    made = rows(2)
    made.put([0], {"maps": torch.ones(1, 2)})
    made.put([1], fields)
    assert made.failed == {1: (Status.FAILED, reason)}
    assert made.tensors["maps.scale"].isnan().tolist() == [False, True]


def test_fields_that_the_store_has_not_are_left_out() -> None:
    made = Rows(1, "float32", {"score": Field("float32", (), "float32")})
    made.put([0], {"score": torch.ones(1), "new": torch.ones(1)})
    assert (made.failed, list(made.tensors)) == ({}, ["score"])


@pytest.mark.parametrize("name", ["../a", "a.scale", "status", ""])
def test_names_that_cannot_be_stored(name: str) -> None:
    with pytest.raises(InputError, match="fields: expected names of letters"):
        rows(1).put([0], {name: torch.ones(1)})


def test_numbers_that_cannot_be_stored() -> None:
    values: dict[str, Any] = {"a": torch.ones(1) * 1j}
    with pytest.raises(InputError, match=r"fields\['a'\]: expected a dtype of float32"):
        rows(1).put([0], values)
