"""T-NID equals nested autograd over all sets, finds what is known, and says what is wrong with bad inputs."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tnid_examples import network, rows
from torch import Tensor, nn

from xai_fast import TNID, InteractionRanking, ZeroCurvatureError
from xai_fast.interaction import search


class Known(nn.Module):
    """x0 x1 x2 + sin(x3) x4; x5 is not used."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] * x[:, 1] * x[:, 2] + torch.sin(x[:, 3]) * x[:, 4]


TRUE_SETS = ((0, 1, 2), (3, 4))


def is_true(features: tuple[int, ...]) -> bool:
    return any(set(features) <= set(known) for known in TRUE_SETS)


def mixed(score: Callable[[Tensor], Tensor], x: Tensor, members: tuple[int, ...], steps: Tensor) -> Tensor:
    """F_T along steps of the features at one row, by nested autograd."""
    point = x.clone().requires_grad_()
    value = score(point[None])[0]
    for member in members:
        if not value.requires_grad:
            return torch.zeros((), dtype=torch.float64)
        (gradient,) = torch.autograd.grad(value, point, create_graph=True, allow_unused=True)
        if gradient is None:
            return torch.zeros((), dtype=torch.float64)
        value = gradient[member] * steps[member]
    return value.detach()


def literal(
    score: Callable[[Tensor], Tensor], points: Tensor, order: int, steps: Tensor
) -> dict[tuple[int, ...], Tensor]:
    return {
        members: torch.stack([mixed(score, x, members, steps) for x in points])
        for k in range(1, order + 1)
        for members in itertools.combinations(range(points.shape[1]), k)
    }


def compare(ranking: InteractionRanking, expected: dict[tuple[int, ...], float], rtol: float = 1e-9) -> None:
    for members, value in expected.items():
        assert ranking[members].effect == pytest.approx(value, rel=rtol, abs=1e-18), members


@pytest.mark.parametrize("effect", ["square", "absolute", "signed"])
@pytest.mark.parametrize("aggregate", ["mean", "median", "min", "max"])
def test_effects_equal_nested_autograd(effect: str, aggregate: str) -> None:
    model, x = network(), rows()
    ranking = TNID(model, order=3, effect=effect, aggregate=aggregate, representatives=3).detect(x)
    points = x[list(ranking.representative_indices or ())]
    assert len(points) == 3
    of_point = {"square": torch.square, "absolute": torch.abs, "signed": torch.clone}[effect]
    over = {"mean": np.mean, "median": np.median, "min": np.min, "max": np.max}[aggregate]
    found = literal(lambda p: model(p)[:, 0], points, 3, x.std(0, correction=0))
    compare(ranking, {members: float(over(of_point(values).numpy())) for members, values in found.items()})
    for members, values in found.items():
        assert ranking[members].spread == pytest.approx(float(of_point(values).std(correction=0)), rel=1e-7, abs=1e-16)


@pytest.mark.parametrize("order", [4, 6])
def test_high_orders_equal_nested_autograd(order: int) -> None:
    model, x = network(6), rows()
    ranking = TNID(model, order=order, representatives=x[:2], scale="unit").detect(x)
    found = literal(lambda p: model(p)[:, 0], x[:2], order, torch.ones(6))
    compare(ranking, {members: float(values.square().mean()) for members, values in found.items()}, rtol=1e-7)
    assert [ranking.order(k).candidates for k in range(1, order + 1)] == [math.comb(6, k) for k in range(1, order + 1)]


@pytest.mark.parametrize("score", ["logit", "probability", "log_probability"])
@pytest.mark.parametrize("target", [None, 2, "per row", "callable"])
def test_targets_and_scores(target: object, score: str) -> None:
    model, x = network(5, 3), rows(30, 5)
    classes = torch.arange(30) % 3
    if target == "per row":
        target = classes.tolist()
    elif target == "callable":
        target = lambda outputs: outputs[:, 0] * outputs[:, 1]  # noqa: E731
    ranking = TNID(model, order=2, score=score, representatives=4).detect(x, target)
    chosen = torch.tensor(ranking.representative_indices)
    points = x[chosen]
    wanted = model(points).argmax(1) if target is None else classes[chosen] if isinstance(target, list) else [2] * 4
    final = {"logit": lambda z: z, "probability": lambda z: z.softmax(1), "log_probability": lambda z: z.log_softmax(1)}
    expected = {}
    for place, point in enumerate(points):

        def one(p: Tensor, place: int = place) -> Tensor:
            return target(model(p)) if callable(target) else final[score](model(p))[:, int(wanted[place])]

        for members, values in literal(one, point[None], 2, x.std(0, correction=0)).items():
            expected[members] = expected.get(members, 0.0) + float(values[0]) ** 2 / 4
    compare(ranking, expected)


def test_known_sets_are_found_and_what_is_not_used_is_zero() -> None:
    ranking = TNID(Known().eval(), order=4, representatives=10).detect(rows())
    for order in range(2, 5):
        for found in ranking.order(order):
            assert (found.effect > 0) == is_true(found.indices), found
    assert ranking["x0", "x1", "x2"].effect == pytest.approx(float(rows().std(0, correction=0)[:3].square().prod()))
    assert ranking["x5"].effect == 0
    assert {found.indices for found in ranking.prune_redundant() if found.effect > 0} >= set(TRUE_SETS)


