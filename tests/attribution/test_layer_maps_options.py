"""Class activation maps against captum, of several layers, smoothed; what runs, how often, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from literal_cams import Literal
from networks import images, relu_cnn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from xai_fast import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackprop,
    GuidedGradCAM,
    HiResCAM,
    InputError,
    LayerCAM,
    ModelError,
    ScoreCAM,
)
from xai_fast.cli.option_values import read_option

FAMILY = [GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM, AblationCAM, EigenCAM]
family = pytest.mark.parametrize("method", FAMILY)
X = images(3)
CLASSES = [3, 0, 7]


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def cnn() -> nn.Module:
    return relu_cnn(torch.float64)


def of_captum(attr: Any, method: type, model: nn.Module) -> Tensor:
    """Give the same map before the ReLU, by captum's parts."""
    if method is GradCAM:
        return attr.LayerGradCam(model, model[5]).attribute(X, CLASSES)[:, 0]
    if method is HiResCAM:
        return attr.LayerGradientXActivation(model, model[5]).attribute(X, CLASSES).sum(1)
    if method is LayerCAM:  # behind a ReLU the positive products are those of the positive gradients
        return attr.LayerGradientXActivation(model, model[5]).attribute(X, CLASSES).relu().sum(1)
    activation = attr.LayerActivation(model, model[5]).attribute(X)
    if method is EigenCAM:  # positive behind a ReLU
        u, s, _ = torch.linalg.svd(activation.flatten(2).transpose(1, 2))
        return (u[:, :, 0] * s[:, :1]).abs().view(-1, 3, 3)
    # A feature for each channel; captum adds up what is lost at its entries.
    features = torch.arange(16)[:, None, None].expand(16, 3, 3)[None]
    ablation = attr.LayerFeatureAblation(model, model[5])
    lost = ablation.attribute(X, layer_baselines=0, target=CLASSES, layer_mask=features)[..., 0, 0]
    scores = model(X).gather(1, torch.tensor(CLASSES)[:, None])
    return torch.einsum("bk,bkhw->bhw", lost / scores.abs(), activation)


@pytest.mark.parametrize("method", [GradCAM, HiResCAM, LayerCAM, EigenCAM, AblationCAM])
def test_captum(method: Any) -> None:
    attr = pytest.importorskip("captum.attr")
    model = cnn()
    expected = of_captum(attr, method, model).detach()
    torch.testing.assert_close(method(model, "5", relu=False).attribute(X, CLASSES), expected, rtol=1e-9, atol=1e-12)


