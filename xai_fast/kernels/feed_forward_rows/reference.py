"""The rows in plain PyTorch, layer by layer: the definition of the kernel, and the fallback."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast.kernels.checks import check_range

__all__ = ["run"]


def run(
    rows: Tensor,
    adjoints: Tensor,
    derivatives: Tensor,
    first: Tensor,
    last: Tensor,
    weights: Tensor,
    transposed: Tensor,
    widths: Sequence[int],
    pairs: Tensor,
    triples: Tensor,
    triple_pairs: Tensor,
) -> None:
    """Run the contract of `xai_fast.kernels.feed_forward_rows`."""
    singles = first.shape[1]
    check_range("pairs", pairs, 0, singles - 1)
    check_range("triples", triples, 0, singles - 1)
    check_range("triple_pairs", triple_pairs, singles, singles + pairs.shape[0] - 1)
    ends = list(itertools.accumulate(widths))
    layers = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
    shapes = [(after, before) for before, after in itertools.pairwise(widths)]
    parts = torch.split(weights, [after * before for after, before in shapes])
    matrices = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
    rows[:, :singles, layers[0]] = first
    rows[:, singles:, layers[0]] = 0
    for matrix, (before, after) in zip(matrices, itertools.pairwise(layers), strict=True):
        y = _outputs(rows[..., before], derivatives[..., before], pairs, triples, triple_pairs)
        rows[..., after] = y @ matrix.T
    adjoints[:, :1, layers[-1]] = last.unsqueeze(1)
    adjoints[:, 1:, layers[-1]] = 0
    for at in reversed(range(len(matrices))):
        after = layers[at + 1]
        nu = _arguments(adjoints[..., after], rows[..., after], derivatives[..., after], pairs, singles)
        adjoints[..., layers[at]] = nu @ matrices[at]


def _outputs(z: Tensor, s: Tensor, pairs: Tensor, triples: Tensor, triple_pairs: Tensor) -> Tensor:
    """[s(z)]_S of all sets: Faa di Bruno's sum."""
    y = z * s[:, 1:2]
    end = y.shape[1] - triples.shape[0]
    start = end - pairs.shape[0]
    i, j = pairs.unbind(1)
    y[:, start:end] += s[:, 2:3] * z[:, i] * z[:, j]
    if triples.shape[0]:
        one, two, three = (z[:, column] for column in triples.unbind(1))
        others = [z[:, column] for column in triple_pairs.unbind(1)]
        y[:, end:] += s[:, 2:3] * (one * others[0] + two * others[1] + three * others[2])
        y[:, end:] += s[:, 3:4] * one * two * three
    return y


def _arguments(mu: Tensor, z: Tensor, s: Tensor, pairs: Tensor, singles: int) -> Tensor:
    """[s'(z) mu]_S of all sets: the adjoints of z."""
    nu = mu * s[:, 1:2]
    if mu.shape[1] > 1:
        nu[:, 1 : singles + 1] += s[:, 2:3] * z[:, :singles] * mu[:, :1]
    if mu.shape[1] > singles + 1:
        i, j = pairs.unbind(1)
        both = z[:, i] * mu[:, j + 1] + z[:, j] * mu[:, i + 1] + z[:, singles : singles + pairs.shape[0]] * mu[:, :1]
        nu[:, singles + 1 :] += s[:, 2:3] * both + s[:, 3:4] * z[:, i] * z[:, j] * mu[:, :1]
    return nu