def test_additive_functions_have_exactly_no_interaction() -> None:
    class Additive(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x).sum(1) + x[:, 0] ** 3

    with pytest.warns(UserWarning, match="exactly zero"):
        ranking = TNID(Additive().eval(), order=4).detect(rows())
    assert [found.effect for found in ranking] == [0.0] * len(ranking)
    assert ranking.order(1)[0].effect > 0


def test_permuted_features_give_permuted_interactions() -> None:
    model, x = network(), rows()
    order = [3, 0, 5, 1, 4, 2]
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved[0].weight.copy_(model[0].weight[:, order])
    plain = TNID(model, order=4, representatives=5).detect(x)
    permuted = TNID(moved, order=4, representatives=5).detect(x[:, order])
    assert len(plain) == len(permuted) == 50
    for found in plain:
        moved_to = tuple(order.index(i) for i in found.indices)
        assert permuted[moved_to].effect == pytest.approx(found.effect, rel=1e-8)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_exhaustive_equals_extensions_of_many(order: int) -> None:
    model, x = network(8), rows(40, 8)
    whole = TNID(model, order=order).detect(x)
    extended = TNID(model, order=order, exhaustive_order=1, top_k=1000).detect(x)
    for k in range(1, order + 1):
        assert whole.order(k).exhaustive
        assert extended.order(k).exhaustive == (k == 1)
        assert extended.order(k).candidates == whole.order(k).candidates
        assert {f.indices for f in extended.order(k)} == {f.indices for f in whole.order(k)}
        for found in whole.order(k):
            assert extended[found.indices].effect == pytest.approx(found.effect, rel=1e-7)


def test_few_parents_give_their_extensions_only() -> None:
    model, x = network(8), rows(40, 8)
    ranking = TNID(model, order=3, exhaustive_order=2, top_k=3).detect(x)
    parents = [set(found.indices) for found in ranking.order(2)[:3]]
    expected = {tuple(sorted(p | {f})) for p in parents for f in range(8) if f not in p}
    assert {found.indices for found in ranking.order(3)} == expected
    assert ranking.order(3).candidates == len(expected)
    assert len(ranking.order(2)) == 28


def test_the_budget_decides_what_is_exhaustive() -> None:
    model, x = network(8), rows(40, 8)
    small = TNID(model, order=3, budget=1, top_k=2).detect(x)
    assert [small.order(k).exhaustive for k in (1, 2, 3)] == [True, False, False]
    assert [TNID(model, order=3).detect(x).order(k).exhaustive for k in (1, 2, 3)] == [True] * 3


def test_parents_by_default_are_as_many_as_the_budget_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "DEFAULT_PARENTS", (28, 4, 1))
    model, x = network(8), rows(40, 8)
    of_budget = {
        budget: TNID(model, order=3, exhaustive_order=2, budget=budget).detect(x).order(3).candidates
        for budget in (1e9, 1e5, 1)
    }
    assert of_budget[1e9] == 56
    assert of_budget[1] == 6


def test_only_the_strongest_are_kept_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(9), rows(40, 9)
    whole = TNID(model, order=3).detect(x)
    monkeypatch.setattr("xai_fast.interaction.candidates._SLACK", 1)
    monkeypatch.setattr(search, "DEFAULT_PARENTS", (2,))
    few = TNID(model, order=3, keep=5).detect(x)
    for order in (1, 2, 3):
        assert few.order(order)[:] == whole.order(order)[:5]
        assert few.order(order).candidates == math.comb(9, order)


@pytest.mark.parametrize("combinations", [1, 7, 1 << 16])
def test_results_do_not_depend_on_blocks(combinations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(8), rows(40, 8)
    groups = {"pair": ["x1", "x4"]}
    options = {"order": 3, "exhaustive_order": 2, "top_k": 4, "representatives": 6}
    for given in (None, groups):
        expected = TNID(model, **options).detect(x, groups=given)
        with monkeypatch.context() as patch:
            patch.setattr(search, "_COMBINATIONS_AT_ONCE", combinations)
            found = TNID(model, **options).detect(x, groups=given)
        for order in (1, 2, 3):
            np.testing.assert_array_equal(found.order(order).sets, expected.order(order).sets)
            np.testing.assert_allclose(found.order(order).effects, expected.order(order).effects, rtol=1e-10)


def test_results_do_not_depend_on_memory() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 24), nn.GELU(), nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, 1)).double().eval()
    x = rows(50, 30)
    expected = TNID(model, order=3, representatives=7).detect(x)
    for limit in (1 << 20, 1 << 22):
        found = TNID(model, order=3, representatives=7, memory_limit=limit).detect(x)
        for order in (1, 2, 3):
            np.testing.assert_array_equal(found.order(order).sets, expected.order(order).sets)
            np.testing.assert_allclose(found.order(order).effects, expected.order(order).effects, rtol=1e-9)


