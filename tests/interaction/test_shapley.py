from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from rankings import effects_of
from torch import Tensor, nn

from xai_fast import InputError, InteractionRanking
from xai_fast.interaction import ShapleyInteractions
from xai_fast.interaction.shapley import INDICES

pytest.importorskip("shapiq")


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] * x[:, 1] + x[:, 2]


def detect(model: nn.Module, rows: Tensor, background: Tensor | None = None, **options: object) -> InteractionRanking:
    return ShapleyInteractions(model, background=background, **options).detect(rows)


def numbers(rows: int) -> Tensor:
    return torch.randn(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize("index", INDICES)
def test_of_a_product_it_is_the_product_of_the_changes(index: str) -> None:
    rows, background = numbers(3), numbers(5)
    changes = rows[:, None] - background
    want = float((changes[..., 0] * changes[..., 1]).mean(1).abs().mean())
    got = effects_of(detect(Product().eval(), rows, background, index=index))
    assert next(iter(got)) == (0, 1)
    assert got[0, 1] == pytest.approx(want, rel=1e-6)
    assert sorted(got) == list(itertools.combinations(range(4), 2))
    assert all(abs(value) < 1e-9 for pair, value in got.items() if pair != (0, 1))


def test_of_a_network_it_is_the_definition() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double().eval().requires_grad_(False)
    rows, background = numbers(2), numbers(3)
    target = model(rows).argmax(1)

    def value(row: int, present: set[int]) -> float:
        mixed = background.clone()
        for feature in present:
            mixed[:, feature] = rows[row, feature]
        return float(model(mixed)[:, target[row]].mean())

    got = effects_of(detect(model, rows, background))
    for i, j in itertools.combinations(range(4), 2):
        sizes = []
        for row in range(2):
            total = 0.0
            rest = [k for k in range(4) if k not in (i, j)]
            for count in range(3):
                weight = math.factorial(count) * math.factorial(2 - count) / math.factorial(3)
                for chosen in map(set, itertools.combinations(rest, count)):
                    together = value(row, chosen | {i, j}) + value(row, chosen)
                    total += weight * (together - value(row, chosen | {i}) - value(row, chosen | {j}))
            sizes.append(abs(total))
        assert got[i, j] == pytest.approx(sum(sizes) / 2, rel=1e-9)


def test_higher_orders() -> None:
    class Triple(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0] * x[:, 2] * x[:, 3]

    rows, background = numbers(2), numbers(1)
    got = effects_of(detect(Triple().eval(), rows, background, order=3, index="STII"))
    changes = rows - background
    assert len(got) == 6 + 4
    assert got[0, 2, 3] == pytest.approx(float((changes[:, 0] * changes[:, 2] * changes[:, 3]).abs().mean()), rel=1e-9)
    # Below the highest order the index is the change from nothing: of two factors, with the third as in the background.
    assert got[0, 2] == pytest.approx(float((changes[:, 0] * changes[:, 2] * background[:, 3]).abs().mean()), rel=1e-9)
    assert max(got[features] for features in [(0, 1, 2), (0, 1, 3), (1, 2, 3)]) < 1e-12


def test_without_a_background_it_is_the_rows() -> None:
    rows = numbers(3)
    assert effects_of(detect(Product().eval(), rows)) == effects_of(detect(Product().eval(), rows, rows))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: detect(model, numbers(1), index="SV"), "index: expected one of"),
        (lambda model: detect(model, numbers(1), order=1), "order: expected an integer"),
        (lambda model: detect(model, numbers(1), order=5), "order: expected an integer, from 2 to 4"),
        (lambda model: detect(model, numbers(1), numbers(1)[:, :3]), "background: expected rows of shape"),
        (lambda model: detect(model, torch.ones(1, 17)), "at most 16 features"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[nn.Module], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(Product().eval())
