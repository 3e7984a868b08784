"""Random points around items in plain PyTorch: the definition of the kernel, and the fallback.

Arithmetic is in float64 and rounded at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["normals", "philox4x32", "run", "uniforms"]

# Constants of Philox4x32 (Salmon et al. 2011, section 3.3 and table 2).
_MULTIPLIER_0, _MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
_WEYL_0, _WEYL_1 = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
_MASK = 0xFFFFFFFF
# The int64 and float64 temporaries are an order of magnitude larger than the points: these keep them in cache, and
# small.
_WORDS_AT_A_TIME = 1 << 15
_NORMALS_AT_A_TIME = 1 << 18


def _multiply(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    product = a * b  # int64 wraps at 2^64, so the bits are those of the unsigned product
    return (product >> 32) & _MASK, product & _MASK


def philox4x32(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the four random words of Philox4x32-10, int64 like the words of the counter and the key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high_0, low_0 = _multiply(_MULTIPLIER_0, c0)
        high_1, low_1 = _multiply(_MULTIPLIER_1, c2)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + _WEYL_0) & _MASK, (k1 + _WEYL_1) & _MASK
    return c0, c1, c2, c3


def _box_muller(word: Tensor) -> tuple[Tensor, Tensor]:
    u, v = ((half.double() + 0.5) * 2.0**-16 for half in (word >> 16, word & 0xFFFF))
    radius, quarter = torch.sqrt(-2.0 * torch.log(u)), torch.round(4.0 * v)
    # 2 pi v = (quarter + rest) pi / 2, the rest exact: a cosine or sine near zero is as accurate as the others.
    rest = (math.pi / 2) * (4.0 * v - quarter)
    x, y = radius * torch.cos(rest), radius * torch.sin(rest)
    for turn in (1, 2, 3):
        x, y = torch.where(quarter % 4 >= turn, -y, x), torch.where(quarter % 4 >= turn, x, y)
    return x, y


def _centered(word: Tensor) -> tuple[Tensor, Tensor]:
    first, second = (2.0 * ((half.double() + 0.5) * 2.0**-16) - 1.0 for half in (word >> 16, word & 0xFFFF))
    return first, second


def normals(item_id: Tensor, point: Tensor, entries: int, seed: int, step: int = 0) -> Tensor:
    """Draw the standard normals of the contract, (R, N) float64, for the items and points (R,) int64."""
    return _numbers(_box_muller, item_id, point, entries, seed, step)


def uniforms(item_id: Tensor, point: Tensor, entries: int, seed: int, step: int = 0) -> Tensor:
    """Draw the uniform numbers in [-1, 1] of the contract, likewise."""
    return _numbers(_centered, item_id, point, entries, seed, step)


def _numbers(
    of_word: Callable[[Tensor], tuple[Tensor, Tensor]],
    item_id: Tensor,
    point: Tensor,
    entries: int,
    seed: int,
    step: int,
) -> Tensor:
    key = (torch.full_like(item_id, seed)[:, None], (item_id & _MASK)[:, None])
    rest = (point[:, None], torch.full_like(point, step)[:, None], (item_id >> 32)[:, None])
    chunks = []
    width = max(8, _WORDS_AT_A_TIME // len(item_id) // 8 * 8)
    for start in range(0, entries, width):
        stop = min(start + width, entries)
        block = torch.arange(start // 8, -(-stop // 8), device=item_id.device)[None, :]
        pairs = [z for word in philox4x32((block, *rest), key) for z in of_word(word)]
        chunks.append(torch.stack(pairs, dim=-1).flatten(1)[:, : stop - start])
    return torch.cat(chunks, dim=1)


def run(
    points: Tensor,
    centers: Tensor,
    item: Tensor,
    item_ids: Tensor,
    point: Tensor,
    active: Tensor,
    radius: float,
    kind: str,
    seed: int,
    step: int,
) -> None:
    """Run the contract of `xai_fast.kernels.random_points`."""
    (chosen,) = active.nonzero(as_tuple=True)
    for rows in torch.split(chosen, max(1, _NORMALS_AT_A_TIME // points.shape[1])):
        if len(rows) == 0:
            return
        center = item[rows]
        draw = uniforms if kind == "box" else normals
        z = draw(item_ids[center], point[rows], points.shape[1], seed, step)
        z *= radius / torch.linalg.vector_norm(z, dim=1, keepdim=True) if kind == "sphere" else radius
        points[rows] = (centers[center].double() + z).to(points.dtype)
