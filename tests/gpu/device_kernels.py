"""Small kernels around the device functions of `xai_fast.kernels.triton_math`, for the tests of their numbers."""

from __future__ import annotations

import triton
import triton.language as tl

from xai_fast.kernels.triton_math import _cosine_and_sine, _minus_two_log, random_words

__all__ = ["functions_of_words", "words_of_counter"]


@triton.jit
def words_of_counter(
    out: tl.tensor, block: tl.tensor, point: tl.tensor, step: tl.tensor, item_id: tl.tensor, seed: tl.tensor
) -> None:
    """Write the four words of each of 16 vectors of counter and key."""
    row = tl.program_id(0)
    blocks = tl.load(block + row).to(tl.uint32) + tl.zeros((1,), tl.uint32)
    w0, w1, w2, w3 = random_words(
        blocks, tl.load(point + row), tl.load(step + row), tl.load(item_id + row), tl.load(seed + row)
    )
    here = tl.arange(0, 1)
    tl.store(out + 4 * row + here, w0.to(tl.int64))
    tl.store(out + 4 * row + 1 + here, w1.to(tl.int64))
    tl.store(out + 4 * row + 2 + here, w2.to(tl.int64))
    tl.store(out + 4 * row + 3 + here, w3.to(tl.int64))


@triton.jit
def functions_of_words(
    log: tl.tensor, cosine: tl.tensor, sine: tl.tensor, dtype: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    """Write -2 ln u, cos 2 pi v and sin 2 pi v of u = v = (n + 1/2) / 2^16, n = 0, 1, 2 ..."""
    here = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    word = here.to(tl.uint32) * 0x10001
    c, s = _cosine_and_sine(word, dtype)
    tl.store(log + here, _minus_two_log(word, dtype))
    tl.store(cosine + here, c)
    tl.store(sine + here, s)
