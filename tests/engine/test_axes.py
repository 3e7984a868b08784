"""Positions and channels are told apart by the modules that made them, not by sizes that look alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xai_fast import GradCAM, InputError
from xai_fast.engine.axes import MapAxes


class Swap(nn.Module):
    """Moves channels from one place to another, as transformers of pictures do."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.source, self.target = source, target

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(self.source, self.target)


class ViT(nn.Module):
    """Patches of 4 x 4 pixels, with tokens in front that stand for none."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.front = nn.Parameter(torch.randn(1, extra, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.block(torch.cat([self.front.expand(len(x), -1, -1), tokens], 1)).mean(1))


class First(nn.Module):
    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        return x[0]


def sequence(*modules: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*modules).eval()


Case = tuple[Callable[[], nn.Module], tuple[int, ...], str, str, tuple[int, ...]]
CASES: dict[str, Case] = {
    # model, shape of the inputs, layer, axes of its output as batch, channels and positions, shape of the map
    "NHWC behind LayerNorm, C a side": (
        lambda: sequence(
            nn.Conv2d(3, 6, 2, 2), Swap(1, -1), nn.LayerNorm(6), nn.GELU(), nn.Flatten(), nn.Linear(216, 3)
        ),
        (2, 3, 12, 12), "3", "bxyc", (6, 6),
    ),
    "NCHW, C a side": (
        lambda: sequence(nn.Conv2d(3, 6, 2, 2), nn.GELU(), nn.Flatten(), nn.Linear(216, 3)),
        (2, 3, 12, 12), "1", "bcxy", (6, 6),
    ),
    "(B, C, L) of a Conv1d": (
        lambda: sequence(nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5), nn.GELU(), nn.Flatten(), nn.Linear(50, 3)),
        (2, 2, 12), "2", "bcx", (10,),
    ),
    "(B, L, C) of a Linear": (
        lambda: sequence(nn.Linear(2, 5), nn.Tanh(), nn.Flatten(), nn.Linear(35, 3)), (3, 7, 2), "1", "bxc", (7,),
    ),
    "sequence first, B = n": (
        lambda: sequence(
            Swap(1, 0), nn.GRU(2, 5), First(), nn.GELU(), Swap(0, 1), nn.Flatten(), nn.Linear(20, 3)
        ),
        (4, 4, 2), "1", "xbc", (4,),
    ),
    "3-D": (
        lambda: sequence(nn.Conv3d(1, 3, 2), nn.GELU(), nn.Flatten(), nn.Linear(3 * 27, 2)),
        (2, 1, 4, 4, 4), "1", "bcxyz", (3, 3, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_maps_equal_the_formula_on_the_right_axes(name: str) -> None:
    make, shape, layer, axes, size = CASES[name]
    model, x = make().double(), torch.rand(shape).double()
    found = GradCAM(model, layer, relu=False).explain(x, 1)
    cut = int(layer) + 1
    head = list(model)[cut:]
    whole = nn.Sequential(*list(model)[:cut])(x)
    a = (whole[0] if isinstance(whole, tuple) else whole).detach().requires_grad_()
    value = a
    for module in head:
        value = value if isinstance(module, First) else module(value)
    (g,) = torch.autograd.grad(value[:, 1].sum(), a)
    positions = axes.replace("b", "").replace("c", "")
    weights = torch.einsum(f"{axes}->bc", g) / torch.tensor(size).prod()
    expected = torch.einsum(f"{axes},bc->b{positions}", a.detach(), weights)
    torch.testing.assert_close(found.attributions, expected)
    assert found.attributions.shape[1:] == size


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_tokens_of_a_picture_find_their_grid(extra: int) -> None:
    torch.manual_seed(0)
    model, x = ViT(extra).eval(), torch.rand(2, 3, 24, 24)
    found = GradCAM(model, "block", relu=False).attribute(x)
    assert found.shape == (2, 6, 6)
    torch.testing.assert_close(found, GradCAM(model, "block", relu=False, grid=(6, 6), skip_tokens=extra).attribute(x))
    flat = GradCAM(model, "block", relu=False, grid=(36,), skip_tokens=extra).attribute(x)
    torch.testing.assert_close(found.flatten(1), flat)
    assert GradCAM(model, "block", upsample=True).attribute(x).shape == (2, 24, 24)
    with pytest.raises(InputError, match=rf"grid: expected {36 + extra} positions, got \(5, 6\)"):
        GradCAM(model, "block", grid=(5, 6)).attribute(x)


def test_upsampling_of_one_and_three_dimensions() -> None:
    for name in ("(B, C, L) of a Conv1d", "3-D"):
        make, shape, layer, _, _ = CASES[name]
        x = torch.rand(shape)
        assert GradCAM(make(), layer, upsample=True).attribute(x).shape == (shape[0], *shape[2:])


class Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 3, 4, 4)


def test_what_stays_ambiguous_is_refused_with_the_choices_and_can_be_said() -> None:
    model, x = sequence(Unknown(), nn.Flatten(), nn.Linear(48, 2)), torch.rand(2, 48)
    with pytest.raises(InputError, match="layout: expected one of channels_first, channels_last"):
        GradCAM(model, "0").attribute(x)
    assert GradCAM(model, "0", layout="channels_first").attribute(x).shape == (2, 4, 4)
    assert GradCAM(model, "0", layout="channels_last").attribute(x).shape == (2, 3, 4)


def block(channels: int) -> nn.Module:
    """A block as in ConvNeXt: channels are moved to the end for the Linear, and back."""
    return nn.Sequential(nn.Conv2d(3, channels, 2, 2), Swap(1, -1), nn.Linear(channels, channels), Swap(-1, 1))


def test_a_block_that_moves_channels_and_back() -> None:
    for channels in (5, 6):
        model, x = sequence(block(channels), nn.Flatten(), nn.Linear(36 * channels, 2)), torch.rand(2, 3, 12, 12)
        said = GradCAM(model, "0", layout="channels_first", relu=False).attribute(x)
        if channels == 6:  # as many as a side
            with pytest.raises(InputError, match="layout: expected one of channels_first, channels_last"):
                GradCAM(model, "0").attribute(x)
        else:
            assert torch.equal(GradCAM(model, "0", relu=False).attribute(x), said)


@pytest.mark.parametrize("layout", ["channels_first", "channels_last", "sequence_first"])
def test_tokens_and_back(layout: str) -> None:
    shapes = {"channels_first": (2, 5, 3, 4), "channels_last": (2, 3, 4, 5), "sequence_first": (14, 2, 5)}
    output = torch.rand(shapes[layout])
    skip = 2 if layout == "sequence_first" else 0
    axes = MapAxes(layout, (3, 4), skip)
    tokens = axes.tokens(output)
    assert tokens.shape == (2, 12, 5)
    back = axes.output(tokens, output)
    own = output.transpose(0, 1) if layout == "sequence_first" else output
    assert torch.equal(back[:, skip:] if skip else back, own[:, skip:] if skip else own)