class Modules(nn.Module):
    """captum's guided backpropagation needs ReLU modules, each of which runs once, and not in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2)
        self.first, self.second = nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.last(self.first(self.stem(x)))).mean((2, 3)))


def test_guided_gradcam_of_captum_and_its_two_factors() -> None:
    model = Modules().eval()
    found = GuidedGradCAM(model, "last").explain(X, CLASSES, internal_batch_size=2)
    cam = GradCAM(model, "last", upsample=True).attribute(X, CLASSES)
    torch.testing.assert_close(found.attributions, cam[:, None] * GuidedBackprop(model).attribute(X, CLASSES))
    assert (found.evaluations == 2).all()
    assert torch.equal(found.scores, GradCAM(model, "last").explain(X, CLASSES, internal_batch_size=2).scores)
    predicted = model(X).argmax(1)
    assert torch.equal(GuidedGradCAM(model, "last").attribute(X), GuidedGradCAM(model, "last").attribute(X, predicted))
    attr = pytest.importorskip("captum.attr")
    # captum resizes to the nearest cell by default; the paper bilinearly.
    x = X.clone().requires_grad_()
    with pytest.warns(UserWarning, match="Setting .* hooks on ReLU"):
        expected = attr.GuidedGradCam(model, model.last).attribute(x, CLASSES, interpolate_mode="bilinear")
    torch.testing.assert_close(found.attributions, expected.detach(), rtol=1e-9, atol=1e-14)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.mix, self.head = nn.Embedding(20, 6), nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.mix(self.embedding(ids)).relu().mean(1))


def test_guided_gradcam_of_embeddings() -> None:
    model, ids = Words().eval(), torch.randint(0, 20, (3, 7))
    found = GuidedGradCAM(model, "mix", embeddings="embedding").attribute(ids, 1)
    cam = GradCAM(model, "mix").attribute(ids, 1)
    guided = GuidedBackprop(model, embeddings="embedding").attribute(ids, 1)
    torch.testing.assert_close(found, cam[:, :, None] * guided)
    assert found.any()


@family
def test_several_layers_are_scaled_resized_and_averaged(method: Any) -> None:
    model, layers = cnn(), ["2", "5", "3"]
    for options in ({}, {"relu": False, "smooth": method is LayerCAM}):
        parts = []
        for layer in layers:
            one = method(model, layer, **{**options, "smooth": False}).attribute
            parts.append(lambda x, one=one: F.interpolate(scaled(one(x, CLASSES))[:, None], (12, 12), mode="bilinear"))
        expected = smoothed(lambda x, parts=parts: sum(part(x)[:, 0] for part in parts) / 3, options.get("smooth"))
        found = method(model, layers, upsample=True, **options).explain(X, CLASSES, internal_batch_size=2)
        torch.testing.assert_close(found.attributions, expected, rtol=1e-9, atol=1e-12)
    assert found.settings["layer"] == layers


def scaled(maps: Tensor) -> Tensor:
    return torch.stack([one / one.abs().max() if one.any() else one for one in maps])


def smoothed(maps: Callable[[Tensor], Tensor], smooth: bool | None = True) -> Tensor:
    if not smooth:
        return maps(X)
    return sum(maps(X * f) + maps((X * f).flip(3)).flip(2) for f in (0.9, 1.0, 1.1)) / 6


@family
def test_smoothing(method: Any) -> None:
    model = cnn()
    expected = smoothed(lambda x: method(model, "5").attribute(x, CLASSES))
    found = method(model, "5", smooth=True).explain(X, CLASSES, internal_batch_size=2)
    torch.testing.assert_close(found.attributions, expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(found.scores, method(model, "5").explain(X, CLASSES, internal_batch_size=2).scores)
    predicted = model(X).argmax(1)
    assert (model(X.flip(3)).argmax(1) != predicted).any()  # the target is that of the input
    torch.testing.assert_close(
        method(model, "5", smooth=True).attribute(X), method(model, "5", smooth=True).attribute(X, predicted)
    )


SIGNALS: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...], int]] = {
    "(B, C, L)": (lambda: [nn.Conv1d(2, 4, 3, 2), nn.GELU(), nn.AdaptiveAvgPool1d(2)], (3, 2, 11), 2),
    "(B, C, D, H, W)": (lambda: [nn.Conv3d(2, 4, 3), nn.GELU(), nn.AdaptiveAvgPool3d(1)], (3, 2, 5, 6, 7), 4),
    "(B, L, D)": (lambda: [nn.Linear(5, 4), nn.GELU(), nn.LayerNorm(4)], (3, 6, 5), 1),
    "(B, N)": (lambda: [nn.Unflatten(1, (1, 9)), nn.Conv1d(1, 4, 3), nn.GELU()], (3, 9), 1),
}


@pytest.mark.parametrize("signal", SIGNALS)
@family
def test_sequences_tokens_and_volumes_are_flipped_and_upsampled_along_their_own_axes(method: Any, signal: str) -> None:
    build, shape, axis = SIGNALS[signal]
    torch.manual_seed(0)
    model = nn.Sequential(*build(), nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(shape)
    model(x)
    model, layer = model.eval(), "2" if signal == "(B, N)" else "1"
    size = shape[1:] if signal == "(B, N)" else shape[1:2] if signal == "(B, L, D)" else shape[2:]
    plain = method(model, layer, upsample=True, relu=False)
    assert plain.attribute(x, 1).shape == (3, *size)
    expected = sum(plain.attribute(x * f, 1) + plain.attribute(x.flip(axis) * f, 1).flip(-1) for f in (0.9, 1.0, 1.1))
    found = method(model, layer, upsample=True, relu=False, smooth=True).attribute(x, 1)
    torch.testing.assert_close(found, expected / 6, rtol=1e-9, atol=1e-12)


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        return x


class Branching(nn.Module):
    """What cannot be traced: the host reads a number."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2.0 if float(x.detach().abs().max()) > 1e9 else x


@pytest.mark.parametrize("traced", [True, False])
def test_channels_run_in_full_batches_and_only_behind_the_layer(traced: bool) -> None:
    torch.manual_seed(0)
    counted, behind = Counted(), nn.Identity() if traced else Branching()
    model = nn.Sequential(counted, nn.Conv2d(3, 7, 3), nn.ReLU(), behind, nn.Flatten(), nn.Linear(700, 4)).eval()
    with torch.no_grad():
        model[1].bias[:2] = -100  # two channels are zero
    found = AblationCAM(model, "2").explain(X, 1, internal_batch_size=4)
    assert (found.evaluations == 1 + 5).all()
    alone = [row for row in counted.rows if row != 1]  # but for a trace of one item
    assert alone == ([3, 3] if traced else [3, 3, 4, 4, 4, 3])  # once to find the layout, once for the scores
    literal = [Literal(model, model, "2", X[i : i + 1], 1)("ablation_cam").relu() for i in range(3)]
    torch.testing.assert_close(found.attributions, torch.stack(literal), rtol=1e-9, atol=1e-12)
    counted.rows.clear()
    found = ScoreCAM(model, "2").explain(X, 1, internal_batch_size=4)
    assert (found.evaluations == 1 + 5 + 1).all()  # the channels without activation share one
    assert [row for row in counted.rows if row != 1] == [3, 3, 4, 4, 4, 4, 2]


