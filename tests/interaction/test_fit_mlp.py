"""fit_mlp fits what can be fitted, in the units of the table, the same for one seed, and refuses what is no table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_fast import TNID, InputError, ModelError, fit_mlp
from xai_fast.interaction.fit_mlp import FittedMLP


def table(rows: int = 600, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw columns in very different units, and x0 x1 + tanh(x2) of them in standard units."""
    z = torch.rand(rows, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    x = z * torch.tensor([1.0, 1000.0, 1e-3, 5.0]) + torch.tensor([0.0, -300.0, 2.0, 2000.0])
    return x, 1000 * (z[:, 0] * z[:, 1] + torch.tanh(z[:, 2])) + 7


SMALL: dict[str, Any] = {"hidden": (24, 12), "epochs": 60, "batch": 32, "learning_rate": 1e-2}


def weights(fitted: FittedMLP) -> dict[str, Tensor]:
    return fitted.model.state_dict()


def test_a_regression_is_fitted_in_the_units_of_the_table() -> None:
    x, y = table()
    fitted = fit_mlp(x, y, **SMALL)
    assert fitted.task == "regression"
    assert fitted.classes is None
    assert fitted.validation_score > 0.98
    assert fitted.validation_loss < 0.02
    assert not fitted.model.training
    with torch.no_grad():
        prediction = fitted.model(x.float())[:, 0].double()
    assert prediction.shape == y.shape
    assert float((prediction - y).square().mean() / y.var()) < 0.02
    assert len(fitted.history) <= 60
    best = min(epoch.validation_loss for epoch in fitted.history)
    assert fitted.history[fitted.best_epoch].validation_loss == best
    assert fitted.validation_loss == best
    ranking = TNID(fitted.model, order=3, representatives=20).detect(x, feature_names=fitted.feature_names)
    assert ranking.order(2)[0].features == ("x0", "x1")


def test_the_validation_score_is_r2_of_the_rows_given() -> None:
    x, y = table()
    fitted = fit_mlp(x[:400], y[:400], validation=(x[400:], y[400:]), **{**SMALL, "epochs": 5})
    with torch.no_grad():
        off = fitted.model(x[400:].float())[:, 0].double() - y[400:]
    expected = 1 - float(off.square().mean() / y[400:].var(correction=0))
    assert fitted.validation_score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("labels", ["strings", "booleans", "two numbers", "objects"])
def test_two_classes(labels: str) -> None:
    x, y = table()
    positive = (y > 7).numpy()
    given: Any = {
        "strings": np.where(positive, "yes", "no"),
        "booleans": torch.from_numpy(positive),
        "two numbers": np.where(positive, 2.0, -1.0),
        "objects": ["yes" if p else "no" for p in positive],
    }[labels]
    fitted = fit_mlp(x, given, **SMALL)
    assert fitted.task == "classification"
    assert fitted.classes == {"booleans": (False, True), "two numbers": (-1.0, 2.0)}.get(labels, ("no", "yes"))
    with torch.no_grad():
        logits = fitted.model(x.float())
    assert logits.shape == (600, 1)
    assert fitted.validation_score > 0.9
    assert ((logits[:, 0] > 0).numpy() == positive).mean() > 0.95


def test_many_classes() -> None:
    x, y = table()
    classes = torch.bucketize(y, torch.tensor([-400.0, 7.0, 400.0]).double()) * 10
    fitted = fit_mlp(x, classes, **SMALL)
    assert fitted.classes == (0, 10, 20, 30)
    with torch.no_grad():
        answers = fitted.model(x.float()).argmax(1) * 10
    assert fitted.validation_score > 0.85
    assert float((answers == classes).double().mean()) > 0.9


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        (np.arange(30) % 21, "auto", "regression"),
        (np.arange(30) % 20, "auto", "classification"),
        (np.arange(30) % 20, "regression", "regression"),
        (np.arange(30) % 21, "classification", "classification"),
        (np.arange(30) / 7, "auto", "regression"),
        (np.arange(30) % 2 / 7, "auto", "classification"),
        (np.arange(30) % 2 == 0, "regression", "regression"),
    ],
)
def test_what_kind_of_task_it_is(values: np.ndarray, task: str, expected: str) -> None:
    x = np.arange(60.0).reshape(30, 2)
    assert fit_mlp(x, values, task=task, hidden=(3,), epochs=1).task == expected


