"""Representatives are the rows that their names say, whatever the units, the order of names or ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from xai_fast.errors import InputError
from xai_fast.interaction import representatives
from xai_fast.interaction.effects import half_sample_mode
from xai_fast.interaction.representatives import PAPER, STATISTICS, choose_representatives
from xai_fast.interaction.table import Table, read_table


def table(rows: object) -> Table:
    return read_table("data", rows)


def data(rows: int = 200, columns: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, columns, dtype=torch.float64, generator=generator) ** 2


def nearest(x: np.ndarray, point: np.ndarray) -> int:
    return int(np.argmin((((x - point) / x.std(0)) ** 2).sum(1)))


@pytest.mark.parametrize("name", ["mean", "median", "min", "max"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_nearest_row_in_standard_units(name: str, dtype: torch.dtype) -> None:
    x = (data() * torch.tensor([1.0, 1000.0, 1e-4, 1.0])).to(dtype)
    statistic = {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}[name]
    values = x.double().numpy()
    expected = nearest(values, statistic(values, axis=0))
    chosen = choose_representatives(table(x), name)
    assert chosen.indices == (expected,)
    assert chosen.names == (name,)
    assert torch.equal(chosen.rows, x[[expected]])
    assert chosen.rows.dtype == dtype


def test_the_mode_is_the_most_frequent_value_where_values_repeat() -> None:
    rows = [[0, 5], [1, 5], [1, 5], [2, 6], [2, 6], [2, 6], [2, 5], [3, 5], [1, 7], [9, 5]]
    chosen = choose_representatives(table(np.array(rows, float)), "mode")
    assert chosen.indices == (6,)  # 2 and 5


def test_the_mode_of_numbers_that_do_not_repeat_is_where_they_are_dense() -> None:
    x = np.array([0.0, 1.0, 5.0, 5.1, 5.15, 5.3, 9.0, 12.0])[:, None]
    assert choose_representatives(table(x), "mode").rows.item() in (5.1, 5.15)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 3.0], 2.0),
        ([1.0, 2.0, 9.0], 1.5),
        ([1.0, 8.0, 9.0], 8.5),
        ([1.0, 2.0, 3.0], 2.0),
        ([0.0, 10.0, 10.5, 11.0, 30.0], 10.5),
        ([7.0, 7.0, 7.0, 1.0, 2.0], 7.0),
    ],
)
def test_half_sample_mode(values: list[float], expected: float) -> None:
    columns = torch.tensor([values, values[::-1], [-v for v in values]], dtype=torch.float64).T
    assert half_sample_mode(columns).tolist() == [expected, expected, -expected]


def test_the_random_row_is_none_that_a_statistic_chose() -> None:
    x = data(3)
    for seed in range(20):
        chosen = choose_representatives(table(x), ("min", "max", "random"), seed)
        assert sorted(chosen.indices or ()) == [0, 1, 2]
        assert set(chosen.names) == {"min", "max", "random"}
    assert choose_representatives(table(x[:1]), PAPER).names == ("mean + min + mode + random",)


def test_a_row_that_two_statistics_choose_counts_once() -> None:
    x = np.array([[0.0], [1.0], [1.1], [2.0]])
    chosen = choose_representatives(table(x), ("mean", "median", "max"))
    assert chosen.names == ("mean + median", "max")
    assert chosen.indices == (1, 3)


def test_the_first_of_several_as_near_is_taken() -> None:
    x = np.array([[3.0], [1.0], [1.0], [5.0], [-3.0]])
    assert choose_representatives(table(x), "min").indices == (4,)
    assert choose_representatives(table(np.repeat(x, 2, 0)), "min").indices == (8,)


def test_many_random_rows() -> None:
    x = data()
    chosen = choose_representatives(table(x), 50, 3)
    assert len(set(chosen.indices or ())) == 50
    assert list(chosen.indices or ()) == sorted(chosen.indices or ())
    assert torch.equal(chosen.rows, x[list(chosen.indices or ())])
    assert chosen.names[0] == f"row {(chosen.indices or ())[0]}"
    assert choose_representatives(table(x), np.int64(50), 3).indices == chosen.indices
    assert choose_representatives(table(x), 50, 4).indices != chosen.indices
    assert choose_representatives(table(x), 1000).indices == tuple(range(200))


def test_k_means_gives_a_row_of_each_cluster() -> None:
    pytest.importorskip("sklearn")
    centers = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 1.0], [100.0, 1.0], [50.0, 0.5]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(5, 30, 2, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 0.01])
    x = (centers[:, None] + noise).flatten(0, 1)
    for seed in range(5):
        chosen = choose_representatives(table(x), "kmeans:5", seed)
        assert {i // 30 for i in chosen.indices or ()} == {0, 1, 2, 3, 4}, seed
        assert choose_representatives(table(x), "kmeans:5", seed).indices == chosen.indices


def test_k_means_of_few_different_rows_gives_each_once() -> None:
    pytest.importorskip("sklearn")
    x = np.repeat(np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 0.0]]), 10, 0)
    chosen = choose_representatives(table(x), "kmeans:6")
    assert sorted(map(tuple, chosen.rows.tolist())) == [(0.0, 1.0), (2.0, 3.0), (4.0, 0.0)]
    assert len(choose_representatives(table(data(4)), "kmeans:10").rows) == 4


def test_rows_of_the_user_are_taken_as_they_are() -> None:
    x = data()
    given = torch.ones(3, 4)
    for rows in (given, given.numpy(), given.tolist()):
        chosen = choose_representatives(table(x), rows)
        assert torch.equal(chosen.rows, given.double())
        assert chosen.indices is None
        assert chosen.names == ("given 0", "given 1", "given 2")


def test_columns_of_a_frame_go_by_their_names() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(data().numpy(), columns=list("abcd"))
    x = table(frame)
    expected = choose_representatives(x, frame[:3]).rows
    assert torch.equal(expected, data()[:3])
    assert torch.equal(choose_representatives(x, frame[:3][list("dbca")]).rows, expected)
    with pytest.raises(InputError, match="representatives: expected the columns of the data, got none named 'd'"):
        choose_representatives(x, frame[:3].rename(columns={"d": "e"}))
    assert torch.equal(choose_representatives(table(data()), frame[:3]).rows, expected)  # nothing there is named


def test_constant_columns_do_no_harm() -> None:
    x = data()
    x[:, 2] = 0.1
    with_constant = choose_representatives(table(x), PAPER)
    without = choose_representatives(table(x[:, [0, 1, 3]]), PAPER)
    assert with_constant.indices == without.indices
    assert table(x).deviation()[2] == 1


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("middle", "one or more of mean, min"),
        ((), "one or more of mean"),
        (("mean", 3), "got 3"),
        (("mean", "mean"), "each statistic once"),
        ("kmeans:", "positive integer n, got 'kmeans:'"),
        ("kmeans:0", "positive integer n"),
        ("kmeans:-1", "positive integer n"),
        (0, "at least 1, got 0"),
        (True, "representatives: expected"),
        (None, "representatives: expected"),
        (1.5, "representatives: expected"),
        (torch.ones(2, 3), "rows of shape"),
        (torch.ones(0, 4), "at least one of each"),
        ([[1.0, 2.0, math.nan, 0.0]], "finite values"),
    ],
)
def test_what_is_no_choice_is_refused(wanted: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_representatives(table(data()), wanted)


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_large_tables_are_gone_through_in_blocks(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.cat((data(50), data(50), data(50)))
    expected = choose_representatives(table(x), STATISTICS)
    monkeypatch.setattr(representatives, "_ROWS_AT_ONCE", at_once)
    assert choose_representatives(table(x), STATISTICS).indices == expected.indices
    assert max((expected.indices or ())[:-1]) < 50


def test_every_statistic_of_the_paper_is_known() -> None:
    assert choose_representatives(table(data()), "paper").names == choose_representatives(table(data()), PAPER).names
    assert set(PAPER) < set(STATISTICS)
    chosen = choose_representatives(table(data()), STATISTICS)
    assert sum(len(name.split(" + ")) for name in chosen.names) == 6
