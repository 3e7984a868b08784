"""Tables of explanations in Markdown from the kept result: ``python -m benchmarks.truth_table [FILE]``."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.environment import said
from benchmarks.truth_methods import DEFAULTS, GRID, OURS, PAPER, RADII, READINGS, Settings

__all__ = ["FIRST", "RESULT", "chosen", "key_of", "paper_tables", "tables", "truth_tables"]

RESULT = Path(__file__).parent / "results" / "truth.json"

FIRST = "efficientnet-lite0"
"""The network that settings are chosen on, and of which NeFLAG's tables are."""

Records = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""`key_of` some settings to the position of an item to what was measured."""


def key_of(settings: Settings) -> str:
    """Name settings, the same for the same ones."""
    return json.dumps(dict(sorted(settings.items())))


def _common(records: Records, wanted: Sequence[tuple[Settings, Sequence[str]]]) -> list[str]:
    """Give the positions of the items of which all these settings have all these measures."""
    there = [
        {position for position, one in records.get(key_of(settings), {}).items() if all(name in one for name in names)}
        for settings, names in wanted
    ]
    return sorted(set.intersection(*there), key=int) if there else []


def _values(records: Records, settings: Settings, name: str, positions: Sequence[str]) -> list[float]:
    """Give a measure of items; "curves" is insertion less deletion, of which "deletion" and "insertion" are parts."""
    metric, reading = name.split(": ")
    part = {"deletion": 0, "insertion": 1}.get(metric)
    rows = [
        records[key_of(settings)][position][name if part is None else f"curves: {reading}"] for position in positions
    ]
    return [row[-1] - (row[0] if len(row) > 1 else 0.0) if part is None else row[part] for row in rows]


def _cost(records: Records, settings: Settings, positions: Sequence[str]) -> str:
    """Give the least over the items: the first ones also trace the model."""
    return f"{min(records[key_of(settings)][position]['gradients'] for position in positions):.3g}"


def _cell(values: Sequence[float], best: float | None = None) -> str:
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    text = f"{fmean(values):.3f} ± {error:.3f}"
    return f"**{text}**" if fmean(values) == best else text


def _columns(columns: Sequence[Sequence[Sequence[float]]]) -> list[list[str]]:
    """Make the cells of columns, in which the largest mean is bold; give them by row."""
    best = [max(fmean(values) for values in column) for column in columns]
    cells = [[_cell(values, most) for values in column] for column, most in zip(columns, best, strict=True)]
    return [list(row) for row in zip(*cells, strict=True)]


def _head(titles: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]


def chosen(records: Records) -> dict[str, tuple[Settings, str]]:
    """Choose settings and a reading for each method of the grid that was measured: the largest mean difference."""
    best = {}
    for method, several in GRID.items():
        names = [f"curves: {reading}" for reading in READINGS]
        positions = _tuning(_common(records, [(settings, names) for settings in several]))
        means = {
            (i, reading): fmean(_values(records, settings, f"curves: {reading}", positions))
            for i, settings in enumerate(several)
            for reading in READINGS
            if positions
        }
        if means:
            index, reading = max(means, key=means.__getitem__)
            best[method] = several[index], reading
    return best


def _tuning(positions: Sequence[str]) -> list[str]:
    return [position for position in positions if int(position) % 2 == 0]


def _reported(positions: Sequence[str]) -> list[str]:
    return [position for position in positions if int(position) % 2 == 1]


def paper_tables(kept: Mapping[str, Any]) -> str:
    """Make NeFLAG's tables under both rankings, and the sweep of its radius, of one network."""
    records, rankings = kept["networks"].get(FIRST, {"records": {}})["records"], ("sum_of_abs", "per_channel")
    names = [f"curves: {ranking}" for ranking in rankings]
    positions = _reported(_common(records, [(DEFAULTS[label], names) for label in PAPER]))
    if not positions:
        return ""
    measures = [f"{m}: {ranking}" for ranking in rankings for m in ("deletion", "insertion", "curves")]
    titles = [f"{m}, `{ranking}`" for ranking in rankings for m in ("deletion ↓", "insertion ↑", "difference ↑")]
    columns = [[_values(records, DEFAULTS[label], m, positions) for label in PAPER] for m in measures]
    lines = _head([f"{FIRST}, {len(positions)} photos", *titles])
    for i, label in enumerate(PAPER):
        lines.append(f"| {label} | {' | '.join(_cell(column[i]) for column in columns)} |")
    positions = _reported(_common(records, [(settings, names) for settings in RADII.values()]))
    if positions:
        lines += [
            "",
            *_head([f"radius of NeFLAG-10, {len(positions)} photos", *(f"difference, `{r}`" for r in rankings)]),
        ]
        cells = _columns([[_values(records, settings, m, positions) for settings in RADII.values()] for m in names])
        lines += [f"| {radius} | {' | '.join(row)} |" for radius, row in zip(RADII, cells, strict=True)]
    return "\n".join([*lines, "", _small_print(kept)])


