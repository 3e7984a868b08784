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
from benchmarks.quality import rows_of, statistics
from benchmarks.quality_methods import RELEVANCE_METHODS
from benchmarks.quality_suites import Suite, suite
from benchmarks.quality_table import RELEVANCE, relevance_table

_MODEL = "efficientnet-lite0"
_BLOCK, _STEPS = 2, 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the photos that are not measured yet, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relevance", description=__doc__.split("\n\n")[0])
    help_ = "photos and labels.json, ImageNet classes by file name; nothing of them is kept but numbers"
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help=help_)
    parser.add_argument("--out", type=Path, default=RELEVANCE, help="the JSON file")
    options = parser.parse_args(arguments)
    photos = suite(_MODEL, folder=options.photos)
    protocol = {"steps": _STEPS, "baselines": ["black", "blur"], "blur_sigma": 20.0, "score": "probability"}
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {"rows": []}
    done = len(kept["rows"][0]["difference"]["items"]) if kept["rows"] else 0
    for start in range(done, len(photos.items), _BLOCK):
        block = photos.chosen(range(start, min(start + _BLOCK, len(photos.items))))
        rows = _rows(block, kept["rows"])
        kept = {"environment": describe(), "protocol": protocol, "model": _MODEL, "about": photos.about, "rows": rows}
        options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print(relevance_table(kept))
    return 0


def _rows(photos: Suite, before: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Measure all methods, and add what was measured before."""
    rows: list[dict[str, Any]] = []
    for name, settings in RELEVANCE_METHODS.items():
        rows += rows_of(photos, name, settings, ("sum_of_abs", "signed_sum"), 0.0, _STEPS)
    for row, old in zip(rows, before, strict=bool(before)):
        row |= {m: statistics(old[m]["items"] + row[m]["items"]) for m in ("deletion", "insertion", "difference")}
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
