"""Checks of the device functions that the interpreter and the emulator share."""

from __future__ import annotations

import numpy as np
import torch
import triton.language as tl
from device_kernels import functions_of_words, words_of_counter
from torch import Tensor

__all__ = ["check_functions", "check_known_answers"]

# Counter, key and result of Philox4x32-10, from the test vectors that are published with Random123 1.14 (kat_vectors).
KNOWN_ANSWERS = (
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)
# Largest error relative to the value: a few roundings, where 2^-24 and 2^-53 are one.
RELATIVE_ERROR = {torch.float32: 3e-7, torch.float64: 6e-16}
UNIFORMS = 1 << 16


def _words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def check_known_answers() -> None:
    """Assert that the counter (block, point, step, id high) and the key (seed, id low) give the published words."""
    counters, keys, answers = ([_words(text) for text in column] for column in zip(*KNOWN_ANSWERS, strict=True))
    block, point, step, high = torch.tensor(counters).unbind(1)
    seed, low = torch.tensor(keys).unbind(1)
    columns = (block, point, step, (high << 32) | low, seed)
    out = torch.full((len(KNOWN_ANSWERS), 4), -1)
    words_of_counter[(len(KNOWN_ANSWERS),)](out, *(column.contiguous() for column in columns), enable_fp_fusion=False)
    assert out.tolist() == answers


def check_functions(dtype: torch.dtype, block: int) -> None:
    """Assert that -2 ln u, cos 2 pi v and sin 2 pi v are right for every one of the 2^16 uniforms."""
    log, cosine, sine = torch.full((3, UNIFORMS), torch.nan, dtype=dtype)
    language_dtype = {torch.float32: tl.float32, torch.float64: tl.float64}[dtype]
    functions_of_words[(UNIFORMS // block,)](log, cosine, sine, language_dtype, block, enable_fp_fusion=False)
    u = (np.arange(UNIFORMS, dtype=np.longdouble) + 0.5) / UNIFORMS
    # Reduced to a quarter turn before it is multiplied by pi, which no type holds exactly.
    quarter = np.rint(4 * u)
    angle = (4 * u - quarter) * (np.pi / 2 + np.longdouble(6.123233995736766e-17))
    c, s = np.cos(angle), np.sin(angle)
    turn = quarter.astype(int) % 4
    expected = {
        "log": (log, -2 * np.log(u)),
        "cosine": (cosine, np.choose(turn, (c, -s, -c, s))),
        "sine": (sine, np.choose(turn, (s, c, -s, -c))),
    }
    errors = {name: _relative(got, wanted) for name, (got, wanted) in expected.items()}
    assert max(errors.values()) < RELATIVE_ERROR[dtype], errors


def _relative(got: Tensor, wanted: np.ndarray) -> float:
    return float(np.abs(got.numpy() / wanted - 1).max())
