"""A comparison as jobs, one per method: what was killed goes on, and further methods join a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xai_fast import jobs
from xai_fast.comparison.entries import Entry
from xai_fast.comparison.result import Comparison
from xai_fast.comparison.run import Found, comparison_of
from xai_fast.errors import JobError, XaiFastError, bad_argument
from xai_fast.references import ModelRef
from xai_fast.terminal import say

__all__ = ["run_comparison"]

_MEASURED = "xai_fast.comparison.measured:Measured"


def run_comparison(
    spec: jobs.JobSpec,
    out: Path,
    methods: Sequence[Entry],
    metrics: Sequence[Entry],
    *,
    boxes: Sequence[Any] | None = None,
    **how: Any,
) -> tuple[Comparison, dict[str, str]]:
    """Run a job per method below ``out``, and compare; gives by name why others could explain no item."""
    options = {"metrics": [one.to_dict() for one in metrics], **({} if boxes is None else {"boxes": boxes})}
    found: list[Found] = []
    left_out: dict[str, str] = {}
    settings: dict[str, Any] = {}
    names, shape = [], ()
    for number, entry in enumerate(methods, 1):
        folder = out / "methods" / entry.key
        if not entry.fits(shape):
            continue
        say(f"method {number} of {len(methods)}: {entry.text}", error=True)
        _check_metrics(folder, out, metrics)
        measured = {"method": entry.to_dict(), **options}
        status = jobs.run(dataclasses.replace(spec, method=_MEASURED, options=measured), folder, **how)
        store = jobs.open(folder)
        shape = store.job["plan"]["shape"] or ()
        if status.done == status.failed:
            left_out[entry.text] = next(reason for *_, reason in store.failures())
            if not found:  # nothing is wrong with random maps: metrics or data do not fit
                raise JobError(f"no item can be measured, with {entry.text} as the method: {left_out[entry.text]}")
            continue
        batch: Any = store[:]
        found.append(Found.of(entry, batch.fields, batch.status == 0))
        names, settings = batch.ids, settings or _settings(store)
    return comparison_of(found, metrics, names, settings), left_out


def _check_metrics(folder: Path, out: Path, metrics: Sequence[Entry]) -> None:
    """Say in their own words that a comparison has other metrics, before the job of a method says it in JSON."""
    try:
        kept = [one["text"] for one in jobs.open(folder).job["spec"]["options"]["metrics"]]
    except XaiFastError:  # nothing there, or nothing whole
        return
    asked = [one.text for one in metrics]
    if kept != asked:
        raise bad_argument("out", f"another folder, or {out} with its metrics {','.join(kept)}", ",".join(asked))


def _settings(store: jobs.Store) -> dict[str, Any]:
    """Say what a comparison is about; its "run" is the same with further methods."""
    spec = store.job["spec"]
    kept = {name: spec[name] for name in ("source", "target", "seed", "limit")}
    kept["model"] = ModelRef.read(spec["model"]).reference
    return {**kept, "versions": store.job["versions"], "run": store.job["fingerprint"]}
