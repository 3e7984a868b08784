"""The tables of T-NID in Markdown from the kept result: ``python -m benchmarks.tnid_table`` prints all of them."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import said
from benchmarks.published import INTERACTION_AUC, INTERACTION_AUC_SPREAD, ORDERS

__all__ = ["RESULT", "summary", "table"]

RESULT = Path(__file__).parent / "results" / "tnid.json"

NAMES = tuple(f"F{number}" for number in range(1, 11))
_FOUR, _MANY = "four, mean absolute", "200, mean absolute"
# Column, part of the result, method in it, and its name where figures of it were published.
COLUMNS = (
    ("T-NID, four rows", "t-nid", _FOUR, "T-NID"),
    ("T-NID, 200 rows", "t-nid", _MANY, None),
    ("GLIDER", "network", "GLIDER, 200 rows", "GLIDER"),
    ("NID, MLP-M", "nid-m", "NID", "NID, MLP-M"),
    ("NID", "", "", "NID"),
    ("AG", "", "", "AG"),
    ("RuleFit", "table", "RuleFit, H statistic", "RuleFit"),
    ("HierLasso", "table", "hierarchical lasso", "HierLasso"),
    ("ANOVA", "table", "ANOVA", "ANOVA"),
    ("Int. Hessians", "network", "Integrated Hessians, 200 rows", None),
    ("Shapley, 20 rows", "network", "Shapley (SII), 20 rows", None),
    ("FAST", "table", "FAST (GA2M)", None),
)
_BY_T_NID = ("T-NID", "GLIDER")
"""What was published of the functions of T-NID's code, which differ in F5 and F7; the rest is of NID's functions."""

Functions = Mapping[str, Mapping[str, Any]]


def table(results: Mapping[str, Any]) -> str:
    """Make all tables.

    Args:
        results: as ``benchmarks/tnid.py`` keeps them.

    Returns:
        Markdown.
    """
    functions = results["functions"]
    parts = (pairs(functions), choices(functions), orders(functions), held_out(functions), sweep(functions))
    return "\n\n".join(filter(None, parts))


def summary(results: Mapping[str, Any]) -> str:
    """Make the tables of docs/results.md: pairs, the choice of effects, higher orders, and the choice of rows."""
    functions = results["functions"]
    parts = (pairs(functions), choices(functions), orders(functions), held_out(functions))
    return "\n\n".join(filter(None, (*parts, said([results["environment"]]))))


def _values(functions: Functions, name: str, part: str, method: str) -> list[float] | None:
    found = functions.get(name, {}).get(part, {}).get("pairs", {}).get(method)
    return list(found) if found else None


def _cell(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.pstdev(values):.3f}" if len(values) > 1 else mean


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


def _published(name: str | None, row: str) -> str:
    """Give what was published of a method on a function, or its average over those of its paper, or nothing."""
    if name is None:
        return ""
    values, spreads = INTERACTION_AUC[name], INTERACTION_AUC_SPREAD.get(name)
    own = tuple(map(_in_code, NAMES)) if name in _BY_T_NID else NAMES
    if row in own:
        at = own.index(row)
        return f"{values[at]:.3f}" + (f" ± {spreads[at]:.3f}" if spreads else "")
    mean, spread = statistics.fmean(values), f" ± {statistics.fmean(spreads):.3f}" if spreads else ""
    return f"{mean:.3f}{spread}" if row == _AVERAGES[name in _BY_T_NID] else ""


_AVERAGES = ("average, NID's functions", "average, T-NID's functions")


def pairs(functions: Functions) -> str:
    """Make Table 1: pairwise AUC, mean and spread over the trainings; ours first where there are published figures."""
    titles = [f"{title}: ours / published" if published else title for title, _, _, published in COLUMNS]
    lines = [f"| pairwise AUC | R² | weakest pair | {' | '.join(titles)} |", "|---" * (len(titles) + 3) + "|"]
    averages = dict(zip(_AVERAGES, (NAMES, tuple(map(_in_code, NAMES))), strict=True))
    for name in (*NAMES, "F5-tnid", "F7-tnid", *averages):
        r2 = functions.get(name, {}).get("t-nid", {}).get("r2")
        fit = f"{statistics.fmean(r2):.4f}" if r2 else ""
        weak = functions.get(name, {}).get("table", {}).get("strength_of_the_true_pairs", {}).values()
        cells = []
        for _, part, method, published in COLUMNS:
            if name in averages:
                ours = _average(functions, averages[name], part, method)
            else:
                ours = _cell(_values(functions, name, part, method))
            cells.append(" / ".join(one or "-" for one in (ours, _published(published, name))) if published else ours)
        lines.append(f"| {name} | {fit} | {f'{min(weak):.3f}' if weak else ''} | {' | '.join(cells)} |")
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
        "| on the union of the sets found | T-NID, subsampled, four rows | NID | T-NID, exhaustive, 200 rows | NID "
        "| T-NID, published | NID, published |",
        "|---|---|---|---|---|---|---|",
    ]
    for whose, names in (("T-NID's", tuple(map(_in_code, NAMES))), ("NID's", NAMES)):
        there = [functions[n]["orders"] for n in names if "orders" in functions.get(n, {})]
        for order in (3, 4, 5):
            having = [part for part in there if f"{order}-way, 200 rows" in part]
            cells = [
                _over_functions([part[f"{order}-way, {way}"][method] for part in having])
                for way, method in itertools.product(("subsampled, four rows", "200 rows"), ("T-NID", "NID"))
            ]
            known = [f"{mean:.3f} ± {spread:.3f}" for mean, spread in (ORDERS[order][m] for m in ("T-NID", "NID"))]
            if having:
                cells += known if whose == "T-NID's" else ["", ""]
                lines.append(f"| {order}-way AUC, {len(having)} of {whose} functions | {' | '.join(cells)} |")
        hits = [_over_functions([part["r_precision"][m] for part in there]) for m in ("T-NID, 200 rows", "NID")]
        if there:
            lines.append(f"| R-precision, any order, {len(there)} of {whose} functions | | | {' | '.join(hits)} | | |")
    return "\n".join(lines) if len(lines) > 2 else ""


def _over_functions(found: Sequence[Sequence[float]]) -> str:
    """Give the mean over functions of the mean and of the spread over trainings."""
    if not found:
        return ""
    mean, spread = (statistics.fmean(map(rule, found)) for rule in (statistics.fmean, statistics.pstdev))
    return f"{mean:.3f} ± {spread:.3f}"


def _sweeps(functions: Functions) -> dict[str, Mapping[str, float]]:
    """Give, by function of T-NID's code, the AUC of every choice of representatives, effect and aggregate."""
    return {n: functions[n]["t-nid"]["sweep"] for n in map(_in_code, NAMES) if "t-nid" in functions.get(n, {})}


