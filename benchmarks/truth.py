"""Which explanation finds what a classifier goes by? ``python -m benchmarks.truth --photos DIR --minutes M``.

Insertion, deletion and their difference, as in the tables of the NeFLAG paper, and ROAD, on photos with labels: first
every method at its defaults, on more and more photos that no setting is chosen on; then a grid of settings on the other
half of the photos; then what is best there, on the first half, also for networks on which nothing was chosen.

A photo by one method is a step, and each step is kept: a run that was stopped goes on with the same command, and the
tables say of how many photos they are.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import describe
from benchmarks.suites import DIGITS, Suite, suite
from benchmarks.truth_methods import (
    DEFAULTS,
    GRID,
    PAPER,
    RADII,
    READINGS,
    ROAD_SHARES,
    Settings,
    attributions,
    measure,
    read,
)
from benchmarks.truth_table import FIRST, RESULT, chosen, key_of, tables

LITE = (FIRST, "efficientnet-lite1", "efficientnet-lite2")
NETWORKS = (*LITE, DIGITS)
_STEPS = 8
_PLAIN = [f"curves: {READINGS[0]}", f"curves: {READINGS[1]}", f"road: {READINGS[2]}"]
_PROTOCOL = {"steps": _STEPS, "baselines": ["black", "blur"], "blur_sigma": 20.0, "road_shares": list(ROAD_SHARES)}
_EVERY = 1000

STAGES = (
    ("defaults", LITE[0], 8),
    ("radius", LITE[0], 8),
    ("defaults", DIGITS, 20),
    *(("defaults", name, 8) for name in LITE[1:]),
    ("defaults", LITE[0], 16),
    ("grid", LITE[0], 8),
    *(("chosen", name, 8) for name in LITE),
    *((stage, name, 16) for stage in ("radius", "defaults", "grid", "chosen") for name in LITE),
    *((stage, name, _EVERY) for stage in ("radius", "defaults", "grid", "chosen") for name in LITE),
)
"""What is measured, on which network and how many items, in turn; grid and radius are of the first network only."""

Step = tuple[Settings, int, list[str]]
"""Settings, the item, and what is measured of its map."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Go through the stages until the time is over, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.truth", description=__doc__.split("\n\n")[0])
    help_ = "photos and labels.json, ImageNet classes by file name, in the place of foolbox's; only numbers are kept"
    parser.add_argument("--photos", type=Path, metavar="DIR", help=help_)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="all by default")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="when to stop; at the end by default")
    parser.add_argument("--out", type=Path, default=RESULT, help="the JSON file")
    options = parser.parse_args(arguments)
    until = time.monotonic() + 60 * options.minutes
    kept: dict[str, Any] = {"protocol": _PROTOCOL, "runs": [], "networks": {}}
    if options.out.exists():
        kept = json.loads(options.out.read_text(encoding="utf-8"))
    if kept["protocol"] != _PROTOCOL:
        parser.error(f"--out: expected results of the protocol {_PROTOCOL}, got {kept['protocol']}")
    suites = functools.cache(lambda name: suite(name, options.photos))
    for stage, name, count in STAGES:
        if name not in options.networks or (stage in ("grid", "radius") and name != FIRST):
            continue
        photos = suites(name)
        network = kept["networks"].setdefault(name, {"about": photos.about, "records": {}})
        if network["about"] != photos.about:
            parser.error(f"--photos: expected those of the kept results, {network['about']}, got {photos.about}")
        for settings, item, names in _steps(stage, photos, count, kept):
            if time.monotonic() > until:
                print(tables(kept))
                return 0
            if _step(network, photos, settings, item, names, _run(kept["runs"])):
                _write(options.out, kept)
    print(tables(kept))
    return 0


def _steps(stage: str, photos: Suite, count: int, kept: dict[str, Any]) -> Iterator[Step]:
    """Give the steps of a stage, item by item, so that a run that is cut has all methods on the items it reached."""
    which: list[tuple[Settings, list[str]]]
    if stage == "defaults":
        channels = [*_PLAIN, "curves: per_channel"]
        which = [(settings, channels if label in PAPER else _PLAIN) for label, settings in DEFAULTS.items()]
    elif stage == "radius":
        which = [(settings, [_PLAIN[0], "curves: per_channel"]) for settings in RADII.values()]
    elif stage == "grid":
        names = [f"curves: {reading}" for reading in READINGS]
        which = [(settings, names) for several in GRID.values() for settings in several]
    else:
        best = chosen(kept["networks"].get(FIRST, {"records": {}})["records"]).values()
        which = [(settings, [f"curves: {reading}", f"road: {reading}"]) for settings, reading in best]
    for item in photos.half(0 if stage == "grid" else 1)[:count]:
        yield from ((settings, item, names) for settings, names in which)


def _step(network: dict[str, Any], photos: Suite, settings: Settings, item: int, names: list[str], run: int) -> bool:
    """Measure what a record lacks; return whether there was anything."""
    records = network["records"].setdefault(key_of(settings), {})
    record = records.get(str(photos.positions[item]), {})
    missing = [name for name in names if name not in record]
    if not missing:
        return False
    began = time.monotonic()
    found, cost = attributions(photos, item, settings)
    record |= {"runs": sorted({*record.get("runs", []), run}), "gradients": round(cost, 3)}
    measured: dict[tuple[str, str, bytes], list[float]] = {}  # maps without signs are read alike
    for name in missing:
        metric, reading = name.split(": ")
        importance, ranking = read(found, reading)
        same = metric, ranking, importance.numpy().tobytes()
        if same not in measured:
            values = measure(photos, item, metric, importance, ranking, _STEPS)
            measured[same] = [round(value, 5) for value in values]
        record[name] = measured[same]
    records[str(photos.positions[item])] = record
    line = f"{photos.name} {photos.positions[item]} {key_of(settings)}: {time.monotonic() - began:.1f} s"
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
    return True


def _run(runs: list[dict[str, object]]) -> int:
    """Give the number of the machine and the software that measure, among those that have measured before."""
    now = _described()
    if now not in runs:
        runs.append(now)
    return runs.index(now)


@functools.cache
def _described() -> dict[str, object]:
    return {name: value for name, value in describe().items() if name != "date"}


def _write(path: Path, kept: dict[str, Any]) -> None:
    """Write a line for each setting of each network, to a file beside, which then takes the place of the one before."""
    networks = [
        f"{json.dumps(name)}: {{\n"
        + f'"about": {json.dumps(network["about"])},\n"records": {{\n'
        + ",\n".join(f" {json.dumps(key)}: {json.dumps(record)}" for key, record in network["records"].items())
        + "}}"
        for name, network in sorted(kept["networks"].items(), key=lambda item: NETWORKS.index(item[0]))
    ]
    head = f'{{"protocol": {json.dumps(kept["protocol"])},\n"runs": {json.dumps(kept["runs"])},\n"networks": {{\n'
    beside = path.with_suffix(".tmp")
    beside.write_text(head + ",\n".join(networks) + "}}\n", encoding="utf-8")
    os.replace(beside, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