def test_the_same_seed_gives_the_same_network_and_leaves_chance_alone() -> None:
    x, y = table(200)
    options = {**SMALL, "epochs": 3}
    state = torch.random.get_rng_state()
    first = fit_mlp(x, y, seed=4, **options)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    again, other = fit_mlp(x, y, seed=4, **options), fit_mlp(x, y, seed=5, **options)
    assert all(torch.equal(weights(again)[name], value) for name, value in weights(first).items())
    assert not torch.equal(weights(other)["1.weight"], weights(first)["1.weight"])


def test_arrays_tensors_and_frames_give_the_same() -> None:
    pandas = pytest.importorskip("pandas")
    x, y = table(100)
    options = {**SMALL, "epochs": 2}
    expected = fit_mlp(x, y, **options)
    frame = pandas.DataFrame(x.numpy(), columns=list("abcd"))
    for data, target in ((x.numpy(), y.numpy()), (frame, pandas.Series(y.numpy())), (x.tolist(), y[:, None])):
        fitted = fit_mlp(data, target, **options)
        assert all(torch.equal(weights(fitted)[name], value) for name, value in weights(expected).items())
    assert fit_mlp(frame, y, **options).feature_names == ("a", "b", "c", "d")


def test_columns_of_a_validation_frame_go_by_their_names() -> None:
    pandas = pytest.importorskip("pandas")
    x, y = table(100)
    frame = pandas.DataFrame(x.numpy(), columns=list("abcd"))
    losses = [
        fit_mlp(frame, y, **{**SMALL, "epochs": 2}, validation=(frame[list(names)], y)).validation_loss
        for names in ("abcd", "dbac")
    ]
    assert losses[0] == losses[1]
    with pytest.raises(InputError, match="validation: expected the columns of the data, got none named 'd'"):
        fit_mlp(frame, y, **SMALL, validation=(frame.rename(columns={"d": "e"}), y))


def test_the_training_ends_when_nothing_gets_better() -> None:
    x, _ = table(200)
    noise = torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    fitted = fit_mlp(x, noise, hidden=(40,), epochs=300, patience=4, batch=16, learning_rate=1e-2)
    assert len(fitted.history) == fitted.best_epoch + 5 < 300


def test_a_penalty_makes_weights_small() -> None:
    x, y = table(300)
    sizes = []
    for l1 in (0.0, 1e-3, 1e-2):
        fitted = fit_mlp(x, y, l1=l1, **{**SMALL, "epochs": 15})
        sizes.append(sum(float(value.abs().sum()) for name, value in weights(fitted).items() if "weight" in name))
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_network_of_the_paper_is_the_default() -> None:
    x, y = table(40)
    model = fit_mlp(x, y, epochs=1).model
    widths = [(m.in_features, m.out_features) for m in model if isinstance(m, nn.Linear)]
    assert widths == [(4, 140), (140, 100), (100, 60), (60, 20), (20, 1)]
    assert sum(isinstance(m, nn.GELU) for m in model) == 4