def truth_tables(kept: Mapping[str, Any]) -> str:
    """Make the tables of all methods at their defaults, a network each, and that of the chosen settings."""
    parts = [_defaults(name, network["records"]) for name, network in kept["networks"].items()]
    return "\n\n".join([*filter(None, parts), *filter(None, [_tuned(kept["networks"])]), _small_print(kept)])


def _defaults(name: str, records: Records) -> str:
    measures = [f"curves: {READINGS[0]}", f"curves: {READINGS[1]}", f"road: {READINGS[2]}"]
    positions = _reported(_common(records, [(settings, measures) for settings in DEFAULTS.values()]))
    if not positions:
        return ""
    columns = [[_values(records, settings, m, positions) for settings in DEFAULTS.values()] for m in measures]
    ours = columns[0][list(DEFAULTS).index("NeFLAG-10")]
    titles = (
        "gradients",
        "difference, `sum_of_abs`",
        "difference, `signed_sum`",
        "ROAD",
        "difference less NeFLAG-10's",
    )
    lines = _head([f"{name}, {len(positions)} items", *titles])
    for (label, settings), cells, values in zip(DEFAULTS.items(), _columns(columns), columns[0], strict=True):
        less = _cell([a - b for a, b in zip(values, ours, strict=True)]) if values is not ours else ""
        lines.append(f"| {label} | {_cost(records, settings, positions)} | {' | '.join(cells)} | {less} |")
    return "\n".join(lines)


def _tuned(networks: Mapping[str, Any]) -> str:
    """Make the table of the chosen settings on all networks; paired differences are with NeFLAG on the same items."""
    best = chosen(networks.get(FIRST, {"records": {}})["records"])
    wanted = [(settings, [f"curves: {reading}", f"road: {reading}"]) for settings, reading in best.values()]
    by_network = {name: _reported(_common(network["records"], wanted)) for name, network in networks.items()}
    by_network = {name: positions for name, positions in by_network.items() if positions}
    if len(best) < len(GRID) or FIRST not in by_network:
        return ""
    measures = [(name, metric) for name in by_network for metric in ("curves", "road")]
    columns = [
        [_values(networks[name]["records"], s, f"{metric}: {r}", by_network[name]) for s, r in best.values()]
        for name, metric in measures
    ]
    names = [f"curves: {reading}" for reading in READINGS]
    searched = _tuning(_common(networks[FIRST]["records"], [(s, names) for several in GRID.values() for s in several]))
    titles = [f"chosen on {len(searched)} other items of {FIRST}", "gradients"]
    for name, positions in by_network.items():
        titles += [f"{name}, {len(positions)} items: difference", "ROAD"]
    lines = _head([*titles, f"difference less {OURS}'s", "setting"])
    ours = columns[0][list(best).index(OURS)]
    for (method, (settings, reading)), cells, values in zip(best.items(), _columns(columns), columns[0], strict=True):
        less = _cell([a - b for a, b in zip(values, ours, strict=True)]) if method != OURS else ""
        cost = _cost(networks[FIRST]["records"], settings, by_network[FIRST])
        options = ", ".join(f"{k}={v}" for k, v in settings.items() if k not in ("method", "low", "high", "upsample"))
        lines.append(f"| {method} | {cost} | {' | '.join(cells)} | {less} | {options}; {reading} |")
    return "\n".join(lines)


def _small_print(kept: Mapping[str, Any]) -> str:
    abouts = {name: network["about"] for name, network in kept["networks"].items()}
    right = ", ".join(f"{name} {a['items_classified_right']} of {a['items_there']}" for name, a in abouts.items())
    steps = kept["protocol"]["steps"]
    return f"Mean ± standard error; {steps} steps per curve. Classified right: {right}. {said(kept['runs'])}"


def tables(kept: Mapping[str, Any]) -> str:
    """Make all tables, as far as there is something to show."""
    return "\n\n".join(filter(None, (paper_tables(kept), truth_tables(kept)))) if kept["networks"] else ""


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else RESULT).read_text(encoding="utf-8"))))
