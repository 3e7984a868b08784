"""Tables in Markdown from the kept result: ``python -m benchmarks.quality_table [FILE]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RELEVANCE", "RESULT", "relevance_table", "summary", "tables"]

RESULT = Path(__file__).parent / "results" / "quality.json"
RELEVANCE = RESULT.with_name("relevance.json")
_COLUMNS = ("deletion", "insertion", "difference")


def _cell(row: Mapping[str, Any], column: str, best: bool) -> str:
    text = f"{row[column]['mean']:.3f} ± {row[column]['standard_error']:.3f}"
    return f"**{text}**" if best else text


def _table(rows: Sequence[Mapping[str, Any]], ranking: str | None) -> list[str]:
    """Make one table; the best mean difference is bold, whosever it is."""
    rows = [row for row in rows if ranking is None or row["ranking"] == ranking]
    best = max(row["difference"]["mean"] for row in rows)
    lines = ["| method | gradients | deletion ↓ | insertion ↑ | difference ↑ |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [_cell(row, name, name == "difference" and row[name]["mean"] == best) for name in _COLUMNS]
        lines.append(f"| {row['method']} | {row['gradients']:.0f} | {' | '.join(cells)} |")
    return lines


def _settings(choice: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(choice.items()) if name != "method")


def _held_out(result: Mapping[str, Any]) -> list[str]:
    lines = ["", f"Settings chosen on {result['chosen_on']}, reported on the items that the search did not see:", ""]
    lines += _table(result["rows"], None)
    lines += ["", "| pair, same items | difference score, first less second |", "|---|---|"]
    lines += [f"| {pair['pair']} | {_cell(pair, 'difference', False)} |" for pair in result["pairs"]]
    lines += ["", *(f"- {name}: {_settings(choice)}" for name, choice in result["settings"].items())]
    return lines


def tables(results: Mapping[str, Any]) -> str:
    """Make all tables.

    Args:
        results: as ``benchmarks/quality.py`` keeps them.

    Returns:
        Markdown.
    """
    lines: list[str] = []
    for name, result in results["models"].items():
        items = f"{len(result['items'])} items of {result['about']['items_there']}, classified right"
        lines += [f"### {name} ({items})", ""]
        rankings = list(dict.fromkeys(row["ranking"] for row in result["rows"]))
        for ranking in rankings:
            lines += [f"Pixels ranked by `{ranking}`:", "", *_table(result["rows"], ranking), ""]
        if result.get("radius_sweep"):
            lines += ["Radius, NeFLAG-10, mean difference score:", ""]
            rankings = list(dict.fromkeys(row["ranking"] for row in result["radius_sweep"]))
            lines += [f"| radius | aggregate | {' | '.join(rankings)} |", f"|---|---|{'---|' * len(rankings)}"]
            for radius, aggregate in dict.fromkeys((r["radius"], r["aggregate"]) for r in result["radius_sweep"]):
                rows = {
                    r["ranking"]: r["difference"]["mean"]
                    for r in result["radius_sweep"]
                    if (r["radius"], r["aggregate"]) == (radius, aggregate)
                }
                lines.append(f"| {radius} | {aggregate} | {' | '.join(f'{rows[r]:.3f}' for r in rankings)} |")
        if result.get("held_out"):
            lines += _held_out(result["held_out"])
        lines += ["", _small_print(result), ""]
    return "\n".join(lines)


def summary(results: Mapping[str, Any], ranking: str = "sum_of_abs") -> str:
    """Make one table of all models: the mean difference score under one ranking rule.

    Args:
        results: as ``benchmarks/quality.py`` keeps them.
        ranking: the rule.

    Returns:
        Markdown.
    """
    models = results["models"]
    lines = [f"| difference score, `{ranking}` | {' | '.join(models)} |", f"|---|{'---|' * len(models)}"]
    columns = [
        {row["method"]: row for row in result["rows"] if row["ranking"] == ranking} for result in models.values()
    ]
    best = [max(row["difference"]["mean"] for row in column.values()) for column in columns]
    for method in columns[0] if columns else ():
        cells = [
            _cell(column[method], "difference", column[method]["difference"]["mean"] == most)
            for column, most in zip(columns, best, strict=True)
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def relevance_table(result: Mapping[str, Any]) -> str:
    """Make the table in Markdown: the difference score under both rankings; the best mean of all is bold."""
    rows = {(row["method"], row["ranking"]): row for row in result["rows"]}
    best = max(row["difference"]["mean"] for row in rows.values())
    lines = ["| method | gradients | difference, `sum_of_abs` | difference, `signed_sum` |", "|---|---|---|---|"]
    for method in dict.fromkeys(name for name, _ in rows):
        found = [rows[method, ranking] for ranking in ("sum_of_abs", "signed_sum")]
        cells = [_cell(row, "difference", row["difference"]["mean"] == best) for row in found]
        lines.append(f"| {method} | {found[0]['gradients']:.3g} | {' | '.join(cells)} |")
    count, about = len(next(iter(rows.values()))["difference"]["items"]), result["about"]
    steps, commit = result["protocol"]["steps"], result["environment"]["commit"]
    return "\n".join(lines) + (
        f"\n\n{result['model']}, {count} photos of the {about['items_classified_right']} that it classifies right of "
        f"{about['items_there']}; mean ± standard error, {steps} steps per curve, commit {commit}."
    )


def _small_print(result: Mapping[str, Any]) -> str:
    protocol, environment = result["protocol"], result["environment"]
    captum = f"captum {protocol['captum']}, " if "captum" in protocol else ""
    return (
        f"Mean ± standard error over items; {protocol['steps']} steps per curve, black and blur of sigma "
        f"{protocol['blur_sigma']:.0f} averaged, probability of the label. torch {environment['torch']}, "
        f"{captum}{environment['cpu']}, commit {environment['commit']}."
    )


if __name__ == "__main__":
    kept = json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else RESULT).read_text(encoding="utf-8"))
    print(f"{summary(kept)}\n\n{tables(kept)}")
