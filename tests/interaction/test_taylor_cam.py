"""Taylor-CAM equals its formulas, written with nested autograd and einsum; every remedy that it names works."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from all_pairs import all_pairs
from taylor_networks import Relation, made, network, numbers
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from xai_fast.errors import InputError, ModelError, UnsupportedOperation, ZeroCurvatureError
from xai_fast.interaction import cell_geometry
from xai_fast.interaction.taylor_cam import TaylorCAM


class Map(nn.Module):
    """A CNN with a map of 2 x 3 positions and two channels, and a head."""

    def __init__(self, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 3, 2, padding=1), nn.Tanh())
        self.head = nn.Sequential(nn.Conv2d(2, 3, 2, padding=1), activation(), nn.Flatten(), nn.Linear(36, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x))


class Objects(nn.Module):
    """Embedded objects, and a relation network with a question behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 5)
        self.rest = Relation()

    def forward(self, x: Tensor, question: Tensor) -> Tensor:
        return self.rest(self.embed(x), question)


def literal(
    rest: object, feature: Tensor, order: int, scope: str, baseline: float | list[float] | Tensor = 0.0
) -> Tensor:
    """S of one item with x at the first index, from the full derivative tensor: feature (n, d), rest to a scalar."""

    def derivative(function: object) -> object:
        return lambda x: torch.autograd.functional.jacobian(function, x, create_graph=True, vectorize=True)

    function = rest
    for _ in range(order):
        function = derivative(function)
    full = function(feature).detach()  # (n, d) for each derivative
    x = feature.detach() - torch.as_tensor(baseline, dtype=feature.dtype)
    first = {"local": "ap,ap{t}->a{r}", "global": "ap,kp{t}->a{r}"}[scope]
    tail, result = "", ""
    for place, channel in list(zip("bce", "mst", strict=True))[: order - 1]:
        tail, result = tail + place + channel, result + place
    return torch.einsum(first.format(t=tail, r=result), x, full)


def expected_saliency(sums: Tensor, symmetric: bool) -> Tensor:
    """Squares, or for each set of positions the sum over which one carries x, in the upper triangle."""
    order, n = sums.ndim, sums.shape[0]
    result = torch.zeros_like(sums)
    for cells in itertools.product(range(n), repeat=order):
        if len(set(cells)) < order:
            continue
        if not symmetric:
            result[cells] = sums[cells] ** 2
        elif list(cells) == sorted(cells):
            result[cells] = sum(sums[(c, *[o for o in cells if o != c])] ** 2 for c in cells)
    return result


def spatial(
    order: int, scope: str, score: str = "probability", baseline: float | list[float] | Tensor = 0.0
) -> tuple[nn.Module, Tensor, list[Tensor]]:
    model = made(Map)
    x = numbers(2, 1, 4, 6)
    with torch.no_grad():
        features, targets = model.stem(x), model(x).argmax(1)
    sums = []
    for item in range(2):

        def rest(tokens: Tensor, item: int = item) -> Tensor:
            logits = model.head(tokens.T.reshape(1, 2, 2, 3))
            return (logits.softmax(1) if score == "probability" else logits)[0, targets[item]]

        sums.append(literal(rest, features[item].flatten(1).T.contiguous(), order, scope, baseline))
    return model, x, sums


@pytest.mark.parametrize(("order", "scope", "symmetric"), all_pairs([1, 2, 3], ["local", "global"], [True, False]))
def test_maps_equal_the_formulas(order: int, scope: str, symmetric: bool) -> None:
    model, x, sums = spatial(order, scope)
    result = TaylorCAM(model, "stem", order=order, scope=scope, symmetric=symmetric).explain(x)
    assert result.grid == (2, 3)
    assert result.geometry is not None
    for item in range(2):
        expected = sums[item] ** 2 if order == 1 else expected_saliency(sums[item], symmetric)
        torch.testing.assert_close(result.saliency[item], expected, rtol=1e-8, atol=1e-16)