def test_constant_columns_and_far_numbers_do_no_harm() -> None:
    x, y = table(100)
    x = torch.cat((x, torch.full((100, 1), 0.1)), 1)
    fitted = fit_mlp(x, y * 1e6, **{**SMALL, "epochs": 3})
    assert all(math.isfinite(epoch.validation_loss) for epoch in fitted.history)
    assert torch.isfinite(fitted.model(x.float())).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": torch.zeros(0, 2)}, "X: expected rows and columns"),
        ({"X": torch.zeros(100, 2, 2)}, "X: expected rows and columns"),
        ({"X": torch.full((100, 2), math.nan)}, "X: expected finite values, got nan in the column 'x0', row 0"),
        ({"y": torch.zeros(99)}, r"y: expected \(100,\)"),
        ({"y": torch.zeros(100, 2)}, r"y: expected \(100,\)"),
        ({"y": torch.zeros(100)}, "y: expected at least two different values"),
        ({"y": torch.full((100,), math.inf)}, "y: expected finite values, got inf"),
        ({"y": [None] * 100}, "y: expected numbers, booleans or strings"),
        ({"y": ["a", "b"] * 50, "task": "regression"}, "y: expected numbers, for a regression"),
        ({"task": "ranking"}, "task: expected one of"),
        ({"hidden": (0,)}, "hidden: expected"),
        ({"epochs": 0}, "epochs: expected"),
        ({"patience": 0}, "patience: expected"),
        ({"batch": 0}, "batch: expected"),
        ({"learning_rate": 0}, "learning_rate: expected"),
        ({"weight_decay": -1.0}, "weight_decay: expected"),
        ({"l1": -1.0}, "l1: expected"),
        ({"validation": 1.0}, "validation: expected a share"),
        ({"validation": "half"}, "validation: expected a share"),
        ({"validation": (torch.zeros(3, 4),)}, "validation: expected a share"),
        ({"validation": (torch.zeros(3, 5), torch.zeros(3))}, r"validation: expected rows of shape \(4,\)"),
        ({"validation": (torch.zeros(3, 4), torch.zeros(2))}, r"validation: expected \(3,\)"),
        ({"validation": (torch.zeros(3, 4), ["c"] * 3), "y": ["a", "b"] * 50}, "validation: expected classes"),
        ({"y": [str(i) for i in range(100)]}, "y: expected a class with two rows, one of them to hold back"),
        ({"feature_names": ["a"]}, "feature_names: expected 4"),
        ({"seed": -1}, "seed: expected"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    x, y = table(100)
    given = {"X": x, "y": y, "epochs": 1, "hidden": (3,), **change}
    with pytest.raises(InputError, match=message):
        fit_mlp(given.pop("X"), given.pop("y"), **given)


def test_a_training_that_diverges_says_so() -> None:
    x, y = table(100)
    with pytest.raises(ModelError, match="lower learning_rate=1e"):
        fit_mlp(x, y, hidden=(8, 8), epochs=20, learning_rate=1e30)


@pytest.mark.parametrize(
    ("offset", "scale", "of_y", "dtype"),
    [
        (0.0, 1.0, (0.0, 1.0), torch.float32),
        (1.7e9, 1.0, (0.0, 1.0), torch.float64),
        (0.0, 1e300, (0.0, 1.0), torch.float64),
        (0.0, 1e-300, (0.0, 1.0), torch.float64),
        (0.0, 1e-320, (0.0, 1.0), torch.float64),
        (0.0, 1.0, (1.7e9, 1.0), torch.float64),
        (0.0, 1.0, (0.0, 1e300), torch.float64),
    ],
)
def test_units_make_no_difference(offset: float, scale: float, of_y: tuple[float, float], dtype: torch.dtype) -> None:
    z = torch.rand(400, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = z[:, 0] * z[:, 1] + torch.tanh(z[:, 2])
    options = {**SMALL, "epochs": 40}
    x, wanted = torch.cat((z[:, :1] * scale + offset, z[:, 1:]), 1), y * of_y[1] + of_y[0]
    fitted = fit_mlp(x, wanted, **options)
    assert fitted.validation_score > 0.98
    assert next(fitted.model.parameters()).dtype == dtype
    rows = x.to(dtype)
    with torch.no_grad():
        off = (fitted.model(rows)[:, 0].double() - wanted) / of_y[1]
    assert float(off.square().mean() / y.var()) < 0.02
    if scale != 1e-320 and of_y[1] == 1:  # else derivatives, or their squares, are beyond float64
        got, expected = (
            TNID(one.model, order=2, effect="absolute", representatives=10).detect(data)["x0", "x1"].effect
            for one, data in ((fitted, x), (fit_mlp(z, y, **options), z))
        )
        assert got == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("rare", "share", "held"),
    [(2, 0.2, (80, 1)), (1, 0.2, (80, 0)), (40, 0.25, (90, 10)), (3, 0.9, (357, 2)), (200, 0.2, (40, 40))],
)
def test_rows_are_held_back_of_each_class(rare: int, share: float, held: tuple[int, int]) -> None:
    x, _ = table(400)
    labels = torch.zeros(400, dtype=torch.bool)
    labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))[:rare]] = True
    assert fit_mlp(x, labels, epochs=1, hidden=(3,), validation=share).validation_counts == held
