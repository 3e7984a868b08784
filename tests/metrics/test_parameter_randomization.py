"""Randomised parameters and classes against their definitions."""

from __future__ import annotations

import sys
from typing import Any

import literal_explained
import peers
import pytest
import torch
from networks import images, smooth_cnn
from torch import Tensor, nn

from xai_fast import LRP, DeepLIFT, GradCAM, InputError, Saliency, SmoothGrad
from xai_fast.engine.call import Call
from xai_fast.engine.draws import random_entries
from xai_fast.metrics import METRICS, SIMILARITIES, parameter_randomization, random_logit
from xai_fast.metrics.similarity import map_similarity, ranks

NAMES = ("6", "3", "1", "0")


def cnn() -> nn.Module:
    """A network whose norm has learned something, so that each layer has weights to lose."""
    model = smooth_cnn()
    torch.nn.init.uniform_(model[1].weight, -1, 2)
    torch.nn.init.uniform_(model[1].running_var, 0.5, 2)
    return model


def saliency(model: nn.Module, x: Tensor, target: list[int]) -> Tensor:
    x = x.clone().requires_grad_()
    scores = model(x).softmax(1)[torch.arange(len(x)), target].sum()
    return torch.autograd.grad(scores, x)[0].abs()


def spearman(a: Tensor, b: Tensor) -> list[float]:
    stats = pytest.importorskip("scipy.stats")
    return [float(stats.spearmanr(p.flatten(), q.flatten()).statistic) for p, q in zip(a, b, strict=True)]


