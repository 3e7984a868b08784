"""Words with the colour of their relevance behind them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import as_tensor
from xai_fast.errors import bad_argument
from xai_fast.plot.colormap import COLORS, diverging_colormap
from xai_fast.plot.markup import Markup

__all__ = ["coloured_words", "marked_words"]

_RED_GREEN_BLUE = np.array([0.2126, 0.7152, 0.0722])
_EVEN = 0.1791
"""Relative luminance on which black and white text have the same contrast, 4.58 to 1 (WCAG 2.1)."""


def coloured_words(
    words: Sequence[str] | Sequence[Sequence[str]],
    relevance: Tensor | NDArray[Any],
    *,
    mask: Tensor | NDArray[Any] | None = None,
) -> Markup:
    """Write words as HTML on red where they speak for the score, on blue where against it.

    Colours are relative to the strongest word of the item; pointing at a word shows its number.

    Args:
        words: up to n of them, or up to n for each of B items, in the order of the relevance; what is beyond is padding
            and left out.
        relevance: (n,), or (n, d), which is summed over d; for B items (B, n) or (B, n, d).
        mask: (n,) or (B, n), 0 where a word is padding, such as the attention mask of a tokenizer; None for no mask.

    Returns:
        A paragraph per item, with all styles inside; a notebook shows it.

    Raises:
        InputError: the shapes do not fit, or a number is not finite.
    """
    numbers = as_tensor(relevance)
    kept = None if mask is None else as_tensor(mask)
    if isinstance(words, str) or not all(isinstance(word, str) for word in words):
        items: list[Sequence[str]] = list(words)
        for name, given in (("relevance", numbers), ("mask", kept)):
            if given is not None and len(given) != len(items):
                raise bad_argument(name, f"{len(items)} items, as there are words", tuple(given.shape))
    else:
        items, numbers, kept = [words], numbers[None], None if kept is None else kept[None]  # type: ignore[list-item]
    paragraphs = []
    for i, item in enumerate(items):
        spans = [
            f'<span style="background-color:{background};color:{ink};padding:0.1em 0.25em;border-radius:0.25em"'
            f' title="{number}">{html.escape(word)}</span>'
            for word, background, ink, number in marked_words(item, numbers[i], None if kept is None else kept[i])
        ]
        paragraphs.append(f'<p style="line-height:1.9">{" ".join(spans)}</p>')
    return Markup("\n".join(paragraphs))


def marked_words(words: Sequence[str], relevance: Tensor, mask: Tensor | None = None) -> list[tuple[str, ...]]:
    """Give (word, colour behind it, colour of its letters, number) of each word of an item, see `coloured_words`."""
    numbers = relevance.detach().double().cpu()
    numbers = numbers.sum(1) if numbers.ndim == 2 else numbers
    if numbers.ndim != 1 or len(words) > len(numbers):
        expected = f"(n,) or (n, d) per item, with a number for each of {len(words)} words"
        raise bad_argument("relevance", expected, tuple(relevance.shape))
    if mask is not None and len(mask) != len(numbers):
        raise bad_argument("mask", f"{len(numbers)} entries per item, as relevance", len(mask))
    if not bool(numbers.isfinite().all()):
        raise bad_argument("relevance", "finite numbers", "NaN or infinity")
    shown = [i for i in range(len(words)) if mask is None or bool(mask[i])]
    values = numbers.numpy()[shown]
    share = values / (np.abs(values).max(initial=0.0) or 1.0)
    colors = diverging_colormap()[np.rint((share + 1) / 2 * (COLORS - 1)).astype(int)]
    encoded = colors / 255
    luminance = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4) @ _RED_GREEN_BLUE
    return [
        (words[i], "#{:02x}{:02x}{:02x}".format(*color), "#000000" if light > _EVEN else "#ffffff", f"{value:.3g}")
        for i, color, light, value in zip(shown, colors.tolist(), luminance.tolist(), values.tolist(), strict=True)
    ]
