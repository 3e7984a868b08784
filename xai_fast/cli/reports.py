"""Reports: which items they show, how explanations are drawn, and folders that hold the results of another run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from xai_fast.errors import bad_argument
from xai_fast.terminal import shown

if TYPE_CHECKING:
    from xai_fast.plot import Look

__all__ = ["add_look", "look_of", "refuse_results"]


def add_look(parser: argparse.ArgumentParser, *, limit: int | None) -> argparse._ArgumentGroup:
    """Add the options of a report, and return their group; ``limit`` is the default number of items, None for all."""
    group = parser.add_argument_group("how it is shown")
    add = group.add_argument
    most = "all, up to a million" if limit is None else f"{limit:,}"
    add("--limit", type=int, default=limit, metavar="N", help=f"items in the report, at most (default: {most})")
    add("--ranking", default="sum_of_abs", metavar="NAME", help="how channels are joined (default: sum_of_abs)")
    clip = "percentiles between which the colours run (default: 80 99)"
    add("--clip", type=float, nargs=2, default=(80.0, 99.0), metavar=("LOW", "HIGH"), help=clip)
    add("--blur", type=float, default=0.0, metavar="PIXELS", help="of the drawn maps, not the stored ones (default: 0)")
    add("--signed", action="store_true", help="begin with the signs of maps that have some (s switches in the page)")
    add("--listed", type=int, default=4, metavar="K", help="interactions listed per item (default: 4)")
    return group


def look_of(options: argparse.Namespace) -> Look:
    """Read the options of `add_look`; an `InputError` says which is out of range."""
    import numpy as np

    from xai_fast.plot import Look, heat

    given = {"clip": tuple(options.clip), "smooth": options.blur, "top_k": options.listed, "signed": options.signed}
    look = Look(ranking=options.ranking, **given)
    # Before anything is computed: the checks of drawing, on the smallest map.
    heat(np.zeros((1, 1, 1), np.float32), ranking=look.ranking, clip=look.clip, smooth=look.smooth)
    return look


def refuse_results(out: Path) -> None:
    """Raise an `InputError` if a folder, which need not exist, has results: they are those of another run."""
    found = next((name for name in ("job.json", "summary.json", "report.html") if (out / name).exists()), None)
    if found is not None:
        got = f"{shown(str(out))}, which has {found}; choose another folder, or remove it"
        raise bad_argument("--out", "a folder without results of another run", got)