@pytest.mark.parametrize("samples", [0, 3])
def test_equals_the_definition(samples: int) -> None:
    model, x, target = cnn(), images(3), [1, 7, 2]
    noise = torch.zeros(1, 3, 3, 12, 12, dtype=torch.float64)
    if samples:
        like = torch.empty(9, 432, dtype=torch.float64)
        drawn = random_entries(like, torch.arange(3).repeat(3), torch.arange(9) // 3, "normal", 4, 2**31)
        spread = 0.2 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
        noise = drawn.view(3, 3, 3, 12, 12) * spread.view(1, 3, 1, 1, 1)
    models = [model, *literal_explained.cascade(model, NAMES, 4)]
    maps = [torch.stack([saliency(m, x + n, target) for n in noise]).mean(0) for m in models]
    got = parameter_randomization(
        Saliency(model), x, target=target, samples=samples, noise=0.2, seed=4, bins=20, internal_batch_size=4
    )
    expected = torch.tensor([spearman(maps[0], one) for one in maps[1:]], dtype=torch.float64).T
    assert got.layers == NAMES
    torch.testing.assert_close(got.similarities, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(got.values, expected.mean(1), rtol=0, atol=1e-9)
    torch.testing.assert_close(got.last, expected[:, -1], rtol=0, atol=1e-9)
    before, after = ([literal_explained.histogram_entropy(one, 20) for one in maps[k]] for k in (0, -1))
    rise = [(b - a) / a for a, b in zip(before, after, strict=True)]
    assert got.complexity_rise.tolist() == pytest.approx(rise, rel=1e-9)
    assert got.evaluations.tolist() == [5 * max(samples, 1)] * 3


def test_only_the_last_model() -> None:
    method, x = Saliency(cnn()), images(2)
    whole, last = parameter_randomization(method, x), parameter_randomization(method, x, only_last=True)
    assert last.layers == ("0",)
    torch.testing.assert_close(last.similarities, whole.similarities[:, -1:])
    torch.testing.assert_close(last.complexity_rise, whole.complexity_rise)
    assert last.evaluations.tolist() == [2, 2]


def test_the_model_and_the_global_generator_are_left_as_they_were() -> None:
    model, x = cnn(), images(2)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    parameter_randomization(Saliency(model), x)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


class HeadFirst(nn.Module):
    """Layers in another order than they run in, parameters of its own, and torch's attention, which only reads one."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.body = nn.Linear(4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x) + self.token
        return self.head(self.attention(x, x, x)[0].mean(1))


def test_layers_go_in_the_order_in_which_they_run() -> None:
    torch.manual_seed(0)
    got = parameter_randomization(Saliency(HeadFirst().eval()), torch.randn(2, 5, 4))
    assert got.layers == ("", "head", "attention.out_proj", "attention", "body")
    assert (got.similarities < 1).all()


def test_a_method_with_a_layer_and_one_that_samples() -> None:
    x = images(3)
    for method in (GradCAM(cnn(), "3"), SmoothGrad(cnn(), samples=2)):
        whole = parameter_randomization(method, x, item_ids=[4, 1, 3])
        one = parameter_randomization(method, x[1:2], item_ids=[1])
        torch.testing.assert_close(one.similarities, whole.similarities[1:2], rtol=1e-6, atol=1e-9)
        assert float(whole.last.abs().max()) < 0.9


def test_traced_methods_see_the_new_weights() -> None:
    model, x = cnn(), images(2)
    for kind in (DeepLIFT, LRP):
        got = parameter_randomization(kind(model), x, target=3, similarity="spearman")
        clean = kind(model).attribute(x, 3)
        models = literal_explained.cascade(model, NAMES, 0)
        expected = [spearman(clean, kind(one).attribute(x, 3)) for one in models]
        torch.testing.assert_close(got.similarities, torch.tensor(expected, dtype=torch.float64).T, rtol=0, atol=1e-9)


@pytest.mark.parametrize("at_once", [0, 2000, 2**20])
def test_the_items_are_checked_once_for_all_models(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, checked = cnn(), images(2), []
    expected = parameter_randomization(Saliency(model), x, seed=3, samples=1, noise=1e-300).similarities
    of = Call.of
    monkeypatch.setattr(Call, "of", lambda *given, **named: checked.append(given) or of(*given, **named))
    monkeypatch.setattr(sys.modules[parameter_randomization.__module__], "_COMPARED_AT_ONCE", at_once)
    got = parameter_randomization(Saliency(model), x, seed=3)
    torch.testing.assert_close(got.similarities, expected, rtol=0, atol=1e-9)
    assert len(checked) == 2  # of the metric and of the method


def test_random_logit_equals_the_definition() -> None:
    model, x, target = smooth_cnn(), images(5), [1, 7, 2, 9, 0]
    got = random_logit(Saliency(model), x, target=target, similarity="spearman", item_ids=[5, 8, 1, 0, 2])
    other = got.other.tolist()
    assert all(0 <= o < 10 and o != t for o, t in zip(other, target, strict=True))
    expected = spearman(saliency(model, x, target), saliency(model, x, other))
    assert got.values.tolist() == pytest.approx(expected, abs=1e-9)
    assert got.evaluations.tolist() == [2] * 5
    assert random_logit(Saliency(model), x[3:], target=target[3:], item_ids=[0, 2]).other.tolist() == other[3:]


def test_other_classes_are_equally_likely() -> None:
    linear = nn.Linear(2, 4).eval()
    got = random_logit(Saliency(linear), torch.randn(3000, 2), target=2, similarity="spearman")
    assert [abs(int((got.other == c).sum()) - 1000) < 100 for c in range(4)] == [True, True, False, True]


SHAPES = [(2, 3, 12, 9), (2, 1, 5, 12), (1, 40), (2, 2, 8, 9, 10), (1, 2, 7, 7, 7, 8), (2, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_structural_similarity_is_that_of_scikit_image(shape: tuple[int, ...]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = torch.randn(2, *shape, dtype=torch.float64)
    got = map_similarity(a, "ssim")(b)
    for item in range(len(a)):
        p, q = (m[item].sum(0).numpy() if len(shape) > 2 else m[item].numpy() for m in (a, b))
        side = min(7, *(s - 1 + s % 2 for s in p.shape))
        if len({min(7, s - 1 + s % 2) for s in p.shape}) > 1:
            continue  # scikit-image has one window for all sides
        limits = max(p.max(), q.max()) - min(p.min(), q.min())
        expected = metrics.structural_similarity(p, q, win_size=side, data_range=limits)
        assert float(got[item]) == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(map_similarity(a, "ssim")(a), torch.ones(len(a), dtype=torch.float64))


@pytest.mark.parametrize("kind", SIMILARITIES)
def test_similarity_of_equal_opposite_and_constant_maps(kind: str) -> None:
    a = torch.randn(3, 2, 9, 9)
    compare = map_similarity(a, kind)
    torch.testing.assert_close(compare(a.clone()).float(), torch.ones(3))
    assert (compare(-a) <= {"spearman": -0.99, "spearman_of_abs": 1.001, "ssim": 1.0}[kind]).all()
    assert (compare(torch.zeros_like(a)).abs() < 0.1).all()
    others = [a, -a, torch.randn_like(a)]
    torch.testing.assert_close(compare(torch.cat(others)), torch.cat([compare(other) for other in others]))


def test_equal_values_share_their_mean_rank() -> None:
    found = ranks(torch.tensor([[3.0, 1.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [-1.0, 0.0, 7.0, 0.0]]))
    assert found.tolist() == [[3.5, 1, 3.5, 2], [2.5, 2.5, 2.5, 2.5], [1, 2.5, 4, 2.5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: parameter_randomization(Saliency(smooth_cnn().forward), x), "model: expected a torch.nn.Module"),
        (
            lambda x: parameter_randomization(Saliency(nn.Flatten().eval()), x),
            "model: expected a model with parameters",
        ),
        (lambda x: parameter_randomization(Saliency(smooth_cnn()), x, similarity="cosine"), "similarity: expected one"),
        (lambda x: parameter_randomization(Saliency(smooth_cnn()), x, bins=1), "bins: expected"),
        (lambda x: parameter_randomization(Saliency(smooth_cnn()), x, noise=-1), "noise: expected"),
        (lambda x: random_logit(Saliency(smooth_cnn()), x, target=lambda z: z[:, 0]), "target: expected classes"),
    ],
)
def test_errors_name_the_argument(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(images(1))


def test_quantus_agrees() -> None:
    """On the layer that goes first: Quantus has the same seed for every layer, so layers of one shape become equal."""
    quantus = peers.quantus()
    model, x = smooth_cnn(torch.float32), images(3, torch.float32)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    target = torch.tensor([1, 7, 2])

    def explain(model: Any, inputs: Any, targets: Any, **_: object) -> Any:
        module = model if isinstance(model, nn.Module) else model.get_model()
        return saliency(module, torch.as_tensor(inputs), targets.tolist()).numpy()

    metric = quantus.MPRT(seed=3, disable_warnings=True)
    expected = metric(
        model=model, x_batch=x.numpy(), y_batch=target.numpy(), a_batch=None, explain_func=explain, device="cpu"
    )
    got = METRICS["mprt"].function(Saliency(model), x, target=target, seed=4)
    assert got.similarities[:, 0].tolist() == pytest.approx(expected["6"], abs=1e-5)
