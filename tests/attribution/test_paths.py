"""Integrated gradients, SmoothGrad, expected gradients and GradientSHAP equal their definitions, and captum's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparison import relative_rms
from literal_paths import expected_gradients, integrated_gradients, smoothed
from networks import bumpy_mlp, images, smooth_cnn, vectors
from torch import Tensor, nn

from xai_fast import ExpectedGradients, GradientSHAP, InputError, IntegratedGradients, Method, ModelError, SmoothGrad
from xai_fast.cli.option_values import read_option
from xai_fast.engine.draws import random_entries, random_words
from xai_fast.engine.masked import gaussian_blur
from xai_fast.engine.quadrature import RULES

IDS = [7, 3, 2**33 + 5]
SEED = 4
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "image": (smooth_cnn, images),
    "vector": (bumpy_mlp, vectors),
}
SAMPLED: dict[str, Callable[..., Method]] = {
    "smoothgrad": SmoothGrad,
    "expected_gradients": ExpectedGradients,
    "gradient_shap": GradientSHAP,
}
everywhere = pytest.mark.parametrize("network", NETWORKS)


def network_and_items(network: str) -> tuple[nn.Module, Tensor, Tensor]:
    model, items = NETWORKS[network]
    x = items(3)
    return model(), x, model()(x).argmax(1)


def probability(model: nn.Module, target: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: model(x[None]).softmax(1)[0, target]


def noise(x: Tensor, point: int, kind: str = "normal", step: int = 1) -> Tensor:
    """Draw what the methods draw for all items, unscaled."""
    rows = x.flatten(1)
    return random_entries(rows, torch.tensor(IDS), torch.full((3,), point), kind, SEED, step).view(x.shape)


def spread(x: Tensor) -> Tensor:
    return (x.flatten(1).amax(1) - x.flatten(1).amin(1)).view(-1, *[1] * (x.ndim - 1))


# --- Integrated gradients ---------------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("steps", [2, 5])
@pytest.mark.parametrize("rule", RULES)
def test_integrated_gradients_equals_its_definition(rule: str, steps: int, network: str) -> None:
    model, x, targets = network_and_items(network)
    found = IntegratedGradients(model, steps=steps, rule=rule, baseline=0.2).explain(x, internal_batch_size=4)
    for i, target in enumerate(targets):
        expected = integrated_gradients(probability(model, target), x[i], torch.full_like(x[i], 0.2), rule, steps)
        torch.testing.assert_close(found.attributions[i], expected, rtol=1e-8, atol=1e-14)
    with torch.no_grad():
        ends = [model(rows).softmax(1).gather(1, targets[:, None])[:, 0] for rows in (x, torch.full_like(x, 0.2))]
    torch.testing.assert_close(found.baseline_scores, ends[1])
    sums = found.attributions.flatten(1).sum(1)
    torch.testing.assert_close(found.delta, sums - (ends[0] - ends[1]), rtol=1e-8, atol=1e-14)
    assert found.evaluations.tolist() == [steps] * 3


CHANNELS = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
ITEMS = images(4, seed=9)


def of_all(baselines: Tensor) -> Callable[[Tensor], Tensor]:
    """Write out baselines (K, ...) that are the same for all items."""
    return lambda x: baselines.double().expand(len(baselines), *x.shape[1:])[None].expand(len(x), -1, -1, -1, -1)


LIKE_IMAGES = {
    "number": (0.5, of_all(torch.full((1, 1, 1, 1), 0.5))),
    "channels": (CHANNELS.tolist(), of_all(CHANNELS.view(1, 3, 1, 1))),
    "black": ("black", of_all(torch.zeros(1, 1, 1, 1))),
    "blur": ("blur", lambda x: gaussian_blur(x, 20.0)[:, None]),
    "mean": ("mean", lambda x: x.mean((2, 3), keepdim=True).expand(x.shape)[:, None]),
    "an item": (ITEMS[0], of_all(ITEMS[:1])),
    "float32": (CHANNELS.float()[:, None, None], of_all(CHANNELS.float().view(1, 3, 1, 1))),
    "several": (ITEMS, of_all(ITEMS)),
    "several constant": (CHANNELS.view(3, 1, 1, 1), of_all(CHANNELS.view(3, 1, 1, 1))),
    "array": (ITEMS[:2].numpy(), of_all(ITEMS[:2])),
}


@pytest.mark.parametrize("name", LIKE_IMAGES)
def test_baselines(name: str) -> None:
    """A tensor is one baseline, or with one more dimension K of them; it never belongs to the items of a batch."""
    given, written_out = LIKE_IMAGES[name]
    model, x, targets = network_and_items("image")
    found = IntegratedGradients(model, steps=3, baseline=given).explain(x, internal_batch_size=4)
    for i, baselines in enumerate(written_out(x)):
        score = probability(model, targets[i])
        each = [integrated_gradients(score, x[i], one, "gauss_legendre", 3) for one in baselines]
        torch.testing.assert_close(found.attributions[i], torch.stack(each).mean(0), rtol=1e-8, atol=1e-14)
        scores = torch.stack([score(one) for one in baselines])
        torch.testing.assert_close(found.baseline_scores[i], scores.mean().detach(), rtol=1e-8, atol=1e-14)
    assert found.evaluations.tolist() == [3 * len(written_out(x)[0])] * 3


def test_as_many_baselines_as_items_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Other packages would take one for each item."""
    model, x, _ = network_and_items("image")
    with caplog.at_level("INFO", "xai_fast"):
        IntegratedGradients(model, steps=1, baseline=images(2, seed=9)).explain(x)
        assert "baselines for every item" not in caplog.text
        IntegratedGradients(model, steps=1, baseline=images(len(x), seed=9)).explain(x)
    assert f"is taken as {len(x)} baselines for every item" in caplog.text


