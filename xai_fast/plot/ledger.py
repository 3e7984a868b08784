"""The ledger of a relevance: what arrives at each operation, and what bias, stabiliser and rule keep of it."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from xai_fast.errors import bad_argument
from xai_fast.plot.markup import Markup
from xai_fast.plot.rankings import ORDER_COLORS
from xai_fast.relevance.ledger import COLUMNS, Relevance

__all__ = ["Account", "account_of", "ledger_svg"]

_LOST = 0.01
_WIDTH, _NAMES, _ROW, _BAR = 720, 236, 16, 10
_LETTERS = 36
_ARRIVES, _INK = "#c9c4bd", "#6a6670"
_KEPT_COLORS = (ORDER_COLORS[2], ORDER_COLORS[4], ORDER_COLORS[5])


@dataclass(frozen=True)
class Account:
    """The ledger of an item, or the mean of several, as shares of the relevance that the walk began with.

    Attributes:
        names: L + 1: the input, and the operations from the input to the score.
        shares: (L + 1, 4), `xai_fast.relevance.ledger.COLUMNS` of each; nothing is kept at the input.
        text: what arrives at the input and who keeps the rest, in a line.
        lost: whether less than 1 % arrives.
    """

    names: tuple[str, ...]
    shares: NDArray[np.float64]
    text: str
    lost: bool

    @property
    def span(self) -> tuple[float, float]:
        """Where the bars begin and end."""
        kept = self.shares[:, 1:]
        low, high = kept.clip(None, 0).sum(1).min(), kept.clip(0).sum(1).max()
        return min(0.0, low, self.shares[:, 0].min()), max(1e-12, high, self.shares[:, 0].max())


def account_of(found: Relevance) -> Account:
    """Sum up the ledger of an explanation; of several items or classes it is the mean, weighted by their relevance."""
    ledger = found.ledger.detach().double().cpu()
    if not bool(ledger.isfinite().all()):
        raise bad_argument("ledger", "finite numbers", "NaN or infinity")
    if ledger.shape[-2] != len(found.operations):
        raise bad_argument("operations", f"{ledger.shape[-2]} names, as the ledger has rows", len(found.operations))
    parts = found.attributions if isinstance(found.attributions, tuple) else (found.attributions,)
    ways = ledger.ndim - 2  # items, and classes
    arrives = torch.stack([part.detach().double().cpu().flatten(ways).sum(-1) for part in parts]).sum(0).flatten()
    ledger = ledger.flatten(0, -3)
    seeds = arrives + ledger[:, :, 1:].sum((1, 2))
    weights = seeds.sign() / (seeds.abs().sum() or 1.0)
    rows = (ledger * weights[:, None, None]).sum(0)
    reaches = float(arrives @ weights)
    shares = np.concatenate([[[reaches, 0.0, 0.0, 0.0]], rows.numpy()])
    seed = float(seeds[0]) if len(seeds) == 1 else float(seeds.abs().mean())
    names = ("input", *found.operations)
    return Account(names, shares, _text(names, shares, seed, len(seeds)), abs(reaches) < _LOST)


def _text(names: tuple[str, ...], shares: NDArray[np.float64], seed: float, count: int) -> str:
    if not seed:
        return "There is no relevance to hand on: the score that is explained is 0."
    share, kept = float(shares[0, 0]), shares[:, 1:].sum(0)
    told = ", ".join(f"{name} {_percent(float(part))}" for name, part in zip(COLUMNS[1:], kept, strict=True))
    most = int(np.abs(shares[:, 1:].sum(1)).argmax())
    at_most = f"; by {names[most]} alone {_percent(float(shares[most, 1:].sum()))}" if most else ""
    mean = f"Mean of {count:,}: " if count > 1 else ""
    return f"{mean}{share * seed:.2g} of {seed:.3g} arrives at the input ({_percent(share)}). Kept by {told}{at_most}."


def _percent(share: float) -> str:
    number = f"{100 * share:.0f}" if abs(share) >= 0.0995 else f"{100 * share:.2g}"
    return f"{number}\u202f%".replace("-", "\u2212")


def ledger_svg(relevance: Relevance) -> Markup:
    """Draw where relevance goes, a bar for each operation, from the input to the score.

    A grey bar is what arrives at the operation; coloured is what bias, stabiliser and rule keep, left of the line where
    they add relevance. What is grey and not coloured goes on towards the input.

    Args:
        relevance: of one item (``relevance[3]``), or of several, whose mean is drawn, weighted by their relevance.

    Returns:
        An SVG image, 720 pixels wide, with its content in words as title and description.

    Raises:
        InputError: a number of the ledger is not finite, or there are not as many names as rows.
    """
    account = account_of(relevance)
    low, high = account.span
    scale = (_WIDTH - _NAMES - 8) / (high - low)
    zero = _NAMES - low * scale
    drawn = [_legend()]
    for i, (name, (arrives, *kept)) in enumerate(zip(account.names, account.shares.tolist(), strict=True)):
        y = _ROW * (i + 2)
        values = ", ".join(f"{c} {v:.3g}" for c, v in zip(COLUMNS, (arrives, *kept), strict=True))
        bars = [_bar(zero, arrives * scale, y, _ARRIVES)]
        left = right = zero
        for value, color in zip(kept, _KEPT_COLORS, strict=True):
            bars.append(_bar(left if value < 0 else right, value * scale, y, color))
            left, right = left + min(value, 0) * scale, right + max(value, 0) * scale
        short = name if len(name) <= _LETTERS else f"\u2026{name[1 - _LETTERS :]}"
        text = f'<text x="{_NAMES - 8}" y="{y + _BAR - 1}" text-anchor="end">{html.escape(short)}</text>'
        drawn.append(f"<g><title>{html.escape(f'{name}: {values}')}</title>{text}{''.join(bars)}</g>")
    height = _ROW * (len(account.names) + 2) + 6
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="11" fill="{_INK}">'
        f"<title>Where relevance goes</title><desc>{html.escape(account.text)}</desc>{''.join(drawn)}"
        f'<path d="M{zero:.1f} {2 * _ROW - 4}V{height - 4}" stroke="{_INK}"/></svg>'
    )


def _bar(start: float, width: float, y: int, color: str) -> str:
    x = min(start, start + width)
    return f'<rect x="{x:.1f}" y="{y}" width="{abs(width):.1f}" height="{_BAR}" fill="{color}"/>' if width else ""


def _legend() -> str:
    names = ("arrives", *(f"kept by {name}" for name in COLUMNS[1:]))
    return "".join(
        f'<rect x="{_NAMES + 120 * i}" y="4" width="10" height="10" fill="{color}"/>'
        f'<text x="{_NAMES + 120 * i + 15}" y="13">{name}</text>'
        for i, (name, color) in enumerate(zip(names, (_ARRIVES, *_KEPT_COLORS), strict=True))
    )
