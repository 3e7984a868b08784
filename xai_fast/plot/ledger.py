"""The ledger of a relevance: what arrives at each operation, and what bias, stabiliser and rule keep of it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xai_fast.errors import bad_argument
from xai_fast.relevance.ledger import COLUMNS, Relevance

__all__ = ["ledger_of"]

_LOST = 0.01


def ledger_of(found: Relevance) -> dict[str, Any]:
    """Sum up the ledger of an item for the script of a page; of several classes it is the mean, by their relevance.

    Returns:
        "rows": (L + 1, 4) float32 in base64, `xai_fast.relevance.ledger.COLUMNS` of the input, at which nothing is
        kept, and of the operations from there to the score, as shares of the relevance that the walk began with;
        "span": where bars begin and end; "text": what arrives at the input and who keeps the rest, in a line; "lost":
        whether less than 1 % arrives.

    Raises:
        InputError: a number of the ledger is not finite, or there are not as many names as rows.
    """
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
    low, high = shares[:, 1:].clip(None, 0).sum(1).min(), shares[:, 1:].clip(0).sum(1).max()
    return {
        "rows": base64.b64encode(shares.astype("<f4").tobytes()).decode("ascii"),
        "span": (min(0.0, low, shares[:, 0].min()), max(1e-12, high, shares[:, 0].max())),
        "text": _text(("input", *found.operations), shares, seed, len(seeds)),
        "lost": abs(reaches) < _LOST,
    }


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