def test_baselines_of_a_file(tmp_path: Path) -> None:
    model, x, _ = network_and_items("image")
    file = tmp_path / "several.npy"
    np.save(file, images(4, seed=9).numpy())
    for method in (IntegratedGradients, ExpectedGradients):
        option = "baseline" if method is IntegratedGradients else "baselines"
        found = method(model, **{option: str(file)}).explain(x)
        assert torch.equal(found.attributions, method(model, **{option: images(4, seed=9)}).attribute(x))
        assert found.settings[option] == str(file)


@pytest.mark.parametrize("rule", RULES)
def test_a_tolerance_doubles_the_nodes_that_it_needs(rule: str) -> None:
    """The result is that of the last number of nodes; nodes that two of them have in common are evaluated once."""
    model, x, _ = network_and_items("vector")
    steps, tolerance = 129, 0.05
    found = IntegratedGradients(model, steps=steps, rule=rule, tolerance=tolerance).explain(x, internal_batch_size=5)
    extra = rule == "trapezoid"
    nested = rule not in ("gauss_legendre", "riemann_middle")
    counts = [4 * 2**k + extra for k in range(6)]
    lacking = [IntegratedGradients(model, steps=n, rule=rule).explain(x) for n in counts]
    enough = torch.stack([e.delta.abs() <= tolerance * (e.scores - e.baseline_scores).abs() for e in lacking])
    enough[-1] = True
    used = enough.long().argmax(0).tolist()  # the first
    for i, k in enumerate(used):
        torch.testing.assert_close(found.attributions[i], lacking[k].attributions[i], rtol=1e-8, atol=1e-14)
        assert int(found.evaluations[i]) == (counts[k] if nested else sum(counts[: k + 1]))
    assert len(set(used)) > 1  # items do not wait for each other