def test_layers_behind_one_another_and_in_checkpoints_take_one_pass_back() -> None:
    class Reentrant(nn.Module):
        def __init__(self, on: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.on, self.stem = on, nn.Conv2d(3, 4, 3)
            self.block, self.last = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3)), nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(4, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = checkpoint(self.block, x, use_reentrant=True) if self.on else self.block(x)
            return self.head(self.last(x).tanh().mean((2, 3)))

    plain, reentrant = Reentrant(False).eval(), Reentrant(True).eval()
    for layers in (["stem", "last"], ["stem", "block.1", "last"], ["block.1"]):
        expected = HiResCAM(plain, layers, upsample=True, relu=False).attribute(X, CLASSES)
        found = HiResCAM(reentrant, layers, upsample=True, relu=False).attribute(X, CLASSES)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_hires_cam_adds_up_to_the_logit_without_its_bias() -> None:
    model = cnn()
    found = HiResCAM(model, "5", relu=False).explain(X, CLASSES)
    torch.testing.assert_close(found.attributions.sum((1, 2)) + model[7].bias[CLASSES], found.scores)


def test_eigen_cam_does_not_depend_on_class_or_order_of_channels_and_has_a_sign() -> None:
    torch.manual_seed(0)
    conv, head = nn.Conv2d(3, 6, 3), nn.Linear(600, 10)
    model = nn.Sequential(conv, nn.Flatten(), head).eval()
    found = EigenCAM(model, "0", relu=False).attribute(X, 1)
    assert torch.equal(EigenCAM(model, "0", relu=False).attribute(X, 5), found)
    flat = found.flatten(1)
    assert torch.equal(flat.amax(1), flat.abs().amax(1))
    with torch.no_grad():
        conv.weight.copy_(-conv.weight[[3, 1, 0, 5, 4, 2]])
        conv.bias.copy_(-conv.bias[[3, 1, 0, 5, 4, 2]])
    torch.testing.assert_close(EigenCAM(model, "0", relu=False).attribute(X, 1), found)


def test_ablation_with_a_score_of_zero_divides_by_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(288, 2)).eval()
    with torch.no_grad():
        model[2].bias.sub_(model(X[:1])[0])
    found = AblationCAM(model, "0", relu=False).explain(X[:1], 0)
    model[2].bias.data.add_(1.0 - found.scores[0])
    torch.testing.assert_close(AblationCAM(model, "0", relu=False).attribute(X[:1], 0), found.attributions)


def test_layers_from_the_command_line() -> None:
    assert read_option("layer_cam", "layer=features.0,features.3") == ("layer", ["features.0", "features.3"])
    assert read_option("score_cam", "layer=features.0") == ("layer", "features.0")
    assert read_option("gradcam", "smooth=true") == ("smooth", True)


IDS = torch.randint(0, 20, (3, 7))
PATCHES = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(2), nn.Flatten(), nn.Linear(36, 3)).double().eval()
WRONG: dict[str, Callable[[], object]] = {
    "layer: expected at least one layer, got an empty list": lambda: GradCAM(cnn(), []),
    "layer: expected a layer near": lambda: ScoreCAM(cnn(), ["5", "55"]),
    "upsample: expected True or a size, in which the maps of several layers": lambda: EigenCAM(cnn(), ["2", "5"]),
    r"smooth: expected False, or floating-point inputs .*, got True for torch.int64 \(3, 7\)": lambda: GradCAM(
        Words().eval(), "mix", smooth=True
    ).attribute(IDS),
    r"smooth: expected False, .* map \(9,\) behind \(B, C\), got True for torch.float": lambda: AblationCAM(
        PATCHES, "1", smooth=True, grid=(9,), layout="channels_first"
    ).attribute(X),
    r"upsample: expected False, or as many sizes as the map \(9,\) of 1 has, got True": lambda: GradCAM(
        PATCHES, "1", upsample=True, layout="channels_first"
    ).attribute(X),
    r"layer: expected a layer whose map has the axes of the inputs .*, got a map \(9,\)": lambda: ScoreCAM(
        PATCHES, "1", layout="channels_first"
    ).attribute(X),
    "inputs: expected dtype float32 or float64, got torch.int64": lambda: ScoreCAM(Words().eval(), "mix").attribute(
        IDS
    ),
    "inputs: expected one tensor": lambda: GuidedGradCAM(cnn(), "5").attribute((X,), 1),
    "model: expected finite scores and attributions, got NaN or infinity for item 1": lambda: EigenCAM(
        cnn(), "5"
    ).attribute(torch.stack([X[0], X[0] * torch.nan]), 0),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named(message: str) -> None:
    with pytest.raises((InputError, ModelError), match="^" + message):
        WRONG[message]()
