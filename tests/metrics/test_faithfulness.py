"""Metrics of faithfulness against their literal definitions, at their known values, and whatever the batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import literal_faithfulness as literal
import literal_metrics
import numpy as np
import peers
import pytest
import torch
from all_pairs import all_pairs
from networks import bumpy_mlp, images, smooth_cnn, vectors
from torch import Tensor, nn

from xai_fast import metrics
from xai_fast.engine.draws import random_entries
from xai_fast.errors import InputError, ModelError
from xai_fast.metrics import METRICS, RANKINGS
from xai_fast.metrics.imputation import Imputation

X, A = images(2)[:, :, :7, :5].contiguous(), images(2, seed=9)[:, :, :7, :5].contiguous()
IDS, SEED = [5, 2**33 + 7], 3
GROUPS = torch.arange(7).view(-1, 1) * 4 // 7 * 2 + torch.arange(5) * 2 // 5
"""(7, 5), of 4 x 2 cells."""
ZERO = torch.zeros(3, 7, 5, dtype=torch.float64)


def _network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(280, 4)
    return nn.Sequential(*layers).double().eval()


MODEL = _network()
CLEAN = MODEL(X).argmax(1)


def score_of(item: int) -> Callable[[Tensor], float]:
    return lambda x: float(MODEL(x[None]).softmax(1)[0, CLEAN[item]].detach())


def noise_of(item: int, samples: int, sigma: float) -> list[Tensor]:
    ids, number = torch.full((samples,), IDS[item]), torch.arange(samples)
    drawn = random_entries(X[:1].expand(samples, -1, -1, -1).flatten(1), ids, number, "normal", SEED, 2)
    return list(sigma * drawn.view(samples, *X.shape[1:]))


def halves_of(item: int, samples: int) -> list[Tensor]:
    ids, number = torch.full((samples,), IDS[item]), torch.arange(samples)
    drawn = random_entries(torch.empty(samples, 8, dtype=torch.float64), ids, number, "box", SEED, 4)
    return [torch.isin(GROUPS, (row > 0).nonzero()).expand(3, 7, 5) for row in drawn]


def _subsets(item: int, size: int, numbers: range) -> float:
    groups, zero = GROUPS.expand(3, 7, 5), ZERO
    ids = torch.full((len(numbers),), IDS[item])
    drawn = random_entries(
        torch.empty(len(numbers), 8, dtype=torch.float64), ids, torch.tensor(numbers), "normal", SEED, 4
    )
    return literal.subset_correlation(score_of(item), X[item], A[item], groups, zero, size, drawn.tolist())


def _per_item(function: Callable[..., float], item: int) -> float:
    return function(score_of(item), X[item], A[item], GROUPS.expand(3, 7, 5), ZERO)


def _sensitivity(item: int) -> float:
    sizes = literal.sizes_of(8, 4)
    return sum(_subsets(item, n, range(s * 9, s * 9 + 9)) for s, n in enumerate(sizes)) / 4


def _removal(item: int, contributions: bool, normalize: bool) -> float:
    baseline = torch.full((3, 7, 5), 0.4, dtype=torch.float64)
    slope = A[item] / (X[item] - baseline) if contributions else A[item]
    removed = [inside * (X[item] - baseline) for inside in halves_of(item, 12)]
    return literal.infidelity(score_of(item), X[item], slope, removed, normalize)


def _noise(item: int, contributions: bool, normalize: bool) -> float:
    slope = A[item] / X[item] if contributions else A[item]
    return literal.infidelity(score_of(item), X[item], slope, noise_of(item, 12, 0.2), normalize)


def _uncertainty(item: int) -> float:
    groups, low, high = GROUPS.expand(3, 7, 5), X[item].min(), X[item].max()
    expected = []
    for feature in range(8):
        changes = []
        for sample in range(6):
            number = torch.tensor([feature * 6 + sample])
            unit = random_entries(X[:1].flatten(1), torch.tensor([IDS[item]]), number, "box", SEED, 3).view(3, 7, 5)
            value = low + (high - low) * (unit + 1) / 2
            changed = literal.without(X[item], value, groups, [feature])
            changes.append((score_of(item)(X[item]) - score_of(item)(changed)) ** 2)
        expected.append(sum(changes) / 6)
    return literal.spearman([abs(a) for a in literal.by_feature(A[item], groups)], expected)


DRAWN = {"item_ids": IDS, "seed": SEED}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[int], float]]] = {
    "correlation": (
        "faithfulness_correlation",
        {"features": (4, 2), "share": 0.35, "subsets": 9, **DRAWN},
        lambda item: _subsets(item, 3, range(9)),
    ),
    "sensitivity-n": ("sensitivity_n", {"features": (4, 2), "sizes": 4, "subsets": 9, **DRAWN}, _sensitivity),
    "estimate": ("faithfulness_estimate", {"features": (4, 2)}, lambda item: _per_item(literal.estimate, item)),
    "monotonicity": ("monotonicity", {"features": (4, 2)}, lambda item: _per_item(literal.monotone_share, item)),
    "uncertainty": ("monotonicity_correlation", {"features": (4, 2), "samples": 6, **DRAWN}, _uncertainty),
    **{
        f"infidelity, {perturbation}, {contributions}, {normalize}": (
            "infidelity",
            {
                "perturbation": perturbation,
                "contributions": contributions,
                "normalize": normalize,
                "samples": 12,
                "sigma": 0.2,
                "features": (4, 2),
                "baseline": 0.4 if perturbation == "removal" else 0.0,
                **DRAWN,
            },
            lambda item, f=_removal if perturbation == "removal" else _noise, c=contributions, n=normalize: f(
                item, c, n
            ),
        )
        for perturbation, contributions, normalize in all_pairs(["removal", "noise"], [True, False], [True, False])
    },
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rows", [None, 3])
def test_equals_the_definition(name: str, rows: int | None) -> None:
    function, options, expected = CASES[name]
    got = getattr(metrics, function)(MODEL, X, A, internal_batch_size=rows, **options)
    assert got.values.tolist() == pytest.approx([expected(0), expected(1)], rel=1e-9, abs=1e-12)


REGIONS = torch.arange(7).view(-1, 1) // 3 * 2 + torch.arange(5) // 3
ENDS = {"mean": X.mean((2, 3), keepdim=True).expand_as(X), "black": torch.zeros_like(X)}


@pytest.mark.parametrize(("ranking", "order"), all_pairs([*RANKINGS], ["both", "morf", "lerf"]))
def test_regions_equal_the_definition(ranking: str, order: str) -> None:
    groups = torch.arange(7).view(-1, 1) // 2 * 3 + torch.arange(5) // 2
    got = metrics.region_perturbation(
        MODEL, X, A, order=order, region=2, steps=7, ranking=ranking, baseline="black", internal_batch_size=4
    )
    for item in range(2):
        values = torch.tensor(literal_metrics.importance(A[item], ranking)).view(7, 5)
        areas = []
        for which, first in enumerate({"both": [True, False], "morf": [True], "lerf": [False]}[order]):
            regions = literal.region_order(values, groups, False, first)
            scores = literal.curve(score_of(item), X[item], ENDS["black"][item], groups, regions, 7)
            assert got.curves[item, which].tolist() == pytest.approx(scores, abs=1e-12)
            areas.append(sum(scores[0] - s for s in scores) / 8)
        area = areas[0] - areas[1] if order == "both" else areas[0]
        assert float(got.values[item]) == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_irof_equals_the_definition_where_items_have_other_regions(ranking: str) -> None:
    groups = torch.stack([GROUPS, GROUPS // 3])
    got = metrics.irof(MODEL, X, A, features=groups[:, None], ranking=ranking)
    assert got.evaluations.tolist() == [9, 4]
    for item in range(2):
        values = torch.tensor(literal_metrics.importance(A[item], ranking)).view(7, 5)
        regions = literal.region_order(values, groups[item], True, True)
        scores = literal.curve(score_of(item), X[item], ENDS["mean"][item], groups[item], regions, len(regions))
        mean = sum((a + b) / 2 for a, b in itertools.pairwise(scores)) / len(regions) / scores[0]
        assert float(got.values[item]) == pytest.approx(1 - mean, abs=1e-12)
        assert got.curves[item].tolist() == pytest.approx(scores + [scores[-1]] * (9 - len(scores)), abs=1e-12)


@pytest.mark.parametrize("order", ["both", "morf", "lerf"])
def test_road_equals_the_definition(order: str) -> None:
    pytest.importorskip("scipy")
    shares = (0.2, 0.61, 0.95)
    got = metrics.road(MODEL, X, A, order=order, shares=shares, noise=0.03, internal_batch_size=2, **DRAWN)
    for item in range(2):
        values = literal_metrics.importance(A[item], "signed_sum")
        for which, largest in enumerate({"both": [True, False], "morf": [True], "lerf": [False]}[order]):
            ranked = sorted(range(35), key=lambda i, v=values, s=largest: -v[i] if s else v[i])
            for k, share in enumerate(shares):
                missing = torch.zeros(35, dtype=torch.bool)
                missing[ranked[: math.floor(share * 35)]] = True
                missing = missing.view(7, 5)
                number = torch.tensor([which * 3 + k])
                noise = random_entries(X[:1].flatten(1), torch.tensor([IDS[item]]), number, "normal", SEED, 1)
                image = literal.imputed(X[item], missing) + 0.03 * noise.view(3, 7, 5) * missing
                assert float(got.curves[item, which, k]) == pytest.approx(score_of(item)(image), abs=1e-10)
    mean = got.curves.mean(2)
    assert torch.equal(got.values, mean[:, 1] - mean[:, 0] if order == "both" else mean[:, 0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 9), (9, 4)])
def test_imputation_of_any_shape(shape: tuple[int, int]) -> None:
    pytest.importorskip("scipy")
    x = torch.rand(2, *shape, dtype=torch.float64)
    for share in (0.0, 0.3, 0.8):
        missing = torch.rand(shape) < share
        if not missing.all():
            got = Imputation(*shape)(x.flatten(1).numpy(), missing.flatten().numpy())
            np.testing.assert_allclose(got, literal.imputed(x, missing).flatten(1), atol=1e-12)
    everything = Imputation(*shape)(x.flatten(1).numpy(), np.ones(shape, bool).ravel())
    np.testing.assert_allclose(everything, x.mean((1, 2)).view(2, 1).expand(2, x[0].numel()))


def test_sufficiency_equals_the_definition() -> None:
    x, maps = images(12)[:, :, :7, :5], images(12, seed=9)[:, :, :7, :5].clone()
    maps[:6] *= 0.1
    got = metrics.sufficiency(MODEL, x, maps, threshold=0.7)
    expected = literal.sufficiency(list(maps), MODEL(x).argmax(1).tolist(), 0.7)
    assert 0 < sum(math.isnan(value) for value in expected) < 12
    assert got.values.tolist() == pytest.approx(expected, nan_ok=True)


def _curve(x: Tensor, end: Tensor, gone: set[int]) -> Tensor:
    image = x.clone().flatten(1)
    image[:, list(gone)] = end.flatten(1)[:, list(gone)]
    return image.view(x.shape)


@pytest.mark.parametrize("descending", [True, False])
def test_each_channel_ranks_by_itself_and_their_union_is_replaced(descending: bool) -> None:
    pytest.importorskip("scipy")
    order = "descending" if descending else "ascending"
    flips = metrics.pixel_flipping(MODEL, X, A, ranking="per_channel", steps=6, order=order)
    road = metrics.road(
        MODEL, X, A, ranking="per_channel", order="morf" if descending else "lerf", shares=(0.3,), noise=1e-9
    )
    regions = metrics.region_perturbation(
        MODEL, X, A, ranking="per_channel", order="morf" if descending else "lerf", region=3, baseline=0.0
    )
    sums = torch.stack([A[:, :, r == REGIONS].sum(2) for r in range(6)], 2)
    for item in range(2):
        for k in range(7):
            gone = literal.union_order(A[item].flatten(1), k * 35 // 6, descending)
            expected = score_of(item)(_curve(X[item], torch.zeros_like(X[item]), gone))
            assert float(flips.curves[item, k]) == pytest.approx(expected, abs=1e-12)
        missing = torch.zeros(35, dtype=torch.bool)
        missing[list(literal.union_order(A[item].flatten(1), 10, descending))] = True
        assert 10 < int(missing.sum()) <= 30
        expected = score_of(item)(literal.imputed(X[item], missing.view(7, 5)))
        assert float(road.curves[item, 0, 0]) == pytest.approx(expected, abs=1e-7)
        for k in range(7):
            gone = literal.union_order(sums[item], k, descending)
            image = literal.without(X[item], torch.zeros_like(X[item]), REGIONS.expand(3, 7, 5), gone)
            assert float(regions.curves[item, 0, k]) == pytest.approx(score_of(item)(image), abs=1e-12)


def test_insertion_and_deletion_per_channel() -> None:
    got = metrics.insertion_deletion(MODEL, X, A, ranking="per_channel", steps=5, baselines=("black",))
    for k in range(6):
        gone = literal.union_order(A[1].flatten(1), k * 35 // 5, True)
        inserted = _curve(torch.zeros_like(X[1]), X[1], gone)
        assert float(got.insertion_curves[1, k]) == pytest.approx(score_of(1)(inserted), abs=1e-12)
    one = metrics.insertion_deletion(MODEL, X, A[:, :1], ranking="per_channel", steps=5)
    assert torch.equal(
        one.difference, metrics.insertion_deletion(MODEL, X, A[:, :1], ranking="signed_sum", steps=5).difference
    )


def test_a_random_map_of_three_channels_scores_half_of_a_linear_score_per_channel() -> None:
    """With t of the pixels of each channel gone, ``1 - (1 - t)^3`` of all are."""
    maps = torch.randn(40, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    options = {"score": "output", "baselines": ("black",), "steps": 81}
    x = torch.ones(40, 3, 9, 9)
    got = metrics.insertion_deletion(lambda x: x.mean((1, 2, 3)), x, maps, ranking="per_channel", **options)
    assert float(got.difference.mean()) == pytest.approx(0.5, abs=0.01)
    one_order = metrics.insertion_deletion(lambda x: x.mean((1, 2, 3)), x, maps, **options)
    assert float(one_order.difference.abs().max()) < 1e-6


RANDOM = {name: m for name, m in METRICS.items() if m.needs == "attributions" and name != "sufficiency"}


@pytest.mark.parametrize("name", RANDOM)
def test_a_result_depends_on_the_item_alone_and_its_evaluations_are_counted(name: str) -> None:
    pytest.importorskip({"road": "scipy", "irof": "skimage"}.get(name, "torch"))
    rows: list[int] = []

    def counted(x: Tensor) -> Tensor:
        rows.append(len(x))
        return MODEL(x)

    metric = RANDOM[name]
    more = {} if metric.value != "values" else {"item_ids": [7, 8]}
    all_of = metric.function(counted, X, A, internal_batch_size=5, **more)
    assert int(all_of.evaluations.sum()) == sum(rows)
    one = metric.function(MODEL, X[1:], A[1:], **{} if not more else {"item_ids": [8]})
    torch.testing.assert_close(getattr(all_of, metric.value)[1:], getattr(one, metric.value), rtol=1e-10, atol=1e-12)
    assert torch.equal(all_of.evaluations[1:], one.evaluations)
    narrow = metric.function(MODEL, X, A.float(), **more)
    assert getattr(narrow, metric.value).shape == (2,)


WEIGHTS = torch.tensor([[3.0, -1.0, 2.0, -4.0, 0.5, 1.5]], dtype=torch.float64)
LINEAR = nn.Linear(6, 1).double().eval()
LINEAR.weight.data.copy_(WEIGHTS)
LINEAR.bias.data.fill_(12.0)
POINTS = vectors(3)
PERFECT = POINTS * WEIGHTS
SMALL: dict[str, dict[str, Any]] = {
    "abpc": {"region": 1, "baseline": 0.0},
    "aopc_morf": {"region": 1, "baseline": 0.0},
    "aopc_lerf": {"region": 1, "baseline": 0.0},
    "irof": {"features": None, "baseline": 0.0},
    "pixel_flipping": {"steps": 6, "score": "output"},
    "insertion": {"steps": 6, "ranking": "signed_sum", "baselines": ("black",), "score": "output"},
    "deletion": {"steps": 6, "ranking": "signed_sum", "baselines": ("black",), "score": "output"},
    "insertion_deletion": {"steps": 6, "ranking": "signed_sum", "baselines": ("black",), "score": "output"},
}


def _of_linear(name: str, maps: Tensor, item: int) -> Tensor:
    metric = METRICS[name]
    x = POINTS[item].expand(len(maps), 6).contiguous()
    return getattr(metric.function(LINEAR, x, maps, **SMALL[name]), metric.value)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("item", [0, 1])
def test_no_order_beats_the_contributions_to_a_linear_model_and_chance_is_known(name: str, item: int) -> None:
    orders = torch.tensor(list(itertools.permutations(range(6))), dtype=torch.float64)
    values = _of_linear(name, orders, item)
    best = values.amax() if METRICS[name].better == "higher" else values.amin()
    assert float(_of_linear(name, PERFECT[item : item + 1], item)) == pytest.approx(float(best), abs=1e-12)
    total = float(PERFECT[item].sum())
    chance = {
        "abpc": 0.0,
        "aopc_morf": total / 2,
        "aopc_lerf": total / 2,
        "irof": (1 - 12 / (12 + total)) / 2,
        "pixel_flipping": total / 2,
        "insertion": 12 + total / 2,
        "deletion": 12 + total / 2,
        "insertion_deletion": 0.0,
    }
    assert float(values.mean()) == pytest.approx(chance[name], abs=1e-12)


@pytest.mark.parametrize(
    ("function", "options", "best"),
    [
        ("faithfulness_correlation", {"share": 0.5}, 1.0),
        ("sensitivity_n", {"sizes": 4}, 1.0),
        ("faithfulness_estimate", {}, 1.0),
        ("infidelity", {}, 0.0),
        ("infidelity", {"perturbation": "noise"}, 0.0),
        ("infidelity", {"normalize": False}, 0.0),
    ],
)
def test_contributions_to_a_linear_model_are_perfect(function: str, options: dict[str, Any], best: float) -> None:
    got = getattr(metrics, function)(LINEAR, POINTS, PERFECT, **options)
    assert got.values.tolist() == pytest.approx([best] * 3, abs=1e-9)
    if function != "infidelity" or options.get("normalize", True):
        scaled = getattr(metrics, function)(LINEAR, POINTS, 7 * PERFECT, **options)
        assert scaled.values.tolist() == pytest.approx([best] * 3, abs=1e-9)


MANY = 400


@pytest.mark.parametrize(
    ("function", "options"),
    [
        ("faithfulness_correlation", {"subsets": 20}),
        ("sensitivity_n", {"sizes": 3, "subsets": 10}),
        ("faithfulness_estimate", {}),
        ("monotonicity_correlation", {"samples": 2}),
        ("region_perturbation", {"region": 1}),
    ],
)
def test_random_maps_score_zero_on_average(function: str, options: dict[str, Any]) -> None:
    x = vectors(1, entries=8).expand(MANY, 8).contiguous()
    maps = torch.randn(MANY, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = getattr(metrics, function)(bumpy_mlp(entries=8), x, maps, target=0, score="output", **options).values
    error = float(values.std()) / math.sqrt(MANY)
    assert error > 0
    assert abs(float(values.mean())) < 3.5 * error


def test_random_maps_score_zero_under_road() -> None:
    pytest.importorskip("scipy")
    x = images(1)[:, :, :7, :5].expand(60, -1, -1, -1).contiguous()
    values = metrics.road(MODEL, x, images(60, seed=4)[:, :, :7, :5], shares=(0.2, 0.5)).values
    assert abs(float(values.mean())) < 3.5 * float(values.std()) / math.sqrt(60)


def test_infidelity_of_zeros_and_of_random_maps() -> None:
    zeros = metrics.infidelity(LINEAR, POINTS, torch.zeros_like(POINTS), perturbation="noise", sigma=0.5, samples=4000)
    assert zeros.values.tolist() == pytest.approx([0.25 * float(WEIGHTS.square().sum())] * 3, rel=0.1)
    maps = torch.randn(200, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = POINTS[:1].expand(200, 6).contiguous()
    options = {"perturbation": "noise", "contributions": False, "sigma": 0.5}
    found = metrics.infidelity(LINEAR, x, maps, **options).values
    least = metrics.infidelity(LINEAR, x, torch.zeros_like(maps), **options).values
    assert bool((found <= least).all())
    # The cosine of a random direction to the weights has a mean square of 1 / 6.
    assert float(found.mean()) == pytest.approx(float(least.mean()) * 5 / 6, rel=0.06)


def test_monotonicity_of_a_linear_model_is_the_share_of_contributions_that_are_not_negative() -> None:
    expected = (PERFECT >= 0).double().mean(1).tolist()
    for maps in (PERFECT, torch.randn(3, 6)):
        assert metrics.monotonicity(LINEAR, POINTS, maps).values.tolist() == pytest.approx(expected)


def test_ranks_that_agree_with_uncertainty_are_perfect() -> None:
    model, x = bumpy_mlp(), vectors(2)
    found = metrics.monotonicity_correlation(model, x, vectors(2, seed=4))
    again = metrics.monotonicity_correlation(model, x, -found.curves.sqrt())
    assert again.values.tolist() == pytest.approx([1.0, 1.0])


def test_like_explanations_of_random_items_are_as_often_of_the_same_class_as_any() -> None:
    x = vectors(300)
    maps = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)).repeat(1, 3)
    got = metrics.sufficiency(bumpy_mlp(), x, maps, threshold=0.2)
    share = torch.bincount(got.targets).double().square().sum() / 300**2
    assert float(got.values.nanmean()) == pytest.approx(float(share), abs=0.02)
    perfect = nn.functional.one_hot(got.targets, 3).double().repeat(1, 2)
    assert metrics.sufficiency(bumpy_mlp(), x, perfect, threshold=0.2).values.tolist() == [1.0] * 300


@pytest.mark.parametrize("function", ["faithfulness_correlation", "faithfulness_estimate", "monotonicity_correlation"])
def test_constant_maps_and_scores_have_nothing_in_common(function: str) -> None:
    metric = getattr(metrics, function)
    assert metric(MODEL, X, torch.full_like(X, 0.1)).values.tolist() == [0.0, 0.0]
    assert metric(
        lambda x: torch.stack([x.flatten(1)[:, 0] * 0, x.flatten(1)[:, 0] * 0 + 1], 1), X, A
    ).values.tolist() == [0, 0]


@pytest.mark.parametrize("perturbation", ["noise", "removal"])
@pytest.mark.parametrize("normalize", [True, False])
def test_captum_has_the_same_infidelity(perturbation: str, normalize: bool) -> None:
    captum = pytest.importorskip("captum.metrics")
    given = {
        "noise": [torch.stack(noise_of(item, 12, 0.2)) for item in range(2)],
        "removal": [torch.stack(halves_of(item, 12)) * X[item] for item in range(2)],
    }[perturbation]
    every = torch.stack(given, 0).flatten(0, 1)  # captum repeats items, each one's samples side by side

    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        return every, x - every

    expected = captum.infidelity(
        lambda x: MODEL(x).softmax(1), perturb, X, A, target=CLEAN, n_perturb_samples=12, normalize=normalize
    )
    got = metrics.infidelity(
        MODEL,
        X,
        A,
        perturbation=perturbation,
        contributions=False,
        normalize=normalize,
        samples=12,
        sigma=0.2,
        features=(4, 2),
        **DRAWN,
    )
    torch.testing.assert_close(got.values, expected)


@pytest.mark.filterwarnings("ignore")
def test_quantus_has_the_same_where_it_measures_the_same() -> None:
    """It does not, where it differs from the papers: its IROF is not divided by the regions of an item, and pads those
    with fewer by zeros; its monotonicity replaces the baseline by itself, and is always true; its sensitivity-n removes
    features by rank and correlates over items; its infidelity perturbs patch after patch; its ROAD takes numbers of
    entries for those of pixels where there are several channels. Its "black" is the least value of the batch.
    """
    pytest.importorskip("scipy")
    quantus = peers.quantus()
    x, maps = X[:, :1, :6, :4].float(), A[:, :1, :6, :4].float()
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 8), nn.GELU(), nn.Linear(8, 3)).eval()
    of = {"model": model, "x_batch": x.numpy(), "y_batch": model(x).argmax(1).numpy(), "a_batch": maps.numpy()}
    options = {"normalise": False, "perturb_baseline": 0.0, "disable_warnings": True}
    theirs = quantus.FaithfulnessEstimate(abs=False, **options)(**of, softmax=True)
    got = metrics.faithfulness_estimate(model, x, maps, features=None)
    assert got.values.tolist() == pytest.approx(list(theirs), abs=1e-5)
    for order in ("morf", "lerf"):
        theirs = quantus.RegionPerturbation(patch_size=2, order=order, **options)(**of, softmax=True)
        curves = metrics.region_perturbation(model, x, maps, order=order, region=2).curves[:, 0]
        np.testing.assert_allclose(np.array(theirs), (curves[:, :1] - curves[:, 1:]).numpy(), atol=1e-6)
    missing = np.arange(24) % 5 < 3
    image = X[0].flatten(1)[:, :24]
    imputed = quantus.functions.perturb_func.noisy_linear_imputation(
        image.view(3, 6, 4).numpy(), missing.nonzero()[0], 0.0
    )
    np.testing.assert_allclose(Imputation(6, 4)(image.numpy(), missing), imputed.reshape(3, 24), atol=1e-12)


@pytest.mark.parametrize("maps", [A[:, :1], A[:, 0], A[:, :2]])
def test_maps_of_other_channels(maps: Tensor) -> None:
    whole = maps if maps.ndim == 4 else maps[:, None]
    got = metrics.faithfulness_estimate(MODEL, X, maps, features=(4, 2)).values
    like = whole.sum(1, keepdim=True).expand_as(X)
    torch.testing.assert_close(got, metrics.faithfulness_estimate(MODEL, X, like, features=(4, 2)).values)
    entries = metrics.faithfulness_estimate(MODEL, X, maps, features=None).values
    torch.testing.assert_close(entries, metrics.faithfulness_estimate(MODEL, X, like, features=None).values)


def test_superpixels_that_differ_by_item() -> None:
    pytest.importorskip("skimage")
    x, maps = images(3), images(3, seed=5)
    for function in (metrics.irof, metrics.sensitivity_n, metrics.monotonicity, metrics.faithfulness_estimate):
        got = function(smooth_cnn(), x, maps, features="superpixels:12")
        alone = function(
            smooth_cnn(),
            x[2:],
            maps[2:],
            features="superpixels:12",
            **{} if function is not metrics.sensitivity_n else {"item_ids": [2]},
        )
        torch.testing.assert_close(got.values[2:], alone.values, rtol=1e-9, atol=1e-12)


NANS = X.clone()
NANS[1, 0, 0, 0] = torch.nan


@pytest.mark.parametrize(
    ("function", "change", "error", "message"),
    [
        ("faithfulness_correlation", {"share": 0.0}, InputError, r"share: expected a number above 0 to 1, got 0.0"),
        ("faithfulness_correlation", {"subsets": 1}, InputError, r"subsets: expected an integer, at least 2, got 1"),
        ("faithfulness_correlation", {"seed": -1}, InputError, r"seed: expected an integer, from 0"),
        ("faithfulness_correlation", {"features": "cell"}, InputError, r"features: expected None"),
        ("faithfulness_correlation", {"baseline": "white"}, InputError, r"baseline: expected"),
        ("faithfulness_correlation", {"inputs": NANS}, ModelError, r"of item 1$"),
        ("faithfulness_estimate", {"attributions": NANS}, InputError, r"attributions: expected finite .* item 1$"),
        ("faithfulness_estimate", {"attributions": A[:, :, 1:]}, InputError, r"attributions: expected shape"),
        ("faithfulness_estimate", {"tagret": 1}, TypeError, r"tagret"),
        ("sensitivity_n", {"sizes": 0}, InputError, r"sizes: expected an integer, at least 1, got 0"),
        ("monotonicity_correlation", {"samples": 0}, InputError, r"samples: expected an integer, at least 1, got 0"),
        ("monotonicity_correlation", {"inputs": NANS}, ModelError, r"of item 1$"),
        ("infidelity", {"perturbation": "mask"}, InputError, r"perturbation: expected one of removal, noise"),
        ("infidelity", {"sigma": 0}, InputError, r"sigma: expected a positive, finite number, got 0"),
        ("region_perturbation", {"order": "up"}, InputError, r"order: expected one of both, morf, lerf, got 'up'"),
        ("region_perturbation", {"ranking": "x"}, InputError, r"ranking: .* sum_of_abs, per_channel, got 'x'"),
        ("region_perturbation", {"region": 0}, InputError, r"region: expected an integer, at least 1, got 0"),
        ("region_perturbation", {"inputs": NANS}, ModelError, r"of item 1$"),
        ("irof", {"features": None}, InputError, r"features: expected regions of pixels, the same in all channels"),
        ("irof", {"features": 2, "target": lambda o: o[:, 0] * 0}, ModelError, r"2 items: 0, 1$"),
        ("road", {"shares": (0.5, 1.0)}, InputError, r"shares: expected numbers above 0 and below 1, got"),
        ("road", {"noise": -1}, InputError, r"noise: expected a positive, finite number, got -1"),
        ("road", {"inputs": POINTS[:2], "attributions": POINTS[:2]}, InputError, r"inputs: expected images"),
        ("sufficiency", {"target": 1}, InputError, r"target: expected None, as predictions are compared, got 1"),
        ("sufficiency", {"inputs": X[:1], "attributions": A[:1]}, InputError, r"inputs: expected at least two items"),
        ("sufficiency", {"threshold": 2}, InputError, r"threshold: expected a number from 0 to 1, got 2"),
    ],
)
def test_bad_arguments(function: str, change: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {"inputs": X, "attributions": A} | change
    model = MODEL if given["inputs"].ndim == 4 else LINEAR
    with pytest.raises(error, match=message):
        getattr(metrics, function)(model, given.pop("inputs"), given.pop("attributions"), **given)
