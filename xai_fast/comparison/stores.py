"""A comparison as jobs, one per method: what was killed goes on, and further methods join a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xai_fast import jobs
from xai_fast.comparison.entries import Entry
from xai_fast.comparison.result import Comparison
from xai_fast.comparison.run import Found, comparison_of
from xai_fast.errors import JobError
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
    """Explain and measure all items by each method, in a store of its own, and compare.

    Args:
        spec: source, model and all else but the method.
        out: folder; the stores are those of its folder "methods".
        methods: the first one tells what the metrics make of the items.
        metrics: of each.
        boxes: see `xai_fast.comparison.measured.Measured`.
        **how: those of `xai_fast.jobs.run`.

    Returns:
        The comparison, and by method why it could explain nothing and is not in it.

    Raises:
        InputError: see `xai_fast.jobs.run`.
        StoreError: see there.
        JobError: see there; or no item can be measured.
    """
    options = {"metrics": [one.to_dict() for one in metrics], **({} if boxes is None else {"boxes": boxes})}
    found, left_out, names, settings = [], {}, [], {}
    for number, entry in enumerate(methods, 1):
        folder = out / "methods" / entry.key
        say(f"method {number} of {len(methods)}: {entry.text}", error=True)
        measured = {"method": entry.to_dict(), **options}
        status = jobs.run(dataclasses.replace(spec, method=_MEASURED, options=measured), folder, **how)
        store = jobs.open(folder)
        if status.done == status.failed:
            left_out[entry.text] = next(reason for *_, reason in store.failures())
            if not found:
                raise JobError(f"no item can be measured, with {entry.text} as the method: {left_out[entry.text]}")
            continue
        batch: Any = store[:]
        found.append(Found.of(entry, batch.fields, batch.status == 0))
        names, settings = batch.ids, settings or _settings(store)
    return comparison_of(found, metrics, names, settings), left_out


def _settings(store: jobs.Store) -> Mapping[str, object]:
    """Say what a comparison is about; its "run" is the same with further methods."""
    spec = store.job["spec"]
    kept = {name: spec[name] for name in ("source", "target", "seed", "limit")}
    kept["model"] = ModelRef.read(spec["model"]).reference
    return {**kept, "versions": store.job["versions"], "run": store.job["fingerprint"]}
