"""Boxes of Taylor-CAM: which axes of the input are the image is told by what the model does with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from report_data import entries
from taylor_networks import numbers
from torch import Tensor, nn

from xai_fast import Explanation
from xai_fast.interaction import InteractionMap
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.plot import report

Window = tuple[int, int, int]
"""Kernel, stride and padding."""


class Does(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def model_of(*parts: nn.Module) -> nn.Module:
    """Parts that give (B, n, d) or a map, named by their places, and a head with curvature."""
    torch.manual_seed(0)
    head = (nn.Flatten(), nn.LazyLinear(5), nn.Tanh(), nn.Linear(5, 3))
    return nn.Sequential(*parts, *head).double().eval()


def permuted(*dims: int) -> nn.Module:
    return Does(lambda x: x.permute(dims))


def attention(channels: int) -> nn.Module:
    return nn.TransformerEncoderLayer(channels, 1, 8, 0.0, "gelu", batch_first=True)


CONV = {n: kind for n, kind in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), 1)}


def conv(channels: int, *windows: Window) -> nn.Module:
    kernel, stride, padding = zip(*windows, strict=True)
    return CONV[len(windows)](channels, 4, kernel, stride, padding)


A, B, C = (3, 2, 1), (5, 3, 0), (2, 2, 0)
FOLLOWED: dict[str, tuple[Sequence[nn.Module], str, tuple[int, ...], tuple[int, ...], tuple[Window, ...], dict]] = {
    # parts, layer, shape of the input, its image, window by axis of the image, options
    "signal": ([conv(2, A)], "0", (2, 12), (12,), (A,), {}),
    "as many positions as channels": ([conv(6, A)], "0", (6, 6), (6,), (A,), {}),
    "signal, channels last": ([permuted(0, 2, 1), conv(2, A)], "1", (12, 2), (12,), (A,), {}),
    "the same, square": ([permuted(0, 2, 1), conv(6, A)], "1", (6, 6), (6,), (A,), {}),
    "signal without channels": ([nn.Unflatten(1, (1, -1)), conv(1, A)], "1", (12,), (12,), (A,), {}),
    "by a function": (
        [Does(lambda x: torch.conv1d(x, torch.ones(4, 2, 5, dtype=x.dtype), stride=3))],
        "0",
        (2, 14),
        (14,),
        (B,),
        {"layout": "channels_first"},
    ),
    "batch norm": ([nn.BatchNorm1d(4)], "0", (4, 5), (5,), ((1, 1, 0),), {}),
    "pooled": ([nn.AvgPool1d(2), conv(4, (1, 1, 0))], "0", (4, 10), (10,), (C,), {}),
    "before what tells": ([nn.Dropout(), conv(2, A)], "0", (2, 5), (5,), ((1, 1, 0),), {"layout": "channels_first"}),
    "tokens of a signal": ([conv(2, C), permuted(0, 2, 1), nn.Linear(4, 3)], "2", (2, 10), (10,), (C,), {}),
    "volume": ([conv(1, A, C, B)], "0", (1, 5, 4, 8), (5, 4, 8), (A, C, B), {}),
    "volume, channels last": ([permuted(0, 4, 1, 2, 3), conv(2, A, C, B)], "1", (5, 4, 8, 2), (5, 4, 8), (A, C, B), {}),
    "video without channels": ([nn.Unflatten(1, (1, -1)), conv(1, A, C, B)], "1", (5, 4, 8), (5, 4, 8), (A, C, B), {}),
    "picture": ([conv(3, A, B)], "0", (3, 6, 8), (6, 8), (A, B), {}),
    "picture, channels last": ([permuted(0, 3, 1, 2), conv(3, A, B)], "1", (6, 8, 3), (6, 8), (A, B), {}),
    "picture without channels": ([nn.Unflatten(1, (1, -1)), conv(1, A, B)], "1", (6, 8), (6, 8), (A, B), {}),
    "words as pictures": (
        [nn.Unflatten(1, (1, -1)), conv(1, (3, 1, 0), (5, 1, 0))], "1", (6, 5), (6, 5), ((3, 1, 0), (5, 1, 0)), {},
    ),
    "picture that nothing slides over": (
        [Does(lambda x: x.mean(3)), Does(lambda x: x.tanh())], "1", (3, 4, 6), (4, 6), ((1, 1, 0), (6, 1, 0)),
        {"layout": "channels_first"},
    ),
}  # fmt: skip


def explained(parts: Sequence[nn.Module], layer: str, shape: tuple[int, ...], options: dict) -> InteractionMap:
    model, x = model_of(*parts), numbers(2, *shape)
    model(x)  # which sets the sizes of the head
    return TaylorCAM(model, layer, **options).explain(x, 1)


def expected_field(place: Sequence[int], windows: Sequence[Window], image: Sequence[int]) -> tuple[float, ...]:
    lows = [max(0.0, i * stride - padding) for i, (_, stride, padding) in zip(place, windows, strict=True)]
    ends = [i * stride - padding + kernel for i, (kernel, stride, padding) in zip(place, windows, strict=True)]
    highs = [float(min(pixels, end)) for pixels, end in zip(image, ends, strict=True)]
    return (*reversed(lows), *reversed(highs))


@pytest.mark.parametrize("name", FOLLOWED)
def test_boxes_are_on_the_axes_that_the_model_runs_over(name: str) -> None:
    parts, layer, shape, image, windows, options = FOLLOWED[name]
    found = explained(parts, layer, shape, options)
    grid = tuple((n + 2 * p - k) // s + 1 for n, (k, s, p) in zip(image, windows, strict=True))
    assert found.geometry is not None
    assert (found.geometry.grid, found.geometry.image) == (grid, image)
    assert math.prod(found.grid) == math.prod(grid)
    fields = [found.geometry.field_box(place) for place in itertools.product(*map(range, grid))]
    assert fields == [expected_field(place, windows, image) for place in itertools.product(*map(range, grid))]


@pytest.mark.parametrize("name", ["signal", "signal, channels last", "volume", "video without channels", "picture"])
def test_a_geometry_of_any_number_of_axes_is_sliced_stored_and_drawn(name: str, tmp_path: Path) -> None:
    parts, layer, shape, _, windows, options = FOLLOWED[name]
    found = explained(parts, layer, shape, options)
    found.save(tmp_path / "map")
    for same in (Explanation.load(tmp_path / "map"), Explanation.cat([found[:1], found[1:]])):
        assert same.geometry == found.geometry
        assert same.boxes(3, "field") == found.boxes(3, "field")
    for item, boxes in zip(found.top_k(3), found.boxes(3, "field"), strict=True):
        assert boxes == [
            tuple(expected_field(cell, windows, found.geometry.image) for cell in one.cells) for one in item
        ]
    (layer,) = entries(report(found, tmp_path / "page"))[0]["layers"]
    assert len(layer["rows"]) * len(layer["columns"]) == found.cells


TOKENS = {
    "tokens": ([nn.Linear(6, 6), nn.Tanh()], "0", (6, 6)),
    "normalised": ([nn.LayerNorm(6), nn.Linear(6, 4)], "0", (6, 6)),
    "tokens of a class that attend": ([nn.Linear(6, 6), attention(6)], "1", (3, 6)),
    "rows": ([nn.Unflatten(1, (3, 2)), nn.Linear(2, 4)], "1", (6,)),
    "tokens whose channels are run over": ([nn.LayerNorm(6), nn.AvgPool1d(2)], "0", (6, 6)),
    "channels that are mixed along": ([permuted(0, 2, 1), nn.Linear(3, 4)], "1", (3, 5)),
}


@pytest.mark.parametrize("name", TOKENS)
def test_where_no_axis_is_told_there_are_no_boxes(name: str, caplog: pytest.LogCaptureFixture) -> None:
    found = explained(*TOKENS[name], {})
    assert found.geometry is None
    assert not caplog.messages


def test_token_ids_have_no_boxes(caplog: pytest.LogCaptureFixture) -> None:
    model, ids = model_of(nn.Embedding(7, 4), permuted(0, 2, 1), conv(4, A)), torch.tensor([[1, 2, 3, 4, 5]])
    model(ids)
    assert TaylorCAM(model, "2").explain(ids, 1).geometry is None
    assert not caplog.messages


@pytest.mark.parametrize(
    ("parts", "shape", "field"),
    [
        ([conv(2, C), permuted(0, 2, 1), attention(4)], (2, 10), (0.0, 10.0)),
        ([permuted(0, 2, 1), conv(2, C), permuted(0, 2, 1), nn.Identity(), attention(4)], (10, 2), (0.0, 10.0)),
    ],
)
def test_patches_of_a_signal_that_attend(
    parts: Sequence[nn.Module], shape: tuple[int, ...], field: tuple[float, ...], caplog: pytest.LogCaptureFixture
) -> None:
    geometry = explained(parts, str(len(parts) - 1), shape, {}).geometry
    assert [geometry.cell_box((i,)) for i in range(5)] == [(2.0 * i, 2.0 * i + 2.0) for i in range(5)]
    assert geometry.field_box((0,)) == field
    assert ["boxes of patches" in message for message in caplog.messages] == [True]
