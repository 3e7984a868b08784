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
from benchmarks.truth_methods import DEFAULTS, GRID, OTHERS, OURS, PAPER, RADII, READINGS, Settings

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
    """Give a measure of items; of curves insertion less deletion, or one of the parts of "curves" by its name."""
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
        names = [f"tuning: {reading}" for reading in READINGS]
        positions = _tuning(_common(records, [(settings, names) for settings in several]))
        means = {
            (i, reading): fmean(_values(records, settings, f"tuning: {reading}", positions))
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
    """Make the tables of the methods at their defaults and at the chosen settings, a network each."""
    networks: Mapping[str, Any] = kept["networks"]
    plain = [f"curves: {READINGS[0]}", f"road: {READINGS[1]}"]
    defaults = {label: (settings, plain) for label, settings in (DEFAULTS | OTHERS).items()}
    parts = [_compared(f"{name}, defaults", one["records"], defaults, "NeFLAG-10") for name, one in networks.items()]
    first = networks.get(FIRST, {"records": {}})["records"]
    best, rows = chosen(first), {}
    for method, (settings, reading) in best.items():
        options = ", ".join(f"{k}={v}" for k, v in settings.items() if k not in ("method", "low", "high", "upsample"))
        rows[f"{method}: {options}; {reading}"] = settings, [f"curves: {reading}", f"road: {reading}"]
    if len(best) == len(GRID):
        names = [f"tuning: {reading}" for reading in READINGS]
        searched = _tuning(_common(first, [(settings, names) for several in GRID.values() for settings in several]))
        ours = next(label for label in rows if label.startswith(f"{OURS}: "))
        title = f"chosen on {len(searched)} other items of {FIRST}"
        parts += [_compared(f"{name}, {title}", one["records"], rows, ours) for name, one in networks.items()]
    return "\n\n".join([*filter(None, parts), _small_print(kept)])


def _compared(title: str, records: Records, rows: Mapping[str, tuple[Settings, Sequence[str]]], ours: str) -> str:
    """Make a table of the items that all rows have; a row has settings, and the names of a difference and a ROAD.

    Rows of less than half as many items as another are left out.
    """
    many = {label: len(_reported(_common(records, [row]))) for label, row in rows.items()}
    rows = {label: row for label, row in rows.items() if many[label] * 2 >= max(many.values())}
    positions = _reported(_common(records, list(rows.values())))
    if not positions or ours not in rows:
        return ""
    columns = [[_values(records, settings, names[i], positions) for settings, names in rows.values()] for i in (0, 1)]
    reference = [column[list(rows).index(ours)] for column in columns]
    less = [f"{measure} less {ours.partition(':')[0]}'s" for measure in ("difference", "ROAD")]
    lines = _head([f"{title}, {len(positions)} items", "gradients", "difference", "ROAD", *less])
    for i, ((label, (settings, _)), cells) in enumerate(zip(rows.items(), _columns(columns), strict=True)):
        pairs = [zip(column[i], own, strict=True) for column, own in zip(columns, reference, strict=True)]
        paired = ["" if label == ours else _cell([a - b for a, b in pair]) for pair in pairs]
        lines.append(f"| {' | '.join([label, _cost(records, settings, positions), *cells, *paired])} |")
    return "\n".join(lines)


def _small_print(kept: Mapping[str, Any]) -> str:
    abouts = {name: network["about"] for name, network in kept["networks"].items()}
    right = ", ".join(f"{name} {a['items_classified_right']} of {a['items_there']}" for name, a in abouts.items())
    steps = kept["protocol"]["steps"]
    said_steps = f"{steps['curves']} steps per curve, {steps['tuning']} for choosing"
    return f"Mean ± standard error; {said_steps}. Classified right: {right}. {said(kept['runs'])}"


def tables(kept: Mapping[str, Any]) -> str:
    """Make all tables, as far as there is something to show."""
    return "\n\n".join(filter(None, (paper_tables(kept), truth_tables(kept)))) if kept["networks"] else ""


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1] if len(sys.argv) > 1 else RESULT).read_text(encoding="utf-8"))))
