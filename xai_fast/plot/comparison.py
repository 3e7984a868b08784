"""The page about a comparison of methods, with its numbers beside it, and the maps of all methods side by side."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.files import write_whole
from xai_fast.plot.drawing import Look
from xai_fast.plot.items import Front
from xai_fast.plot.page import page
from xai_fast.plot.report import report

__all__ = ["write_comparison"]


def write_comparison(comparison: Any, folder: str | Path, *, pictures: Sequence[Any] | None = None) -> Path:
    """Write ``comparison.html``, its numbers in ``comparison.csv`` and ``comparison.json``, and the maps.

    The page is one file. The table has a row per item, method and metric; the JSON is the summary. Where the comparison
    has maps, the folder ``maps`` has a report of them, side by side, to which the page leads.

    Args:
        comparison: an `xai_fast.comparison.Comparison`.
        folder: where to; made if need be. Files of an earlier call are replaced.
        pictures: of the N items, see `xai_fast.plot.Item`, on which maps are drawn.

    Returns:
        The page.

    Raises:
        InputError: the number of pictures is not that of the items, or the folder has a report of another run.
    """
    if pictures is not None and len(pictures) != len(comparison.items):
        raise bad_argument("pictures", f"{len(comparison.items)} of them, one per item", len(pictures))
    target, summary = Path(folder), comparison.summary()
    data = {name: part for name, part in summary.items() if name != "settings"} | {"maps": None}
    if comparison.maps is not None:
        maps = report(
            _explanations(comparison),
            target / "maps",
            front=_front(summary, "Maps"),
            look=Look(ranking="signed_sum", beside=True),
            pictures=pictures,
            names=comparison.items,
        )
        data["maps"] = maps.relative_to(target).as_posix()
    rows = io.StringIO(newline="")
    csv.writer(rows).writerows([comparison.columns, *comparison.rows()])
    write_whole(target / "comparison.csv", rows.getvalue().encode("utf-8", "replace"))
    write_whole(target / "comparison.json", json.dumps(summary, indent=1, default=str).encode())
    content = page(_front(summary, "Methods compared"), "comparison", ["comparison.js"], values={}, data=data)
    write_whole(target / "comparison.html", content)
    return target / "comparison.html"


def _front(summary: dict[str, Any], title: str) -> Front:
    settings = dict(summary["settings"])
    versions = settings.pop("versions", {})
    counts = {"methods": len(summary["methods"]), "items": summary["items"], "metrics": len(summary["metrics"])}
    return Front(
        title=title,
        kicker=str(settings.get("model", "")),
        summary={name: f"{count:,}" for name, count in counts.items()},
        settings=settings,
        versions={name: str(version) for name, version in versions.items()},
        run=str(settings.pop("run", "")),
    )


def _explanations(comparison: Any) -> dict[str, Explanation]:
    """Give the maps of each method with the metrics as numbers by which the report filters and sorts."""
    names = {metric: re.sub(r"\W+", "_", metric) for metric in comparison.scores}
    kind: Any = make_dataclass(
        "_Scored",
        [(name, Tensor) for name in names.values()],
        bases=(Explanation,),
        eq=False,
        repr=False,
        frozen=True,
        kw_only=True,
    )
    found = {}
    for m, method in enumerate(comparison.methods):
        maps = comparison.maps[m]
        found[method] = kind(
            attributions=maps[:, None] if maps.ndim == 3 else maps,
            scores=torch.full((len(maps),), torch.nan),
            evaluations=comparison.evaluations[m],
            method=method,
            **{name: comparison.scores[metric][m] for metric, name in names.items()},
        )
    return found
