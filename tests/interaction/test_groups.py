"""Groups have the directions in which the data moves, and effects that do not depend on how they are coded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_fast import TNID, InputError
from xai_fast.interaction.groups import make_features
from xai_fast.interaction.table import read_table


def categories(rows: int = 300, levels: int = 4) -> Tensor:
    """Draw categories that are not equally frequent."""
    generator = torch.Generator().manual_seed(2)
    return torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4])[:levels], rows, True, generator=generator)


def one_hot_data() -> tuple[Tensor, Tensor]:
    chosen = categories()
    numbers = torch.randn(300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return chosen, torch.cat((numbers, torch.nn.functional.one_hot(chosen, 4).double()), 1)


class Slopes(nn.Module):
    """A slope of x0 for each category, and x1 squared: columns x0, x1, then one-hot."""

    def __init__(self, slopes: list[float]) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.tensor(slopes, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] * (x[:, 2:] @ self.slopes) + x[:, 1] ** 2


def test_a_category_has_the_mean_square_of_moves_between_two_of_the_data() -> None:
    chosen, x = one_hot_data()
    slopes = [1.0, -2.0, 0.5, 4.0]
    ranking = TNID(Slopes(slopes).eval(), order=2).detect(x, groups={"kind": [2, 3, 4, 5]})
    assert ranking.feature_names == ("x0", "x1", "kind")
    of_row = torch.tensor(slopes, dtype=torch.float64)[chosen]
    moves = (of_row[:, None] - of_row[None]).square().mean() / 2
    expected = float(moves * x[:, 0].var(correction=0))
    assert ranking["x0", "kind"].effect == pytest.approx(expected, rel=1e-9)
    assert ranking["x1", "kind"].effect == pytest.approx(0, abs=1e-20)


def test_a_common_slope_of_all_categories_is_no_interaction() -> None:
    _, x = one_hot_data()
    with_slope = TNID(Slopes([3.0] * 4).eval(), order=2).detect(x, groups={"kind": [2, 3, 4, 5]})
    assert with_slope["x0", "kind"].effect == pytest.approx(0, abs=1e-20)


def test_the_coding_of_a_category_makes_no_difference() -> None:
    _, x = one_hot_data()
    mixing = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    torch.manual_seed(1)
    body = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 1)).double()

    class Recoded(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return body(torch.cat((z[:, :2], z[:, 2:] @ torch.linalg.inv(mixing)), 1))

    class Dropped(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return body(torch.cat((z, 1 - z[:, 2:].sum(1, keepdim=True)), 1))

    rows = [3, 50, 80, 200]
    recoded = torch.cat((x[:, :2], x[:, 2:] @ mixing), 1)
    found = [
        TNID(model.eval(), order=3, representatives=data[rows]).detect(data, groups={"kind": columns})
        for model, data, columns in (
            (body, x, [2, 3, 4, 5]),
            (Recoded(), recoded, [2, 3, 4, 5]),
            (Dropped(), x[:, :5], [2, 3, 4]),
        )
    ]
    for ranking in found[1:]:
        for one in found[0]:
            assert ranking[one.indices].effect == pytest.approx(one.effect, rel=1e-8), one


@pytest.mark.parametrize("effect", ["square", "absolute"])
@pytest.mark.parametrize("order", [2, 3])
def test_groups_are_norms_over_combinations_of_directions(effect: str, order: int) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(7, 8), nn.GELU(), nn.Linear(8, 1)).double().eval()
    x = torch.randn(50, 7, dtype=torch.float64)
    groups = {"g": ["x5", "x1"], "h": [2, 3, 4]}
    ranking = TNID(model, order=order, scale="unit", effect=effect, representatives=3).detect(x, groups=groups)
    assert ranking.feature_names == ("x0", "g", "h", "x6")
    columns = [[0], [1, 5], [2, 3, 4], [6]]
    points = x[list(ranking.representative_indices or ())]
    alone = [TNID(model, order=order, scale="unit", representatives=row[None]).detect(x) for row in points]
    for members in itertools.combinations(range(4), order):
        of_point = [
            sum(plain[chosen].effect for chosen in itertools.product(*(columns[m] for m in members))) for plain in alone
        ]
        expected = np.mean(of_point if effect == "square" else np.sqrt(of_point))
        assert ranking[members].effect == pytest.approx(expected, rel=1e-9)


def test_directions_are_the_principal_axes() -> None:
    _, x = one_hot_data()
    features = make_features(read_table("data", x), {"kind": [2, 3, 4, 5]}, "std")
    assert features.offsets == (0, 1, 2, 5)
    assert features.grouped
    directions = features.directions(6, x)
    covariance = torch.cov(x[:, 2:].T, correction=0)
    torch.testing.assert_close(directions[2:, 2:].T @ directions[2:, 2:], covariance)
    assert float(directions[2:].sum(1).abs().max()) < 1e-12  # never along all ones
    torch.testing.assert_close(directions[:2, :2], torch.diag(x[:, :2].std(0, correction=0)), rtol=1e-12, atol=0)
    assert float(directions[:2, 2:].abs().max()) == 0
    fewer = make_features(read_table("data", x), {"kind": [2, 3, 4, 5]}, "std", largest=1)
    torch.testing.assert_close(fewer.directions(6, x)[2], directions[2])


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_units_of_a_column_do_not_hide_the_others_of_its_group(factor: float) -> None:
    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(x[:, 1]) * x[:, 2]

    x = torch.randn(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    x[:, 3] = 0.1  # has no direction
    scaled = x * torch.tensor([factor, 1.0, 1.0, 1.0])
    tnid = TNID(Sine().eval(), order=2, representatives=scaled)
    found = tnid.detect(scaled, groups={"g": [0, 1, 3]})["g", "x2"].effect
    variances = x.var(0, correction=0)
    assert found == pytest.approx(float(x[:, 1].cos().square().mean() * variances[1] * variances[2]), rel=1e-6)
    axes = make_features(read_table("data", scaled), {"g": [0, 1, 3]}, "std").axes[0]
    torch.testing.assert_close(axes.T @ axes, torch.cov(scaled[:, [0, 1, 3]].T, correction=0), rtol=1e-9, atol=1e-12)
    assert len(axes) == 2


def test_constant_groups_are_moved_column_by_column() -> None:
    x = torch.cat((torch.randn(9, 2), torch.full((9, 2), 0.1)), 1).double()
    features = make_features(read_table("data", x), {"still": [2, 3]}, "std")
    assert torch.equal(features.axes[2], torch.eye(2).double())


def test_combinations_are_counted_and_written_out() -> None:
    x = torch.randn(50, 7)
    features = make_features(read_table("data", x), {"g": [1, 2], "h": [3, 4, 5]}, "std")
    widths = [1, 2, 3, 1]
    for order in range(1, 5):
        sets = list(itertools.combinations(range(4), order))
        directions, counts = features.expanded(torch.tensor(sets))
        assert counts.tolist() == [int(np.prod([widths[m] for m in s])) for s in sets]
        assert features.combinations(order) == int(counts.sum())
        offsets = features.offsets
        expected = [d for s in sets for d in itertools.product(*(range(offsets[m], offsets[m + 1]) for m in s))]
        assert [tuple(d) for d in directions.tolist()] == expected


def test_a_group_may_have_the_name_of_one_of_its_columns_and_signs_need_one_direction() -> None:
    _, x = one_hot_data()
    ranking = TNID(Slopes([1.0, 2.0, 3.0, 4.0]).eval(), order=2).detect(x, groups={"x3": [2, 3, 4, 5]})
    assert ranking.feature_names == ("x0", "x1", "x3")
    with pytest.raises(InputError, match="where groups have several directions"):
        TNID(Slopes([1.0, 2.0, 3.0, 4.0]).eval(), order=2, effect="signed").detect(x, groups={"kind": [2, 3, 4, 5]})
