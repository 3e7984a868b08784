"""Which explanation finds what a classifier goes by? ``python -m benchmarks.truth --photos DIR --minutes M``.

Insertion, deletion and their difference, as in the tables of the NeFLAG paper, and ROAD, on photos with labels: methods
at their defaults on one half of the photos; a grid of settings on the other half; what is best there on the first half,
also for networks on which nothing was chosen. More time gives more photos of each in turn.

Four photos by one method are a step, and each step is kept: a run that is stopped goes on with the same command. The
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
    OTHERS,
    PAPER,
    RADII,
    READINGS,
    ROAD_SHARES,
    STEPS,
    Settings,
    attributions,
    measure,
    read,
)
from benchmarks.truth_table import FIRST, RESULT, chosen, key_of, tables

LITE = (FIRST, "efficientnet-lite1", "efficientnet-lite2")
NETWORKS = (*LITE, DIGITS)
_PLAIN = [f"curves: {READINGS[0]}", f"road: {READINGS[1]}"]
_PROTOCOL = {"steps": STEPS, "baselines": ["black", "blur"], "blur_sigma": 20.0, "road_shares": list(ROAD_SHARES)}
_EVERY = 1000
_TOGETHER = 4
"""Items per step: one trace and one preparation of the model serves them all."""

STAGES = (
    *((stage, DIGITS, 20) for stage in ("defaults", "others")),
    *((stage, FIRST, count) for stage, count in (("defaults", 8), ("radius", 8), ("grid", _EVERY))),
    *(("chosen", name, count) for count in (16, _EVERY) for name in LITE),
    *((stage, FIRST, _EVERY) for stage in ("defaults", "radius", "others")),
)
"""What is measured, on which network and how many items, in turn."""

Step = tuple[Settings, list[int], list[str]]
"""Settings, the items, and what is measured of their maps."""


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
        if name not in options.networks:
            continue
        photos = suites(name)
        network = kept["networks"].setdefault(name, {"about": photos.about, "records": {}})
        if network["about"] != photos.about:
            parser.error(f"--photos: expected those of the kept results, {network['about']}, got {photos.about}")
        for settings, items, names in _steps(stage, photos, count, kept):
            if time.monotonic() > until:
                print(tables(kept))
                return 0
            if _step(network, photos, settings, items, names, _run(kept["runs"])):
                _write(options.out, kept)
    print(tables(kept))
    return 0


def _steps(stage: str, photos: Suite, count: int, kept: dict[str, Any]) -> Iterator[Step]:
    """Give the steps of a stage, all methods on a few items, then on the next ones, so that a run may be cut."""
    which: list[tuple[Settings, list[str]]]
    if stage == "others":
        which = [(settings, _PLAIN) for settings in OTHERS.values()]
    elif stage == "defaults":
        channels = [*_PLAIN, "curves: per_channel"]
        which = [(settings, channels if label in PAPER else _PLAIN) for label, settings in DEFAULTS.items()]
    elif stage == "radius":
        which = [(settings, [_PLAIN[0], "curves: per_channel"]) for settings in RADII.values()]
    elif stage == "grid":
        names = [f"tuning: {reading}" for reading in READINGS]
        which = [(settings, names) for several in GRID.values() for settings in several]
    else:
        best = chosen(kept["networks"].get(FIRST, {"records": {}})["records"]).values()
        which = [(settings, [f"curves: {reading}", f"road: {reading}"]) for settings, reading in best]
    items = photos.half(0 if stage == "grid" else 1)[:count]
    for start in range(0, len(items), _TOGETHER):
        yield from ((settings, items[start : start + _TOGETHER], names) for settings, names in which)


def _step(
    network: dict[str, Any], photos: Suite, settings: Settings, items: list[int], names: list[str], run: int
) -> bool:
    """Measure what the records of the items lack; return whether there was anything."""
    records = network["records"].setdefault(key_of(settings), {})
    items = [item for item in items if not records.get(str(photos.positions[item]), {}).keys() >= {*names}]
    if not items:
        return False
    began = time.process_time()
    found, cost = attributions(photos, items, settings)
    kept = [records.setdefault(str(photos.positions[item]), {}) for item in items]
    for record in kept:
        record |= {"runs": sorted({*record.get("runs", []), run}), "gradients": round(cost, 3)}
    measured: dict[tuple[object, ...], list[list[float]]] = {}  # maps without signs are read alike
    for name in names:
        metric, reading = name.split(": ")
        rows = [row for row, record in enumerate(kept) if name not in record]
        if not rows:
            continue
        importance, ranking = read(found[rows], reading)
        same = metric, ranking, tuple(rows), importance.numpy().tobytes()
        if same not in measured:
            measured[same] = measure(photos, [items[row] for row in rows], metric, importance, ranking)
        for row, values in zip(rows, measured[same], strict=True):
            kept[row][name] = [round(value, 5) for value in values]
    line = f"{photos.name}, {len(items)} items to {photos.positions[items[-1]]}, {key_of(settings)}"
    print(f"{time.strftime('%H:%M:%S')} {line}: {time.process_time() - began:.1f} s", file=sys.stderr, flush=True)
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