def held_out(functions: Functions) -> str:
    """Make the table of the sweep: each function by the choice that is best on average over the other ones."""
    found = _sweeps(functions)
    if len(found) < 2:
        return ""
    choices_ = list(next(iter(found.values())))
    usual = "absolute mean: mean, min, mode, random"
    titles = ("choice that is best on the other functions", "AUC", f"`{usual}`", "best in hindsight")
    lines = [f"| held out | {' | '.join(titles)} |", "|---|---|---|---|---|"]
    rows = []
    for name, own in found.items():
        others = [sweep_ for other, sweep_ in found.items() if other != name]
        best = max(choices_, key=lambda choice: statistics.fmean(one[choice] for one in others))
        rows.append((own[best], own[usual], max(own.values())))
        lines.append(f"| {name} | {best} | {' | '.join(f'{value:.3f}' for value in rows[-1])} |")
    means = " | ".join(f"{statistics.fmean(column):.3f}" for column in zip(*rows, strict=True))
    return "\n".join([*lines, f"| average of {len(found)}, of {len(choices_)} choices | | {means} |"])


def sweep(functions: Functions, best: int = 15) -> str:
    """Make the table of the best choices of representatives, effect and aggregate, over all functions."""
    found = list(_sweeps(functions).values())
    if not found:
        return ""
    averages = {key: statistics.fmean(f[key] for f in found) for key in found[0]}
    lines = ["| choice of effect, aggregate and representatives | average pairwise AUC |", "|---|---|"]
    ranking = sorted(averages, key=lambda key: -averages[key])
    lines += [f"| {key} | {averages[key]:.3f} |" for key in ranking[:best]]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(RESULT.read_text(encoding="utf-8"))))
