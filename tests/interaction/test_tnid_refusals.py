"""What `TNID` refuses, and that it says why."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tnid_examples import network, rows
from torch import Tensor, nn

from xai_fast import TNID, InputError, ModelError

BAD_OPTIONS: dict[str, tuple[dict[str, object], str]] = {
    "order 1": ({"order": 1}, "order: expected an integer, from 2 to 6, got 1"),
    "order 7": ({"order": 7}, "order: expected an integer, from 2 to 6, got 7"),
    "exhaustive word": ({"exhaustive_order": "all"}, "exhaustive_order: expected one of auto"),
    "exhaustive 0": ({"exhaustive_order": 0}, "exhaustive_order: expected an integer"),
    "top_k": ({"top_k": 0}, "top_k: expected an integer, at least 1"),
    "effect": ({"effect": "cube"}, "effect: expected one of square"),
    "aggregate": ({"aggregate": "sum"}, "aggregate: expected one of mean"),
    "seed": ({"seed": -1}, "seed: expected"),
    "smooth": ({"smooth": "relu"}, "smooth: expected one of gelu"),
    "score": ({"score": "odds"}, "score: expected one of"),
    "scale": ({"scale": "max"}, "scale: expected one of std"),
    "budget": ({"budget": 0}, "budget: expected a positive"),
    "keep": ({"keep": 0}, "keep: expected"),
    "group_directions": ({"group_directions": 0}, "group_directions: expected"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_refused(case: str) -> None:
    options, message = BAD_OPTIONS[case]
    with pytest.raises(InputError, match=message):
        TNID(network(), **options)


def with_value(value: float) -> Tensor:
    x = rows()
    x[7, 3] = value
    return x


BAD_CALLS: dict[str, tuple[Callable[[], dict[str, object]], str]] = {
    "no columns": (lambda: {"rows": rows()[:, :0]}, "rows: expected rows and columns"),
    "one row": (lambda: {"rows": rows()[0]}, "rows: expected rows and columns"),
    "NaN": (lambda: {"rows": with_value(math.nan)}, "rows: expected finite values, got nan in the column 'x3', row 7"),
    "infinity": (lambda: {"rows": with_value(math.inf)}, "got inf in the column 'x3', row 7"),
    "words": (lambda: {"rows": np.array([["a", "b"]])}, "rows: expected an array, a tensor or a DataFrame of numbers"),
    "complex": (lambda: {"rows": rows().to(torch.complex128)}, "rows: expected real numbers"),
    "few names": (lambda: {"feature_names": ["a"]}, "feature_names: expected 6 different names.*got 1 names"),
    "names twice": (lambda: {"feature_names": list("abcdea")}, "feature_names: expected 6.*got 'a' twice"),
    "no strings": (lambda: {"feature_names": range(6)}, "feature_names: expected strings"),
    "one string": (lambda: {"feature_names": "abcdef"}, "feature_names: expected 6 different names"),
    "target length": (lambda: {"target": [0, 0, 0]}, "target: expected one class per row, so 40"),
    "target range": (lambda: {"target": 4}, "target: expected classes from 0 to 1, got 4"),
    "few features": (lambda: {"groups": {"all": [0, 1, 2, 3, 4]}}, "order: expected at most 2, the number of features"),
    "empty group": (lambda: {"groups": {"g": []}}, r"groups\['g'\]: expected a list"),
    "group of a word": (lambda: {"groups": {"g": "x1"}}, r"groups\['g'\]: expected a list"),
    "unknown column": (lambda: {"groups": {"g": ["y"]}}, r"groups\['g'\]: expected names, or indices from 0 to"),
    "column beyond": (lambda: {"groups": {"g": [6]}}, r"groups\['g'\]: expected names, or indices.*got 6"),
    "overlap": (lambda: {"groups": {"g": [0, 1], "h": ["x1"]}}, "'x1', which is in 'g'"),
    "group name taken": (lambda: {"groups": {"x3": [0, 1]}}, "groups: expected names that no column outside"),
    "group list": (lambda: {"groups": [[0, 1]]}, "groups: expected a mapping"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_arguments_are_refused(case: str) -> None:
    build, message = BAD_CALLS[case]
    with pytest.raises(InputError, match=message):
        TNID(network(), order=3).detect(**{"rows": rows(), **build()})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"a": [1.0, None], "b": [1.0, 2.0]}, "got nan in the column 'a', row 1"),
        ({"a": ["u", "v"], "b": [1.0, 2.0]}, "expected columns of numbers .* in the column 'a'"),
    ],
)
def test_bad_frames_are_refused(frame: dict[str, list[object]], message: str) -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match=message):
        TNID(network(2), order=2).detect(pandas.DataFrame(frame))


def test_columns_of_a_frame_with_one_name_twice_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InputError, match="'a' twice"):
        TNID(network(2), order=2).detect(pandas.DataFrame(np.ones((3, 2)), columns=["a", "a"]))


def test_models_that_do_not_fit_are_refused() -> None:
    x = rows()
    with pytest.raises(ModelError, match=r"data's rows of shape \(6,\), but it raised: mat1 and mat2"):
        TNID(network(5), order=2).detect(x)
    with pytest.raises(ModelError, match="evaluation mode"):
        TNID(nn.Sequential(network(), nn.Dropout(0.5)).train(), order=2).detect(x)
    with pytest.raises(InputError, match="outputs"):
        TNID(nn.Unflatten(1, (2, 3)).eval(), order=2).detect(x)

    class Pole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x[:, 0] * x[:, 1] - x[:, 0] * x[:, 1]).reciprocal()

    with pytest.raises(ModelError, match="finite scores"):
        TNID(Pole().eval(), order=2).detect(x)

    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sqrt((x[:, 0] - x[:, 0]) * x[:, 1]) + x[:, 2] * x[:, 3]

    with pytest.raises(ModelError, match="finite mixed derivatives"):
        TNID(Root().eval(), order=2).detect(x)