BASELINES = {"number": 0.3, "channels": [0.3, -0.2], "map": numbers(2, 2, 3, seed=4)}


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_x_in_front_is_counted_from_the_baseline(order: int, scope: str, kind: str) -> None:
    baseline = BASELINES[kind]
    by_position = baseline.flatten(1).T if isinstance(baseline, Tensor) else baseline  # (n, d)
    model, x, sums = spatial(order, scope, baseline=by_position)
    result = TaylorCAM(model, "stem", order=order, scope=scope, baseline=baseline).explain(x)
    for item in range(2):
        expected = sums[item] ** 2 if order == 1 else expected_saliency(sums[item], True)
        torch.testing.assert_close(result.saliency[item], expected, rtol=1e-8, atol=1e-16)


def share_of_rank_one(sums: Tensor) -> float:
    values = np.linalg.svd(sums.numpy(), compute_uv=False)
    return float(values[0] ** 2 / (values**2).sum())


@pytest.mark.parametrize("scope", ["local", "global"])
def test_the_share_of_rank_one_is_that_of_the_singular_values(scope: str) -> None:
    model, x, sums = spatial(2, scope)
    share = TaylorCAM(model, "stem", scope=scope).explain(x).rank_one_share
    expected = [share_of_rank_one(one) for one in sums]
    assert max(expected) < 0.999
    np.testing.assert_allclose(share, expected, rtol=1e-10)


def test_behind_a_relu_network_with_two_classes_pairs_are_products_of_single_cells() -> None:
    """The probability is a function of the difference u of two logits, which is linear near the item."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(24, 9), nn.ReLU(), nn.Linear(9, 2))
    model = made(lambda: nn.Sequential(nn.Conv2d(1, 4, 3, 2, padding=1), head))
    x = numbers(3, 1, 4, 6)
    result = TaylorCAM(model, "0", symmetric=False).explain(x, 0)
    np.testing.assert_allclose(result.rank_one_share, 1.0, rtol=0, atol=1e-12)
    maps = model[0](x).detach().requires_grad_()
    logits = model[1](maps)
    u = logits[:, 0] - logits[:, 1]
    (g,) = torch.autograd.grad(u.sum(), maps)
    p = u.sigmoid()
    bend = p * (1 - p) * (1 - 2 * p)
    a, b = (maps * g).sum(1).flatten(1), g.sum(1).flatten(1)
    expected = bend[:, None, None] * a[:, :, None] * b[:, None] * (1 - torch.eye(6))
    torch.testing.assert_close(result.sums, expected.detach(), rtol=1e-8, atol=1e-16)


def test_the_share_of_rank_one_of_nothing_and_of_other_orders() -> None:
    model, x = made(Map), numbers(2, 1, 4, 6)
    assert TaylorCAM(model, "stem", order=3).explain(x).rank_one_share is None
    none = made(lambda: nn.Sequential(nn.Conv2d(1, 3, 2), Cellwise())).eval()
    result = TaylorCAM(none, "0", score="output").explain(x)
    assert result.facts["zero_curvature"].all()
    assert result.rank_one_share.tolist() == [0.0, 0.0]


class Cellwise(nn.Module):
    """Bends at each cell by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh().sum((2, 3))


@pytest.mark.parametrize("method", ["forward", "reverse", "hvp"])
def test_every_method_gives_the_same(method: str) -> None:
    model, x, sums = spatial(2, "local")
    result = TaylorCAM(model, "stem", method=method).explain(x)
    for item in range(2):
        torch.testing.assert_close(result.saliency[item], expected_saliency(sums[item], True), rtol=1e-8, atol=1e-16)