@pytest.mark.parametrize(("steps", "last"), [(3, 3), (7, 7), (8, 8), (50, 48), (64, 64)])
def test_steps_are_the_limit(steps: int, last: int) -> None:
    model, x, _ = network_and_items("vector")
    for extra, rule in enumerate(("riemann_left", "trapezoid")):
        found = IntegratedGradients(model, steps=steps + extra, rule=rule, tolerance=1e-12).explain(x)
        assert found.evaluations.tolist() == [last + extra] * 3


@pytest.mark.parametrize("rule", RULES)
def test_captum_integrated_gradients(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """captum rounds weights and Riemann's nodes to float32, which is undone here; the weights of its trapezoid rule add
    up to (n - 1) / n, so that attributions are too small by that factor."""
    attr = pytest.importorskip("captum.attr")
    model, x, targets = network_and_items("image")
    n = 6
    name = {"gauss_legendre": "gausslegendre", "trapezoid": "riemann_trapezoid"}.get(rule, rule)
    found = IntegratedGradients(model, steps=n, rule=rule, baseline=0.1).explain(x, targets)
    captum = attr.IntegratedGradients(lambda rows: model(rows).softmax(1))
    options = {"baselines": 0.1, "target": targets, "n_steps": n, "method": name, "return_convergence_delta": True}
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            maps, delta = captum.attribute(x, **options)
        finally:
            torch.set_default_dtype(torch.float32)
    share = (n - 1) / n if rule == "trapezoid" else 1.0
    torch.testing.assert_close(share * found.attributions, maps.detach(), rtol=1e-8, atol=1e-14)
    if share == 1.0:
        torch.testing.assert_close(found.delta, delta.detach(), rtol=1e-8, atol=1e-14)
    rounded, _ = captum.attribute(x, **options)
    assert relative_rms(share * found.attributions, rounded) < 1e-6


# --- Noise ------------------------------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("times_input", [False, True])
@pytest.mark.parametrize("aggregate", ["signed", "magnitude", "squared", "variance"])
def test_smoothgrad_equals_its_definition(aggregate: str, times_input: bool, relative: bool, network: str) -> None:
    model, x, targets = network_and_items(network)
    options = {"aggregate": aggregate, "times_input": times_input, "relative": relative}
    method = SmoothGrad(model, samples=5, noise=0.1, seed=SEED, **options)
    found = method.explain(x, item_ids=IDS, internal_batch_size=4)
    scale = spread(x) * 0.1 if relative else torch.full_like(spread(x), 0.1)
    noises = torch.stack([scale * noise(x, point) for point in range(5)])
    for i, target in enumerate(targets):
        mean, error = smoothed(probability(model, target), x[i], noises[:, i], aggregate, times_input)
        torch.testing.assert_close(found.attributions[i], mean, rtol=1e-8, atol=1e-14)
        if aggregate != "variance":
            torch.testing.assert_close(found.standard_error[i], error, rtol=1e-8, atol=1e-14)
    assert (found.standard_error is None) == (found.relative_standard_error is None) == (aggregate == "variance")
    assert found.evaluations.tolist() == [5] * 3


@pytest.mark.parametrize(
    ("aggregate", "kind"),
    [("signed", "smoothgrad"), ("magnitude", "smoothgrad"), ("squared", "smoothgrad_sq"), ("variance", "vargrad")],
)
def test_captum_noise_tunnel(aggregate: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attr = pytest.importorskip("captum.attr")
    model, x, targets = network_and_items("image")
    same = torch.stack([0.1 * noise(x, point) for point in range(4)], 1).flatten(0, 1)
    monkeypatch.setattr(torch, "normal", lambda mean, deviation: same)
    tunnel = attr.NoiseTunnel(attr.Saliency(lambda rows: model(rows).softmax(1)))
    absolute = aggregate == "magnitude"
    expected = tunnel.attribute(x, nt_type=kind, nt_samples=4, stdevs=0.1, target=targets, abs=absolute)
    method = SmoothGrad(model, samples=4, noise=0.1, relative=False, aggregate=aggregate, seed=SEED)
    got = method.attribute(x, targets, item_ids=IDS)
    torch.testing.assert_close(got, expected.detach(), rtol=1e-8, atol=1e-14)


def test_noise_has_the_standard_deviation_that_it_says() -> None:
    """Of the model x -> |x|^2 / 2 the gradient is the noisy item itself, so VarGrad is the variance of the noise."""
    x = images(4, torch.float32) + 3.0
    method = SmoothGrad(lambda rows: rows.square().flatten(1).sum(1) / 2, samples=400, aggregate="variance")
    deviation = method.attribute(x).flatten(1).mean(1).sqrt()
    torch.testing.assert_close(deviation, 0.15 * spread(x).flatten(), rtol=0.02, atol=0)
    torch.testing.assert_close(SmoothGrad(method.model, samples=400).attribute(x), x, rtol=0, atol=0.3)


# --- Expected gradients -----------------------------------------------------------------------------------------------


def draws(x: Tensor, baselines: Tensor | None, pairs: int, antithetic: bool, deviation: Tensor | None) -> list[Any]:
    """List the draws of each item, as the documentation says that they are made."""
    ids, found = torch.tensor(IDS), []
    first, stride = random_words(ids, torch.full((3,), 2**32 - 1), 2, SEED).T
    low, high = (end.view(-1, *[1] * (x.ndim - 1)) for end in torch.aminmax(x.flatten(1), dim=1))
    for point in range(pairs):
        alpha = (random_words(ids, torch.full((3,), point), 1, SEED)[:, 0].double() + 0.5) / 2**32
        drawn = (high + low) / 2 + (high - low) / 2 * noise(x, point, "box", 2)
        if baselines is not None:
            count = len(baselines)
            coprime = [k for k in range(1, count + 1) if np.gcd(k, count) == 1]
            places = [
                (int(first[i]) * count // 2**32 + coprime[int(stride[i]) * len(coprime) // 2**32] * point) % count
                for i in range(3)
            ]
            drawn = baselines[places]
        moved = x if deviation is None else x + deviation * noise(x, point)
        ends = [[(moved[i], drawn[i], float(alpha[i])), (moved[i], drawn[i], 1 - float(alpha[i]))] for i in range(3)]
        found.append([both[: 1 + antithetic] for both in ends])
    return [list(groups) for groups in zip(*found, strict=True)]


@everywhere
@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("given", ["uniform", 1, 6])
@pytest.mark.parametrize("name", ["expected_gradients", "gradient_shap"])
def test_expected_gradients_equals_its_definition(name: str, given: int | str, antithetic: bool, network: str) -> None:
    model, x, targets = network_and_items(network)
    baselines = None if given == "uniform" else NETWORKS[network][1](given) - 0.5
    options = {"baselines": "uniform" if baselines is None else baselines, "antithetic": antithetic, "samples": 8}
    method = SAMPLED[name](model, seed=SEED, **options)
    found = method.explain(x, item_ids=IDS, internal_batch_size=5)
    deviation = 0.15 * spread(x) if name == "gradient_shap" else None
    for i, groups in enumerate(draws(x, baselines, 4 if antithetic else 8, antithetic, deviation)):
        mean, error = expected_gradients(probability(model, targets[i]), x[i], groups)
        torch.testing.assert_close(found.attributions[i], mean, rtol=1e-8, atol=1e-13)
        torch.testing.assert_close(found.standard_error[i], error, rtol=1e-8, atol=1e-13)
    assert found.evaluations.tolist() == [8] * 3


@pytest.mark.parametrize("name", ["expected_gradients", "gradient_shap"])
def test_captum_gradient_shap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attr = pytest.importorskip("captum.attr")
    model, x, targets = network_and_items("image")
    baselines, deviation = images(6, seed=9), 0.3 if name == "gradient_shap" else 0.0
    listed = [draws(x, baselines, 5, False, torch.full((3, 1, 1, 1), deviation, dtype=x.dtype))[i] for i in range(3)]
    flat = [one for groups in listed for group in groups for one in group]
    noises = torch.stack([y for y, _, _ in flat]) - x.repeat_interleave(5, 0)
    monkeypatch.setattr(torch, "normal", lambda mean, scale: noises)
    places = [next(k for k, b in enumerate(baselines) if torch.equal(b, chosen)) for _, chosen, _ in flat]
    monkeypatch.setattr(np.random, "choice", lambda *_: np.array(places))
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: np.array([alpha for _, _, alpha in flat]))
    shap = attr.GradientShap(lambda rows: model(rows).softmax(1))
    expected = shap.attribute(x, baselines, n_samples=5, stdevs=deviation, target=targets)
    options = {"noise": deviation, "relative": False} if deviation else {}
    method = SAMPLED[name](model, baselines=baselines, samples=5, antithetic=False, seed=SEED, **options)
    torch.testing.assert_close(method.attribute(x, targets, item_ids=IDS), expected.detach(), rtol=1e-8, atol=1e-13)


def test_every_baseline_comes_before_one_comes_again() -> None:
    """So a linear score is complete over all baselines, without any error of sampling."""
    weight = vectors(1, entries=6)[0]
    x, baselines = vectors(5), vectors(7, seed=3)
    for antithetic in (True, False):
        options = {"samples": 14 if antithetic else 7, "antithetic": antithetic}
        method = ExpectedGradients(lambda rows: rows @ weight, baselines=baselines, **options)
        expected = (x - baselines.mean(0)) * weight
        torch.testing.assert_close(method.attribute(x), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("antithetic", [True, False])
def test_expected_gradients_is_complete_in_the_mean_and_its_standard_error_right(antithetic: bool) -> None:
    model, x = bumpy_mlp(), vectors(1).expand(200, -1).contiguous()
    baselines = vectors(5, seed=3)
    method = ExpectedGradients(model, baselines=baselines, samples=40, antithetic=antithetic)
    found = method.explain(x, 1)
    exact = IntegratedGradients(model, steps=200, baseline=baselines).attribute(x[:1], 1)
    error = (found.attributions - exact) / found.standard_error
    assert error.mean(0).abs().max() < 4 / 200**0.5
    assert 0.8 < error.square().mean().sqrt() < 1.2
    sums = found.attributions.sum(1)
    gap = found.scores[0] - model(baselines).softmax(1)[:, 1].mean()
    assert abs(sums.mean() - gap) < 4 * sums.std() / 200**0.5


def test_antithetic_pairs_have_smaller_errors_on_the_way() -> None:
    model, x = smooth_cnn(), images(6)
    methods = [ExpectedGradients(model, baselines=0.0, samples=40, antithetic=pairs) for pairs in (True, False)]
    errors = [method.explain(x, 0).standard_error.norm() for method in methods]
    assert errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize("name", SAMPLED)
def test_a_tolerance_is_met_with_fewer_samples(name: str) -> None:
    model, x = smooth_cnn(), images(4)
    found = SAMPLED[name](model, samples=4000, tolerance=0.2).explain(x)
    assert (found.relative_standard_error <= 0.2).all()
    assert (found.evaluations < 4000).all()


# --- Properties -------------------------------------------------------------------------------------------------------

METHODS: dict[str, Callable[[Any], Method]] = {
    "integrated_gradients": lambda model: IntegratedGradients(model, steps=30, score="output"),
    "smoothgrad": lambda model: SmoothGrad(model, samples=4, score="output"),
    "expected_gradients": lambda model: ExpectedGradients(model, samples=4, score="output"),
    "gradient_shap": lambda model: GradientSHAP(model, samples=4, score="output"),
}
on_all = pytest.mark.parametrize("name", METHODS)


def first(rows: Tensor) -> Tensor:
    return torch.sin(rows[:, 0] * rows[:, 1]) + rows[:, 2] ** 3


def test_integrated_gradients_is_complete_to_the_accuracy_of_its_rule() -> None:
    """An integrand of degree 2n - 1 is exact by Gauss's rule; the error of others falls as their order says."""
    x = vectors(4)
    cubic = IntegratedGradients(lambda rows: rows.sum(1) ** 4, steps=2).explain(x)
    assert cubic.delta.abs().max() < 1e-12 * cubic.scores.abs().max()
    for rule, order in (("riemann_left", 1), ("riemann_right", 1), ("riemann_middle", 2), ("trapezoid", 2)):
        extra = rule == "trapezoid"
        deltas = [IntegratedGradients(first, steps=n + extra, rule=rule).explain(x).delta for n in (64, 128)]
        torch.testing.assert_close(deltas[0] / deltas[1], torch.full((4,), 2.0**order).double(), rtol=0.05, atol=0)


# --- As other methods -------------------------------------------------------------------------------------------------


@on_all
def test_several_inputs_are_as_one_that_is_split(name: str) -> None:
    """But for ranges, which each input has of its own."""
    image, vector = images(3)[:, :1, :3, :4], vectors(3, entries=5)
    options: dict[str, Any] = {
        "integrated_gradients": {"baseline": (0.1, vectors(2, entries=5))},
        "smoothgrad": {"relative": False},
        "expected_gradients": {"baselines": (images(2, seed=5)[:, :1, :3, :4], vectors(2, entries=5)), "samples": 6},
        "gradient_shap": {"baselines": 0.0, "relative": False, "samples": 6},
    }[name]
    flat = dict(options)
    if name == "integrated_gradients":
        flat["baseline"] = torch.cat([torch.full((2, 12), 0.1, dtype=torch.float64), vectors(2, entries=5)], 1)
    if name == "expected_gradients":
        flat["baselines"] = torch.cat([part.flatten(1) for part in options["baselines"]], 1)

    def joint(rows: Tensor) -> Tensor:
        return torch.tanh(rows.sum(1)) * rows[:, 1] * rows[:, -1] + rows[:, 3].sin()

    kind = type(METHODS[name](joint))
    parts = kind(lambda a, b: joint(torch.cat([a.flatten(1), b], 1)), **options).attribute((image, vector))
    assert [part.shape for part in parts] == [image.shape, vector.shape]
    whole = kind(joint, **flat).attribute(torch.cat([image.flatten(1), vector], 1))
    torch.testing.assert_close(torch.cat([part.flatten(1) for part in parts], 1), whole, rtol=1e-10, atol=1e-14)


def test_ranges_are_those_of_each_input() -> None:
    x, y = vectors(3), 100.0 * vectors(3, seed=5)
    method = SmoothGrad(lambda a, b: (a**2).sum(1) + (b**2).sum(1), samples=600, aggregate="variance")
    for value, found in zip((x, y), method.attribute((x, y)), strict=True):
        torch.testing.assert_close(found.mean(1).sqrt(), 2 * 0.15 * spread(value).flatten(), rtol=0.1, atol=0)


class Words(nn.Module):
    """A classifier of token ids."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.body = nn.Embedding(9, 6), nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))

    def forward(self, ids: Tensor) -> Tensor:
        return self.body(self.words(ids).tanh().mean(1))


@on_all
def test_embeddings(name: str) -> None:
    model = Words().double().eval()
    ids = torch.randint(9, (4, 5), generator=torch.Generator().manual_seed(0))
    kind = type(METHODS[name](model))
    found = kind(model, embeddings="words").explain(ids)
    expected = kind(lambda rows: model.body(rows.tanh().mean(1))).explain(model.words(ids).detach(), found.targets)
    assert found.attributions.shape == (4, 5, 6)
    torch.testing.assert_close(found.attributions, expected.attributions)


@on_all
def test_bfloat16_and_static_shapes(name: str) -> None:
    model, x = smooth_cnn(torch.float32), images(5, torch.float32)
    kind = type(METHODS[name](model))
    whole = kind(model).explain(x, internal_batch_size=8)
    half = kind(model, precision="bf16").explain(x, internal_batch_size=8)
    cosine = torch.cosine_similarity(half.attributions.flatten(1), whole.attributions.flatten(1))
    assert half.attributions.dtype == torch.float32
    assert 0.9 < cosine.min() < 1 - 1e-7
    method = kind(model, compile=True)
    method._compiled["cpu"] = model  # static shapes without the compiler
    static = method.explain(x, internal_batch_size=8)
    torch.testing.assert_close(static.attributions, whole.attributions, rtol=1e-4, atol=1e-7)
    assert torch.equal(static.evaluations, whole.evaluations)


WRONG: dict[str, tuple[type[Method], dict[str, Any], str]] = {
    "rule": (IntegratedGradients, {"rule": "simpson"}, "rule: expected one of gauss_legendre"),
    "one node": (IntegratedGradients, {"rule": "trapezoid", "steps": 1}, "steps: expected an integer, at least 2"),
    "word": (IntegratedGradients, {"baseline": "white"}, "baseline: expected a number, .*'white'"),
    "shape": (IntegratedGradients, {"baseline": ITEMS[:, :2]}, r"baseline: expected a tensor .*\(3, 12, 12\)"),
    "channels": (IntegratedGradients, {"baseline": [0.0, 1.0]}, "baseline: expected one finite number, or 3"),
    "inputs": (IntegratedGradients, {"baseline": (0, 0, 0)}, "baseline: expected one for all, or 2"),
    "none": (ExpectedGradients, {"baselines": ITEMS[:0]}, "baselines: expected at least one"),
    "counts": (ExpectedGradients, {"baselines": (ITEMS[:3], ITEMS[:2])}, "baselines: expected as many"),
    "file": (ExpectedGradients, {"baselines": "none.npy"}, "baselines: expected an array .*none.npy"),
    "odd": (ExpectedGradients, {"samples": 7}, "samples: expected an even number"),
    "noise": (SmoothGrad, {"noise": -1.0}, "noise: expected a positive"),
    "shap": (GradientSHAP, {"noise": -1.0}, "noise: expected a positive"),
    "aggregate": (SmoothGrad, {"aggregate": "median"}, "aggregate: expected one of signed"),
    "variance": (SmoothGrad, {"aggregate": "variance", "tolerance": 0.1}, "tolerance: expected None with"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_option_is_named(wrong: str) -> None:
    method, options, message = WRONG[wrong]
    network, x = smooth_cnn(), images(3)
    several = wrong in ("inputs", "counts")
    model = (lambda a, b: network(a + b)) if several else network
    with pytest.raises(InputError, match=message):
        method(model, **options).explain((x, x) if several else x)


@pytest.mark.parametrize("method", [IntegratedGradients, ExpectedGradients])
def test_a_baseline_whose_score_is_not_finite(method: type[Method]) -> None:
    option = {"baseline" if method is IntegratedGradients else "baselines": torch.tensor([[0.0] * 6, [torch.nan] * 6])}
    with pytest.raises(ModelError, match="NaN or infinity"):
        method(bumpy_mlp(), **option).explain(vectors(3))


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.5", 0.5), ("-2.1,-2,0", [-2.1, -2.0, 0.0]), ("blur", "blur"), ("training.npy", "training.npy")],
)
def test_baselines_on_the_command_line(text: str, value: object) -> None:
    for method, option in (("integrated_gradients", "baseline"), ("gradient_shap", "baselines")):
        assert read_option(method, f"{option}={text}") == (option, value)


def test_the_options_of_gradient_shap_are_those_of_expected_gradients() -> None:
    options = GradientSHAP.options()
    assert set(options) == set(ExpectedGradients.options())
    assert (options["noise"].default, ExpectedGradients.options()["noise"].default) == (0.15, 0.0)
