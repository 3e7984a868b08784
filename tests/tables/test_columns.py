"""Columns of tables: codes that are floats, and targets with gaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xai_fast.tables.columns import encode

pandas = pytest.importorskip("pandas")

NAN = float("nan")


def a_frame(**columns: Any) -> Any:
    """Give 12 rows of two columns of numbers, a target, and what is added."""
    return pandas.DataFrame({"a": np.arange(12.0), "b": np.arange(12.0) ** 2, "y": np.arange(12) / 4, **columns})


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ([20230101, 20230102, 20230103, NAN] * 3, ["20230101", "20230102", "20230103", "(missing)"]),
        ([1.0000001, 1.0000002, 0.5] * 4, ["0.5", "1.0000001", "1.0000002"]),
        ([-0.0, 3.0, 1e20] * 4, ["0", "3", "100000000000000000000"]),
        ([7, 8, 9] * 4, ["7", "8", "9"]),
    ],
)
def test_codes_keep_all_their_digits(column: list[float], names: list[str]) -> None:
    table = encode(a_frame(code=column), "y", categorical=["code"], missing="impute")
    assert table.groups["code"] == [f"code={name}" for name in names]


@pytest.mark.parametrize(
    ("target", "categorical", "labels", "kind"),
    [
        ([0, 1, 2] * 3 + [0, 1, NAN], (), [0, 1, 2] * 3 + [0, 1], "i"),
        ([0, 1, 2] * 3 + [0, 1.5, NAN], (), [0, 1, 2] * 3 + [0, 1.5], "f"),
        ([1e20, 2e20, 3e20] * 3 + [1e20, 2e20, NAN], (), [1e20, 2e20, 3e20] * 3 + [1e20, 2e20], "f"),
        # Whole numbers that were written as floats stay what they are.
        ([0.0, 1.0, 2.0] * 4, (), [0, 1, 2] * 4, "f"),
        ([0.5, 1.0, 2.0] * 4, ("y",), ["0.5", "1", "2"] * 4, "U"),
        ([0, 1, 2] * 3 + [0, 1, NAN], ("y",), ["0", "1", "2"] * 3 + ["0", "1"], "U"),
    ],
)
@pytest.mark.parametrize("missing", ["drop", "impute"])
def test_a_target_is_what_its_values_say(
    target: list[float], categorical: tuple[str, ...], labels: list[Any], kind: str, missing: str
) -> None:
    table = encode(a_frame(y=target), "y", categorical=categorical, missing=missing)
    assert table.labels.dtype.kind == kind
    assert table.labels.tolist() == labels