def test_a_logit_of_a_bent_network_is_explained() -> None:
    model, x, sums = spatial(2, "local", "logit")
    targets = model(x).argmax(1)
    result = TaylorCAM(model, model.stem, score="logit").explain(x, targets.tolist())
    torch.testing.assert_close(result.saliency[0], expected_saliency(sums[0], True), rtol=1e-8, atol=1e-16)
    torch.testing.assert_close(result.scores, model(x).detach().gather(1, targets[:, None])[:, 0])


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("order", [2, 3])
def test_objects_with_a_question_equal_the_formulas(order: int, scope: str) -> None:
    model = made(Objects)
    x, question = numbers(2, 4, 3), numbers(2, 3, seed=6)
    result = TaylorCAM(model, "embed", order=order, scope=scope).explain(x, 1, additional_forward_args=question)
    assert result.grid == (4,)
    for item in range(2):
        feature = model.embed(x[item]).detach()
        sums = literal(
            lambda o, i=item: model.rest(o[None], question[i : i + 1]).softmax(1)[0, 1], feature, order, scope
        )
        torch.testing.assert_close(result.saliency[item], expected_saliency(sums, True), rtol=1e-8, atol=1e-16)


def test_tokens_on_a_grid() -> None:
    model = made(Objects)
    x, question = numbers(2, 4, 3), numbers(2, 3, seed=6)
    result = TaylorCAM(model, "embed", grid=(2, 2)).explain(x, 1, question)
    assert result.grid == (2, 2)
    with pytest.raises(InputError, match="grid: expected 4 positions"):
        TaylorCAM(model, "embed", grid=(2, 3)).explain(x, 1, question)


@pytest.mark.parametrize("order", [2, 3])
def test_an_item_does_not_depend_on_its_batch(order: int) -> None:
    model, x = made(Map), numbers(7, 1, 4, 6)
    cam = TaylorCAM(model, "stem", order=order)
    whole = cam.explain(x).saliency
    alone = torch.cat([cam.explain(x[i : i + 1]).saliency for i in range(7)])
    torch.testing.assert_close(alone, whole, rtol=1e-9, atol=1e-20)
    shuffle = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    torch.testing.assert_close(cam.explain(x[shuffle]).saliency, whole[shuffle], rtol=1e-9, atol=1e-20)
    for size in (1, 2, 5, 100):
        some = cam.explain(x, [0, 1, 2, 3, 0, 1, 2], internal_batch_size=size)
        torch.testing.assert_close(some.saliency, cam.explain(x, [0, 1, 2, 3, 0, 1, 2]).saliency, rtol=1e-9, atol=1e-20)


def test_a_piecewise_linear_network_with_a_logit_raises_and_every_remedy_works() -> None:
    model, x = made(lambda: Map(nn.ReLU)), numbers(2, 1, 4, 6)
    for method in ("auto", "hvp"):
        with pytest.raises(ZeroCurvatureError) as caught:
            TaylorCAM(model, "stem", score="logit", method=method).explain(x, 0)
        assert "probability" in str(caught.value)
        assert "smooth=" in str(caught.value)
    with pytest.raises(ZeroCurvatureError):
        TaylorCAM(model, "stem", order=3, score="logit").explain(x, 0)
    before = model(x)
    remedies = ({"score": "probability"}, {"score": "log_probability"}, {"smooth": "gelu"}, {"smooth": "softplus"})
    for remedy in remedies:
        result = TaylorCAM(model, "stem", **({"score": "logit"} | remedy)).explain(x, 0)
        assert float(result.saliency.flatten(1).sum(1).min()) > 0
        assert (result.remedy is not None) == ("smooth" in remedy)
    assert torch.equal(model(x), before)


def test_items_without_curvature_are_named_by_a_fact_whatever_batch_they_come_in() -> None:
    model, x = made(Map), numbers(3, 1, 4, 6)

    def first_is_constant(logits: Tensor) -> Tensor:
        return torch.where(logits[:, 0] > threshold, 0 * logits[:, 1], logits.softmax(1)[:, 1])

    threshold = float(model(x)[:, 0].detach().sort().values[1:].mean())
    cam = TaylorCAM(model, "stem")
    flat = cam.explain(x, first_is_constant).facts["zero_curvature"].tolist()
    assert sorted(flat) == [False, False, True]
    assert [bool(cam.explain(x[i : i + 1], first_is_constant).facts["zero_curvature"]) for i in range(3)] == flat


