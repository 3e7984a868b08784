"""The tables of T-NID in Markdown from the kept result: ``python -m benchmarks.tnid_table`` prints all of them."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["RESULT", "summary", "table"]

RESULT = Path(__file__).parent / "results" / "tnid.json"

NAMES = tuple(f"F{number}" for number in range(1, 11))
PUBLISHED: Mapping[str, Sequence[float]] = {
    # Tsang, Cheng and Liu, ICLR 2018, Table 2.
    "ANOVA": (0.992, 0.468, 0.657, 0.563, 0.544, 0.780, 0.726, 0.929, 0.783, 0.765),
    "HierLasso": (1.0, 0.636, 0.556, 0.634, 0.625, 0.730, 0.571, 0.958, 0.681, 0.583),
    "RuleFit": (0.754, 0.698, 0.815, 0.689, 0.797, 0.811, 0.666, 0.946, 0.584, 0.876),
    "AG": (1.0, 0.88, 1.0, 0.999, 0.67, 0.64, 0.81, 0.937, 0.808, 1.0),
    "NID, MLP": (0.970, 0.79, 0.999, 0.85, 1.0, 0.98, 0.84, 0.989, 0.83, 0.995),
    "NID, MLP-M": (0.995, 0.85, 1.0, 0.996, 1.0, 0.70, 0.82, 0.989, 0.83, 0.99),
}
T_NID_PUBLISHED = "0.975 ± 0.015"
"""Lerman et al., ICCV 2021: the average over the functions of their code."""

_FOUR, _MANY = "four, mean absolute", "200, mean absolute"
# Column, part of the result, method in it.
COLUMNS = (
    ("T-NID, four rows", "t-nid", _FOUR),
    ("T-NID, 200 rows", "t-nid", _MANY),
    ("NID", "nid-m", "NID"),
    ("GLIDER", "network", "GLIDER, 200 rows"),
    ("Int. Hessians", "network", "Integrated Hessians, 200 rows"),
    ("Shapley, 20 rows", "network", "Shapley (SII), 20 rows"),
    ("FAST", "table", "FAST (GA2M)"),
    ("RuleFit", "table", "RuleFit, H statistic"),
    ("hier. lasso", "table", "hierarchical lasso"),
    ("ANOVA", "table", "ANOVA"),
)

Functions = Mapping[str, Mapping[str, Any]]


def table(results: Mapping[str, Any]) -> str:
    """Make all tables.

    Args:
        results: as ``benchmarks/tnid.py`` keeps them.

    Returns:
        Markdown.
    """
    functions = results["functions"]
    return "\n\n".join(
        part for part in (pairs(functions), choices(functions), orders(functions), sweep(functions)) if part
    )


def summary(results: Mapping[str, Any]) -> str:
    """Make the tables of docs/results.md: pairs, the choice of effects, and higher orders."""
    functions = results["functions"]
    narrow = pairs(functions, published=("NID, MLP-M",), spread=False)
    return "\n\n".join(part for part in (narrow, choices(functions), orders(functions)) if part)


def _values(functions: Functions, name: str, part: str, method: str) -> list[float] | None:
    found = functions.get(name, {}).get(part, {}).get("pairs", {}).get(method)
    return list(found) if found else None


def _cell(values: Sequence[float] | None, spread: bool = True) -> str:
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.pstdev(values):.3f}" if spread else mean


def _average(functions: Functions, names: Sequence[str], part: str, method: str) -> str:
    found = [_values(functions, name, part, method) for name in names]
    complete = [values for values in found if values]
    if len(complete) < len(names):
        return ""
    mean = statistics.fmean(statistics.fmean(values) for values in complete)
    if any(len(values) < 2 for values in complete):  # a single training has no spread
        return f"**{mean:.3f}**"
    return f"**{mean:.3f} ± {statistics.fmean(statistics.pstdev(values) for values in complete):.3f}**"


def _in_code(name: str) -> str:
    return f"{name}-tnid" if name in ("F5", "F7") else name


def pairs(functions: Functions, published: Sequence[str] = tuple(PUBLISHED), *, spread: bool = True) -> str:
    """Make Table 1: pairwise AUC, mean and spread over the trainings, published figures beside."""
    titles = [title for title, *_ in COLUMNS]
    titles_published = [f"{name}, published" for name in published]
    lines = [
        f"| pairwise AUC | R² | weakest pair | {' | '.join((*titles, *titles_published))} |",
        f"|---|---|---|{'---|' * (len(titles) + len(published))}",
    ]
    for name in (*NAMES, "F5-tnid", "F7-tnid"):
        r2 = functions.get(name, {}).get("t-nid", {}).get("r2")
        cells = [
            _cell(_values(functions, name, part, method), spread or part == "t-nid") for _, part, method in COLUMNS
        ]
        known = [f"{PUBLISHED[p][NAMES.index(name)]:.3f}" if name in NAMES else "" for p in published]
        fit = f"{statistics.fmean(r2):.4f}" if r2 else ""
        weak = functions.get(name, {}).get("table", {}).get("strength_of_the_true_pairs", {}).values()
        weakest = f"{min(weak):.3f}" if weak else ""
        lines.append(f"| {name} | {fit} | {weakest} | {' | '.join(cells)} | {' | '.join(known)} |")
    for label, names in (
        ("average, NID's functions", NAMES),
        ("average, T-NID's functions", tuple(_in_code(n) for n in NAMES)),
    ):
        cells = [_average(functions, names, part, method) for _, part, method in COLUMNS]
        known = [f"{statistics.fmean(PUBLISHED[p]):.3f}" if names == NAMES else "" for p in published]
        if names != NAMES:
            cells[0] += f" (published: {T_NID_PUBLISHED})"
        lines.append(f"| {label} | | | {' | '.join(cells)} | {' | '.join(known)} |")
    return "\n".join(lines)


def choices(functions: Functions) -> str:
    """Make the table of effects, aggregates and trainings: average pairwise AUC over T-NID's functions."""
    lines = ["| T-NID, average pairwise AUC | four rows | 200 rows |", "|---|---|---|"]
    names = [_in_code(name) for name in NAMES]
    for part, trained in (("t-nid", "trained as published"), ("t-nid-decay", "trained as `fit_mlp` does")):
        for effect in ("mean absolute", "median absolute", "mean square"):
            cells = [_average(functions, names, part, f"{rows}, {effect}") for rows in ("four", "200")]
            if any(cells):
                lines.append(f"| {effect}, {trained} | {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def orders(functions: Functions) -> str:
    """Make Table 2: AUC of orders 3 to 5 on the union of the sets found, over the functions that have such sets."""
    lines = [
        "| on the union of the sets found | T-NID, subsampled, four rows | NID | T-NID, exhaustive, 200 rows | NID |",
        "|---|---|---|---|---|",
    ]
    for whose, names in (("T-NID's", tuple(map(_in_code, NAMES))), ("NID's", NAMES)):
        there = [functions[n]["orders"] for n in names if "orders" in functions.get(n, {})]
        for order in (3, 4, 5):
            having = [part for part in there if f"{order}-way, 200 rows" in part]
            cells = [
                _over_functions([part[f"{order}-way, {way}"][method] for part in having])
                for way, method in itertools.product(("subsampled, four rows", "200 rows"), ("T-NID", "NID"))
            ]
            if having:
                lines.append(f"| {order}-way AUC, {len(having)} of {whose} functions | {' | '.join(cells)} |")
        hits = [_over_functions([part["r_precision"][m] for part in there]) for m in ("T-NID, 200 rows", "NID")]
        if there:
            lines.append(f"| R-precision, any order, {len(there)} of {whose} functions | | | {' | '.join(hits)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _over_functions(found: Sequence[Sequence[float]]) -> str:
    """Give the mean over functions of the mean and of the spread over trainings."""
    if not found:
        return ""
    mean, spread = (statistics.fmean(map(rule, found)) for rule in (statistics.fmean, statistics.pstdev))
    return f"{mean:.3f} ± {spread:.3f}"


def sweep(functions: Functions, best: int = 15) -> str:
    """Make the table of the best choices of representatives, effect and aggregate, over all functions."""
    found = [functions[n]["t-nid"]["sweep"] for n in map(_in_code, NAMES) if "t-nid" in functions.get(n, {})]
    if not found:
        return ""
    averages = {key: statistics.fmean(f[key] for f in found) for key in found[0]}
    lines = ["| choice of effect, aggregate and representatives | average pairwise AUC |", "|---|---|"]
    ranking = sorted(averages, key=lambda key: -averages[key])
    lines += [f"| {key} | {averages[key]:.3f} |" for key in ranking[:best]]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(RESULT.read_text(encoding="utf-8"))))
