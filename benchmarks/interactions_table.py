"""The table of interactions in Markdown from the kept result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["RESULT", "table"]

RESULT = Path(__file__).parent / "results" / "interactions.json"
_QUESTIONS = ("shape of the closest", "shape of the furthest", "how many of that shape")


def table(results: Mapping[str, Any]) -> str:
    """Make the table of hits, and a line on the two other tasks.

    Args:
        results: as ``benchmarks/interactions.py`` keeps them.

    Returns:
        Markdown; hits of the most images, with boxes of cells, and with those of 24 pixels.
    """
    rows = results["sort_of_clevr"]
    count = max(rows[0]["hits"], key=int)
    lines = [f"| top-1 pair by | {' | '.join(_QUESTIONS)} |", f"|---|{'---|' * len(_QUESTIONS)}"]
    for method in dict.fromkeys(row["method"] for row in rows):
        hits = {(row["question"], row["box"]): row["hits"][count] for row in rows if row["method"] == method}
        cells = [f"{hits[i, 'cell']:.0%} / {hits[i, '24 pixels']:.0%}" for i in range(len(_QUESTIONS))]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    road, three = results["yield_or_go"], results["three_objects"]
    joined = road["top_pair_joins_sign_and_car"]
    lines += [
        "",
        f'Yield-or-Go, {road["scenes"]} scenes answered "stop": the top pair joins the sign and a car in '
        f"{joined['local']:.0%} (global: {joined['global']:.0%}). Three objects, {three['boards']} boards: order 3 "
        f"finds the three keys in {three['order_3_finds_the_three_keys']:.0%}, order 2 two of them in "
        f"{three['order_2_finds_two_of_the_keys']:.0%}.",
    ]
    return "\n".join(lines)
