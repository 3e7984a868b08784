"""Shapley values by all coalitions, by samples and by orders equal their definitions and captum; their axioms."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import literal_masks
import numpy as np
import pytest
import torch
from masked_models import Curved, items, score_of
from torch import Tensor

from xai_fast import KernelSHAP, QuantitativeInputInfluence, ShapleySampling
from xai_fast.attribution import shapley_sampling
from xai_fast.engine.features import Features
from xai_fast.engine.masked import baseline_inputs
from xai_fast.errors import InputError, ModelError
from xai_fast.explanation import Explanation

IDS = [4, 2**33 + 1]
GAMES: dict[str, tuple[tuple[int, ...], Any, Any]] = {
    "grid": ((2, 2, 5, 4), (2, 3), "mean"),
    "mask": ((2, 3, 2, 3), torch.tensor([[0, 1, 1], [2, 0, 3]]), 0.5),
    "mask of items": ((2, 5), torch.tensor([[0, 0, 1, 1, 0], [3, 1, 2, 0, 4]]), 0.0),
    "rows": ((2, 5), None, [0.1, 0.2, 0.3, 0.4, 0.5]),
    "two features": ((2, 1, 2, 2), (2, 1), "blur"),
    "one feature": ((2, 2, 3, 3), 1, 0.0),
    "one pixel": ((2, 1, 1, 1), None, 1.0),
}


def game_of(case: str) -> tuple[Curved, Tensor, Tensor, list[literal_masks.Value], list[int], dict[str, Any]]:
    """Give a model and inputs, the feature of each entry, the games by definition, their features, and the options."""
    shape, features, baseline = GAMES[case]
    model, x = Curved(*shape[1:]), items(shape)
    index = Features(features, x).index
    groups = index.expand(2, *index.shape[1:]).expand(shape).contiguous()  # captum takes views of it
    replaced = baseline_inputs("baseline", baseline, x)
    score = score_of(model, 1)
    values = [literal_masks.value_of(score, *parts) for parts in zip(x, groups, replaced, strict=True)]
    options = {"features": features, "baseline": baseline, "score": "logit"}
    return model, x, groups, values, [int(group.max()) + 1 for group in groups], options


def equal_per_entry(found: Explanation, expected: list[list[float]], groups: Tensor, atol: float = 1e-10) -> None:
    wanted = [literal_masks.per_entry(values, group) for values, group in zip(expected, groups, strict=True)]
    torch.testing.assert_close(found.attributions, torch.stack(wanted), rtol=0, atol=atol)


@pytest.mark.parametrize("case", GAMES)
def test_all_coalitions_give_exact_shapley_values(case: str) -> None:
    model, x, groups, values, counts, options = game_of(case)
    found = KernelSHAP(model, **options).explain(x, target=1, internal_batch_size=7)
    exact = [literal_masks.shapley(value, count) for value, count in zip(values, counts, strict=True)]
    equal_per_entry(found, exact, groups)
    assert found.evaluations.tolist() == [2**count for count in counts]
    attr = pytest.importorskip("captum.attr")
    replaced = baseline_inputs("baseline", options["baseline"], x)
    for i in range(2 if max(counts) < 6 else 0):  # it takes all orders, not all coalitions
        peer = attr.ShapleyValues(model).attribute(x[i : i + 1], replaced[i : i + 1], 1, feature_mask=groups[i : i + 1])
        torch.testing.assert_close(found.attributions[i], peer[0].double(), rtol=0, atol=1e-5)  # it sums in float32


@pytest.mark.parametrize("case", GAMES)
def test_all_orders_give_exact_shapley_values(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, groups, values, counts, options = game_of(case)

    def every_order(item_ids: Tensor, number: Tensor, features: int, seed: int) -> Tensor:
        return torch.tensor(list(itertools.permutations(range(features))))[number]

    monkeypatch.setattr(shapley_sampling, "place_of_features", every_order)
    for i, (value, count) in enumerate(zip(values, counts, strict=True)):
        orders = {1: 1, 2: 2, 3: 6, 4: 24, 5: 120, 6: 720}[count]
        only = options if not isinstance(options["features"], Tensor) else {**options, "features": groups[i : i + 1]}
        method = ShapleySampling(model, permutations=orders, antithetic=False, **only)
        equal_per_entry(
            method.explain(x[i : i + 1], target=1), [literal_masks.shapley(value, count)], groups[i : i + 1]
        )


@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("case", GAMES)
def test_sampled_orders_equal_their_definition(case: str, antithetic: bool) -> None:
    model, x, groups, values, counts, options = game_of(case)
    method = ShapleySampling(model, permutations=6, antithetic=antithetic, seed=3, **options)
    found = method.explain(x, target=1, item_ids=IDS, internal_batch_size=4)
    means, errors = [], []
    for item_id, value, count in zip(IDS, values, counts, strict=True):
        orders = [literal_masks.order(item_id, n, count, 3) for n in range(3 if antithetic else 6)]
        samples = [np.array(literal_masks.added(value, order)) for order in orders]
        if antithetic:
            reverse = [np.array(literal_masks.added(value, order[::-1])) for order in orders]
            samples = [(one + other) / 2 for one, other in zip(samples, reverse, strict=True)]
        means.append(list(np.mean(samples, 0)))
        errors.append(list(np.std(samples, 0, ddof=1) / len(samples) ** 0.5))
    equal_per_entry(found, means, groups)
    equal_per_entry(Explanation(attributions=found.standard_error, **_rest(found)), errors, groups)
    relative = [np.linalg.norm(error) / np.linalg.norm(mean) for error, mean in zip(errors, means, strict=True)]
    torch.testing.assert_close(found.relative_standard_error, torch.tensor(relative), rtol=0, atol=1e-10)
    assert found.evaluations.tolist() == [2 + 6 * (count - 1) for count in counts]


def _rest(found: Explanation) -> dict[str, Any]:
    return {"scores": found.scores, "evaluations": found.evaluations}


@pytest.mark.parametrize("case", ["grid", "mask", "rows"])
def test_the_same_orders_give_what_captum_gives(case: str) -> None:
    attr = pytest.importorskip("captum.attr")
    model, x, groups, _, _, options = game_of(case)
    method = ShapleySampling(model, permutations=5, antithetic=False, seed=2, **options)
    found = method.attribute(x, target=1, item_ids=[8, 8])
    peer = attr.ShapleyValueSampling(model)
    peer.permutation_generator = lambda features, samples: iter(
        [literal_masks.order(8, number, features, 2) for number in range(samples)]
    )
    replaced = baseline_inputs("baseline", options["baseline"], x)
    expected = peer.attribute(x, replaced, 1, feature_mask=groups, n_samples=5)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-6)


def test_samples_are_unbiased() -> None:
    model, x, _, _, _, options = game_of("grid")
    exact = KernelSHAP(model, **options).attribute(x, 1)
    for antithetic in (False, True):
        found = ShapleySampling(model, permutations=400, antithetic=antithetic, **options).explain(x, 1)
        assert ((found.attributions - exact).abs() < 5 * found.standard_error).all()
        assert (found.relative_standard_error < 0.1).all()
    sampled = KernelSHAP(model, **(options | {"features": (3, 4)}), samples=4000).attribute(x, 1)
    exact = KernelSHAP(model, **(options | {"features": (3, 4)}), samples=4096).attribute(x, 1)
    assert (sampled - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("samples", [20, 31])
def test_sampled_coalitions_are_fitted_as_by_the_conditions_of_an_optimum(samples: int) -> None:
    model, x, groups, values, counts, options = game_of("grid")
    method = KernelSHAP(model, samples=samples, seed=5, **options)
    found = method.explain(x, target=1, item_ids=IDS)
    expected = []
    for item_id, value, count in zip(IDS, values, counts, strict=True):
        z, weights = method._coalitions(torch.tensor([item_id]), count)
        assert (z[0, ::2] ^ z[0, 1::2]).all()  # pairs are complements
        assert weights.unique().tolist() == [1.0]
        y = np.array([value(frozenset(row.nonzero().flatten().tolist())) for row in z[0]])
        empty, whole = value(frozenset()), value(frozenset(range(count)))
        expected.append(literal_masks.constrained(z[0].double().numpy(), y - empty, weights[0].numpy(), whole - empty))
    equal_per_entry(found, [list(one) for one in expected], groups)
    assert found.evaluations.tolist() == [2 + samples // 2 * 2] * 2


def test_coalitions_are_drawn_by_the_shapley_kernel() -> None:
    method = KernelSHAP(Curved(5), samples=20)
    z, _ = method._coalitions(torch.arange(2000), 5)
    sizes = torch.bincount(z.sum(2).flatten(), minlength=6).double()
    kernel = torch.tensor([0, 1 / 4, 1 / 6, 1 / 6, 1 / 4, 0], dtype=torch.float64)
    expected = 2000 * 20 * kernel / kernel.sum()
    assert ((sizes - expected).abs() <= 6 * expected.sqrt()).all()
    singles = z.flatten(0, 1)[z.flatten(0, 1).sum(1) == 1].double().mean(0)
    torch.testing.assert_close(singles, torch.full_like(singles, 0.2), rtol=0, atol=0.02)


def draws(model: Callable[[Tensor], Tensor], **options: Any) -> QuantitativeInputInfluence:
    return QuantitativeInputInfluence(model, score="logit", **options)


@pytest.mark.parametrize("antithetic", [False, True])
def test_quantitative_input_influence_equals_its_definition(antithetic: bool) -> None:
    model, x, data = Curved(4), items((2, 4)), items((5, 4), 7)
    method = draws(model, baseline=data, permutations=6, antithetic=antithetic, seed=3)
    found = method.explain(x, target=1, item_ids=IDS, internal_batch_size=4)
    score, groups = score_of(model, 1), torch.arange(4)
    for i, item_id in enumerate(IDS):
        values, chosen = [], []
        for number in range(3 if antithetic else 6):
            row = literal_masks.words(item_id, number, 1, 3)[0] % 5
            value = literal_masks.value_of(score, x[i], groups, data[row])
            order = literal_masks.order(item_id, number, 4, 3)
            values += [literal_masks.added(value, one) for one in ([order, order[::-1]] if antithetic else [order])]
            chosen.append(score(data[row]))
        mean = torch.tensor(np.mean(values, 0))
        torch.testing.assert_close(found.attributions[i], mean, rtol=0, atol=1e-12)
        assert abs(float(mean.sum()) - (score(x[i]) - np.mean(chosen))) < 1e-12
    assert found.evaluations.tolist() == [1 + 6 * 4] * 2
    one_row = draws(model, baseline=data[:1], permutations=6, antithetic=antithetic, seed=3).attribute(x, 1)
    fixed = ShapleySampling(model, baseline=data[0], permutations=6, antithetic=antithetic, seed=3, score="logit")
    torch.testing.assert_close(one_row, fixed.attribute(x, 1), rtol=0, atol=1e-12)


METHODS: dict[str, Callable[..., Any]] = {
    "all coalitions": lambda model, **o: KernelSHAP(model, score="logit", **o),
    "coalitions": lambda model, **o: KernelSHAP(model, score="logit", samples=48, **o),
    "orders": lambda model, **o: ShapleySampling(model, score="logit", permutations=4, **o),
}
methods = pytest.mark.parametrize("name", METHODS)


@methods
def test_values_of_a_sum_are_its_terms(name: str) -> None:
    x = items((3, 6))
    found = METHODS[name](lambda x: x.square().sum(1, keepdim=True), baseline=0.5).explain(x)
    torch.testing.assert_close(found.attributions, x.square() - 0.25, rtol=0, atol=1e-11)
    if name == "orders":
        assert (found.standard_error < 1e-12).all()
    else:
        torch.testing.assert_close(found.r_squared, torch.ones(3, dtype=torch.float64))


def test_many_coalitions_are_as_exact_as_few() -> None:
    x = items((1, 16))
    found = KernelSHAP(lambda x: x.square().sum(1, keepdim=True), samples=2**16).attribute(x)
    torch.testing.assert_close(found, x.square(), rtol=0, atol=1e-11)


def test_equals_have_the_same_value_in_the_mean_of_the_orders() -> None:
    x = items((3, 6))
    x[:, 1] = x[:, 0]
    features = torch.tensor([[0, 1, 2, 3, 3, 4]])
    method = ShapleySampling(
        lambda x: torch.tanh(x[:, :1] * x[:, 1:2] + x[:, 2:3] * x[:, 3:4] * x[:, 4:5]),
        permutations=2000,
        features=features,
    )
    found = method.explain(x)
    values = found.attributions
    assert ((values[:, 0] - values[:, 1]).abs() < 5 * found.standard_error[:, 0]).all()


def test_tolerance_stops_an_item_at_a_round_of_its_own() -> None:
    x = items((4, 5)) * torch.tensor([0.01, 1.0, 3.0, 8.0]).view(4, 1)
    model = Curved(5)
    found = ShapleySampling(model, permutations=400, tolerance=0.08, score="logit").explain(x, 1)
    spent = (found.evaluations - 2) // 4
    assert set(spent.tolist()) <= {8, 16, 32, 64, 128, 256, 400}
    assert len(set(spent.tolist())) > 1
    for i, permutations in enumerate(spent.tolist()):
        fixed = ShapleySampling(model, permutations=permutations, score="logit").explain(x[i : i + 1], 1, item_ids=[i])
        torch.testing.assert_close(found.attributions[i], fixed.attributions[0], rtol=0, atol=1e-12)
        assert permutations == 400 or found.relative_standard_error[i] <= 0.08


def test_a_score_that_nothing_changes_has_no_error() -> None:
    found = ShapleySampling(lambda x: torch.full((len(x), 1), 0.3), tolerance=0.1).explain(items((2, 4)))
    assert found.attributions.count_nonzero() == found.relative_standard_error.count_nonzero() == 0
    assert found.evaluations.tolist() == [2 + 8 * 3] * 2


def test_superpixels_of_items_with_different_numbers_and_of_nan() -> None:
    pytest.importorskip("skimage")
    x = items((3, 3, 12, 10))
    x[1] = x[1].cumsum(-1).cumsum(-2)
    options: dict[str, Any] = {"features": "superpixels:20", "score": "logit"}
    assert len(set(Features(options["features"], x).counts)) > 1
    for method in (
        ShapleySampling(Curved(3, 12, 10), permutations=4, **options),
        KernelSHAP(Curved(3, 12, 10), samples=64, **options),
    ):
        alone = Explanation.cat([method.explain(x[i : i + 1], 0, item_ids=[i]) for i in range(3)])
        together = method.explain(x, 0)
        for field, value in together.tensors().items():
            torch.testing.assert_close(value, alone.tensors()[field], rtol=0, atol=1e-10)
        with pytest.raises(ModelError, match="NaN or infinity for item 2"):
            method.explain(x.index_fill(0, torch.tensor(2), torch.nan), 0)


WRONG: dict[str, tuple[Callable[[Curved], Any], str]] = {
    "odd": (lambda m: ShapleySampling(m, permutations=3), "permutations: expected an even number, for pairs, got 3"),
    "none": (lambda m: ShapleySampling(m, permutations=0), "permutations: expected an integer, at least 1"),
    "seed": (lambda m: ShapleySampling(m, seed=-1), "seed: expected an integer, from 0 to"),
    "tolerance": (lambda m: ShapleySampling(m, tolerance=-1), "tolerance: expected a positive, finite number"),
    "samples": (lambda m: KernelSHAP(m, samples=1), "samples: expected an integer, at least 2, got 1"),
    "one row": (lambda m: draws(m, baseline=[0.0] * 6), r"baseline: expected rows of a data set .*, got shape \(6,\)"),
    "no rows": (lambda m: draws(m, baseline=torch.zeros(0, 6)), "baseline: expected rows of a data set"),
    "a number": (lambda m: draws(m, baseline=0.0), r"baseline: expected rows of a data set .*, got shape \(\)"),
    "a word": (lambda m: draws(m, baseline="blur"), "baseline: expected rows of a data set .*, got str"),
    "columns": (lambda m: draws(m, baseline=torch.zeros(4, 5)), "baseline: expected a tensor that broadcasts"),
    "features": (lambda m: ShapleySampling(m, features=7), "features: expected an integer, from 1 to 6, got 7"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_named(case: str) -> None:
    make, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        make(Curved(6)).explain(items((2, 6)))


def test_a_linear_model_of_very_many_features_is_refused() -> None:
    with pytest.raises(InputError, match=r"features: expected at most 2048 for a linear model, .*, got 3000"):
        KernelSHAP(lambda x: x.sum(1, keepdim=True)).explain(torch.zeros(1, 3000))
