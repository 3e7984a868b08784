"""The tables of interactions in Markdown from the kept results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import said
from benchmarks.published import SORT_OF_CLEVR, SORT_OF_CLEVR_IMAGES

__all__ = ["QUESTIONS", "READER", "RESULT", "reader_table", "table"]

RESULT = Path(__file__).parent / "results" / "interactions.json"
READER = RESULT.with_name("reader.json")
QUESTIONS = ("shape of the closest", "shape of the furthest", "how many of that shape")
_BOXES = ("cell", "24 pixels")
_OURS = "Taylor-CAM, local"


def table(results: Mapping[str, Any]) -> str:
    """Make the table of hits, and a line on the two other tasks.

    Args:
        results: as ``benchmarks/interactions.py`` keeps them.

    Returns:
        Markdown; hits in per cent, with boxes of cells, and with those of 24 pixels.
    """
    rows = {
        (question, row["method"], row["box"]): row
        for question in QUESTIONS
        for part, result in results.items()
        if part.startswith(question)
        for row in result["found"]
    }
    lines = [f"| top-1 pair by | {' | '.join(QUESTIONS)} |", f"|---|{'---|' * len(QUESTIONS)}"]
    for method in dict.fromkeys(name for _, name, _ in rows):
        cells = [" / ".join(_percent(rows.get((name, method, box))) for box in _BOXES) for name in QUESTIONS]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    known = [
        _published(rate, rows.get((name, _OURS, _BOXES[1])))
        for name, rate in zip(QUESTIONS, SORT_OF_CLEVR, strict=True)
    ]
    lines.append(f"| Taylor-CAM, published ({SORT_OF_CLEVR_IMAGES} images, judged by people) | {' | '.join(known)} |")
    if {"yield_or_go", "three_objects"} <= results.keys():
        road, three = results["yield_or_go"]["found"], results["three_objects"]["found"]
        joined = road["top_pair_joins_sign_and_car"]
        lines += [
            "",
            f'Yield-or-Go, {road["scenes"]} scenes answered "stop": the top pair joins the sign and a car in '
            f"{joined['local']:.0%} (global: {joined['global']:.0%}). Three objects, {three['boards']} boards: order 3 "
            f"finds the three keys in {three['order_3_finds_the_three_keys']:.0%}, order 2 two of them in "
            f"{three['order_2_finds_two_of_the_keys']:.0%}.",
        ]
    counts = ", ".join(map(str, sorted({part["images"] for part in results.values()})))
    machines = said(part["environment"] for part in results.values())
    return "\n".join([*lines, "", f"{counts} images a question; {machines}"])


def reader_table(results: Mapping[str, Any]) -> str:
    """Make the table of the simulated reader, as ``benchmarks/reader.py`` keeps it."""
    lines = ["| pairs by | question | object |", "|---|---|---|"]
    for name, row in results["rows"].items():
        lines.append(f"| {name} | {_percent(row['question'])} | {_percent(row['object'])} |")
    machines = said(row["environment"] for row in results["rows"].values())
    counts = f"{results['read']} samples, after {results['learned']} others; {machines}"
    return "\n".join([*lines, "| chance | 33% | 17% |", "", counts])


def _published(rate: float, ours: Mapping[str, float] | None) -> str:
    """Give a published rate with its binomial error, and say where ours, with the published box, is not that."""
    error = math.sqrt(rate * (1 - rate) / SORT_OF_CLEVR_IMAGES)
    far = ours is not None and abs(rate - ours["rate"]) > 2 * math.hypot(error, ours["standard_error"])
    return _percent({"rate": rate, "standard_error": error}) + "; not reproduced" * far


def _percent(row: Mapping[str, float] | None) -> str:
    return "" if row is None else f"{row['rate']:.0%} ± {100 * row['standard_error']:.1f}"
