"""The composites of LRP by insertion and deletion, and what they cost: ``python -m benchmarks.relevance --photos DIR``.

A run that was stopped goes on with the same command: each block of photos is measured with all methods, then kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import describe
from benchmarks.quality import statistics
from benchmarks.quality_methods import RELEVANCE_METHODS, maps, measure
from benchmarks.quality_suites import Suite, suite
from benchmarks.quality_table import cell

__all__ = ["RESULT", "main", "table"]

RESULT = Path(__file__).parent / "results" / "relevance.json"
_MODEL = "efficientnet-lite0"
_RANKINGS = ("sum_of_abs", "signed_sum")
_BLOCK = 2
_METRICS = ("deletion", "insertion", "difference")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the photos that are not measured yet, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relevance", description=__doc__.split("\n\n")[0])
    help_ = "photos and labels.json, ImageNet classes by file name; nothing of them is kept but numbers"
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help=help_)
    parser.add_argument("--most", type=int, help="the most photos, of those that are classified right (all)")
    parser.add_argument("--steps", type=int, default=8, help="steps per curve (8)")
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON file")
    options = parser.parse_args(arguments)
    photos = suite(_MODEL, options.most, options.photos)
    protocol = {"steps": options.steps, "baselines": ["black", "blur"], "blur_sigma": 20.0, "score": "probability"}
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {"rows": []}
    done = len(kept["rows"][0]["difference"]["items"]) if kept["rows"] else 0
    for start in range(done, len(photos.items), _BLOCK):
        block = photos.chosen(range(start, min(start + _BLOCK, len(photos.items))))
        rows = _joined(kept["rows"], _rows(block, options.steps))
        kept = {"environment": describe(), "protocol": protocol, "model": _MODEL, "about": photos.about, "rows": rows}
        options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(table(kept))
    return 0


def _rows(photos: Suite, steps: int) -> list[dict[str, Any]]:
    rows = []
    for name, settings in RELEVANCE_METHODS.items():
        found = maps(photos, settings)
        for ranking in _RANKINGS[: 1 if name == "Random" else 2]:
            scores = measure(photos, found.attributions, ranking=ranking, smooth=0.0, steps=steps)
            row = {"method": name, "ranking": ranking, "settings": settings, "gradients": found.gradients}
            rows.append(row | {metric: statistics(scores[metric]) for metric in _METRICS})
    return rows


def _joined(before: Sequence[Mapping[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    if not before:
        return list(rows)
    pairs = zip(before, rows, strict=True)
    return [row | {m: statistics(old[m]["items"] + row[m]["items"]) for m in _METRICS} for old, row in pairs]


def table(result: Mapping[str, Any]) -> str:
    """Make the table in Markdown: the difference score under both rankings; the best mean of all is bold."""
    rows = {(row["method"], row["ranking"]): row for row in result["rows"]}
    best = max(row["difference"]["mean"] for row in rows.values())
    lines = ["| method | gradients | difference, `sum_of_abs` | difference, `signed_sum` |", "|---|---|---|---|"]
    for method in dict.fromkeys(name for name, _ in rows):
        found = [rows.get((method, ranking)) for ranking in _RANKINGS]
        cells = [row and cell(row, "difference", row["difference"]["mean"] == best) for row in found]
        lines.append(f"| {method} | {rows[method, _RANKINGS[0]]['gradients']:.3g} | {cells[0]} | {cells[1] or ''} |")
    count, about = len(next(iter(rows.values()))["difference"]["items"]), result["about"]
    steps, commit = result["protocol"]["steps"], result["environment"]["commit"]
    return "\n".join(lines) + (
        f"\n\n{result['model']}, {count} photos of the {about['items_classified_right']} that it classifies right of "
        f"{about['items_there']}; mean ± standard error, {steps} steps per curve, commit {commit}."
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
