from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

from xai_fast.datasets import tables
from xai_fast.errors import InputError

pandas = pytest.importorskip("pandas")


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs the package {module}")


def test_bikeshare_is_complete_and_says_how_to_read_it() -> None:
    needs("ISLP")
    table = tables.bikeshare()
    assert table.frame.shape == (8645, 15)
    assert not table.frame.isna().any().any()
    named = {table.target, *table.categorical, *table.ignore}
    assert named <= set(table.frame.columns)
    assert (table.frame["casual"] + table.frame["registered"] == table.frame["bikers"]).all()
    assert sorted(table.frame["hr"].unique()) == list(range(24))
    # A working day is a weekday that is no holiday.
    weekday = table.frame["weekday"].isin(range(1, 6))
    assert (table.frame["workingday"] == (weekday & (table.frame["holiday"] == 0))).all()


def test_diabetes_is_in_its_own_units() -> None:
    needs("sklearn")
    table = tables.diabetes()
    assert table.frame.shape == (442, 11)
    assert table.frame["age"].between(15, 90).all()
    assert {table.target, *table.categorical} <= set(table.frame.columns)


@pytest.mark.parametrize(
    ("loader", "hidden", "message"),
    [
        (tables.bikeshare, "ISLP", "ISLP is not installed; pip install --no-deps ISLP"),
        (tables.diabetes, "sklearn", "sklearn is not installed; pip install scikit-learn"),
    ],
)
def test_what_is_not_installed_is_named(
    loader: Any, hidden: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == hidden else found(name, *rest))
    with pytest.raises(InputError, match=message):
        loader()


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for loader in (tables.bikeshare, tables.diabetes):
        with pytest.raises(InputError, match=r"pip install 'xai-fast\[table\]'"):
            loader()