def test_a_second_call_reuses_the_trace_and_a_changed_weight_is_noticed() -> None:
    model, x = made(Map), numbers(2, 1, 4, 6)
    traces = []
    model.register_forward_pre_hook(lambda *_: traces.append(1) if get_proxy_mode() is not None else None)
    cam = TaylorCAM(model, "stem")
    first = cam.explain(x, 0)
    once = len(traces)
    cam.explain(x + 0.1, 1)
    assert len(traces) == once > 0
    with torch.no_grad():
        model.head[0].weight.mul_(2.0)
    changed = cam.explain(x, 0)
    assert len(traces) > once
    assert not torch.allclose(changed.saliency, first.saliency)
    torch.testing.assert_close(changed.saliency, TaylorCAM(model, "stem").explain(x, 0).saliency)


def test_the_model_is_left_as_it_was_found() -> None:
    model, x = made(Map), numbers(2, 1, 4, 6)
    for broken in (None, lambda logits: 1 / 0):
        try:
            TaylorCAM(model, "stem").explain(x, broken)
        except ZeroDivisionError:
            assert broken is not None
        assert not any(m.training or m._forward_hooks for m in model.modules())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_what_does_not_fit_is_refused() -> None:
    model, x = made(Map), numbers(2, 1, 4, 6)
    with pytest.raises(InputError, match="order: expected"):
        TaylorCAM(model, "stem", order=5)
    with pytest.raises(InputError, match="at order 3"):
        TaylorCAM(model, "stem", order=3, method="forward")
    with pytest.raises(InputError, match="layer"):
        TaylorCAM(model, "nothing")
    with pytest.raises(InputError, match="layer: expected a layer whose output is a map"):
        TaylorCAM(model, "head.2").explain(x)
    with pytest.raises(InputError, match="inputs: expected"):
        TaylorCAM(model, "stem").explain(x[:0])
    with pytest.raises(InputError, match="target: expected one class per item"):
        TaylorCAM(model, "stem").explain(x, [0, 1, 2])
    with pytest.raises(ModelError, match="finite scores"):
        TaylorCAM(model, "stem").explain(x * float("nan"))
    model.head[1] = _Atan().eval()
    for options in ({"method": "forward"}, {"order": 3}):
        with pytest.raises(UnsupportedOperation, match=r"aten\.atan.* \(behind stem\)"):
            TaylorCAM(model, "stem", **options).explain(x)
    with pytest.raises(ModelError, match="training mode"):
        TaylorCAM(model.train(), "stem").explain(x)


class _Atan(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.atan(x)


def test_a_transformer_layer() -> None:
    encoder, x, _ = network("transformer")
    result = TaylorCAM(nn.Sequential(nn.Identity(), encoder).eval(), "0").explain(x)
    assert result.saliency.shape == (3, 3, 3)
    assert float(result.saliency.sum()) > 0


def test_a_map_in_channels_last_may_be_pooled_to_one_cell() -> None:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))
    model = made(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), *head))
    x = numbers(2, 3, 5, 5)
    exact, plain = (TaylorCAM(model, "0", method=method).explain(x).attributions for method in ("auto", "hvp"))
    torch.testing.assert_close(exact, plain)
    assert exact.any()


def test_boxes_where_arguments_go_by_keyword() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.Conv2d(3, 4, 3, 2)
            self.head = nn.Sequential(nn.GELU(), nn.Flatten(), nn.Linear(36, 3))

        def forward(self, x: Tensor, *, by: Tensor, shift: float) -> Tensor:
            return self.head(self.cells(x) * by[:, None, None, None] + shift)

    model, x, by = Scaled().eval(), torch.rand(2, 3, 8, 8), torch.tensor([1.0, 2.0])
    found = TaylorCAM(model, "cells").explain(x, 1, additional_forward_args={"shift": 0.5, "by": by})
    assert found.geometry == cell_geometry(nn.Sequential(model.cells), "0", x)
    torch.testing.assert_close(found.scores, model(x, by=by, shift=0.5).softmax(1)[:, 1].detach())