def test_arrays_tensors_and_frames_give_the_same() -> None:
    pandas = pytest.importorskip("pandas")
    model, x = network().float(), rows().float()
    names = list("abcdef")
    expected = TNID(model, order=3, representatives=("mean", "max", "random")).detect(x, feature_names=names)
    for data in (
        x.numpy(),
        x.tolist(),
        np.asfortranarray(x.numpy()),
        x.numpy().astype(">f4"),
        pandas.DataFrame(x.numpy(), columns=names),
        x.double(),
    ):
        ranking = TNID(model, order=3, representatives=("mean", "max", "random")).detect(
            data, feature_names=None if isinstance(data, pandas.DataFrame) else names
        )
        assert ranking.top(50) == expected.top(50)
        assert ranking.representative_indices == expected.representative_indices


def test_units_of_the_columns_make_no_difference() -> None:
    model, x = network(), rows()
    scale = torch.tensor([1e-3, 10.0, 1.0, 500.0, 0.1, 1.0], dtype=torch.float64)
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[0].weight.copy_(model[0].weight / scale)
    plain, other = (TNID(m, order=3, representatives=5).detect(d) for m, d in ((model, x), (scaled, x * scale)))
    for found in plain:
        assert other[found.indices].effect == pytest.approx(found.effect, rel=1e-9)
    unit = TNID(scaled, order=2, scale="unit", representatives=5).detect(x * scale)
    step = x.std(0, correction=0) * scale
    assert unit[0, 3].effect * float(step[0] * step[3]) ** 2 == pytest.approx(plain[0, 3].effect, rel=1e-9)


def test_items_of_any_shape_and_functions_that_are_no_modules() -> None:
    x = rows(20, 12)
    model = network(12)
    image = nn.Sequential(nn.Flatten(), *model).eval()
    plain = TNID(model, order=2).detect(x)
    for explained, data in ((image, x.reshape(-1, 3, 2, 2)), (lambda v: model(v)[:, 0], x)):
        ranking = TNID(explained, order=2).detect(data)
        assert [f.indices for f in ranking] == [f.indices for f in plain]
        np.testing.assert_allclose(ranking.order(2).effects, plain.order(2).effects, rtol=1e-9)


def test_a_relu_network_raises_and_every_remedy_works() -> None:
    model, x = network(5, 3, nn.ReLU), rows(30, 5)
    before = model(x)
    with pytest.raises(ZeroCurvatureError) as caught:
        TNID(model, order=2).detect(x)
    for remedy in ('smooth="gelu"', '"softplus"', 'score="probability"', "fit_mlp"):
        assert remedy in str(caught.value)
    for options in ({"smooth": "gelu"}, {"smooth": "softplus"}, {"score": "probability"}):
        # Below a softmax the ReLUs still have no curvature of their own.
        told = contextlib.nullcontext() if "smooth" in options else pytest.warns(UserWarning, match="has relu: ")
        with told:
            ranking = TNID(model, order=2, **options).detect(x)
        assert ranking.order(2)[0].effect > 0
        assert (ranking.remedy is None) == ("smooth" not in options)
    assert torch.equal(model(x), before)
    gelu = network(5, 3, nn.GELU)
    expected = TNID(gelu, order=2).detect(x, 0)
    swapped = TNID(model, order=2, smooth="gelu").detect(x, 0)
    np.testing.assert_allclose(swapped.order(2).effects, expected.order(2).effects, rtol=1e-9)
    with pytest.raises(ZeroCurvatureError):
        TNID(nn.Linear(5, 1).double().eval(), order=2).detect(x)


def test_the_model_is_left_as_it_was() -> None:
    model, x = network(), rows()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = x.clone()
    state = torch.random.get_rng_state()
    TNID(model, order=3, smooth="gelu", representatives=5).detect(x)
    assert not model[0].weight.requires_grad
    assert model[0].bias.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert not model.training
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(x, kept)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_same_seed_gives_the_same() -> None:
    model, x = network(), rows()
    first, again, other = (
        TNID(model, order=2, representatives=3, seed=seed).detect(x) for seed in (5, 5, 6)
    )  # fmt: skip
    assert first.top(99) == again.top(99)
    assert first.representative_indices != other.representative_indices


def test_settings_say_what_was_done() -> None:
    tnid = TNID(network(), order=2, representatives=np.int64(3), aggregate="max", smooth="gelu")
    ranking = tnid.detect(rows(), groups={"both": [0, "x2"]}, target=0)
    json.dumps(ranking.settings, allow_nan=False)
    assert ranking.settings["representatives"] == 3
    assert ranking.settings["groups"] == {"both": ["x0", "x2"]}
    assert ranking.settings["target"] == 0
    chosen = TNID(network(6, 3), order=2).detect(rows(), target=np.int64(2))
    assert chosen.settings["target"] == 2
    assert isinstance(chosen.settings["target"], int)
    assert ranking.settings["aggregate"] == "max"
    assert ranking.remedy == "GELU in place of ReLU"
    assert len(ranking.scores) == len(ranking.representatives) == 3
    scores = -network()(rows()[list(ranking.representative_indices or ())])[:, 0]  # class 0 of a single output
    assert ranking.scores == pytest.approx(scores.tolist())
