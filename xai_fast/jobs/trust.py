"""What a job calls by name, and whether somebody who only looked at the store may make that happen.

`run` takes what is called from the user. `retry_failed` takes it from the store, and a store that came from somewhere
else could name any function of any module. The owner of the files says nothing: what is unpacked from an archive
belongs to whoever unpacked it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from xai_fast.errors import InputError
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.job_file import read_job

__all__ = ["called_functions", "check_trust"]

_LONGEST = 120


def called_functions(out: str | os.PathLike[str]) -> list[str]:
    """List what a job imports and calls by the names that its store holds; nothing is imported here."""
    spec = JobSpec.from_dict(read_job(Path(out))["spec"])
    calls: list[tuple[str, str, Mapping[str, object]]] = []
    if spec.source["kind"] == "indexable":
        calls.append(("source", spec.source["path"], spec.source.get("arguments", {})))
    if ":" in spec.decoder:
        calls.append(("decoder", spec.decoder, {}))
    if ":" in spec.model.reference:
        calls.append(("model", spec.model.reference, spec.model.arguments))
    calls += [("method", one.name, one.options) for one in spec.methods if ":" in one.name]
    if isinstance(spec.target, str) and ":" in spec.target:
        calls.append(("target", spec.target, {}))
    return [f"{role}: {reference}({_arguments(arguments)})" for role, reference, arguments in calls]


def check_trust(out: str | os.PathLike[str], trust: bool) -> None:
    """Refuse to go on with a job that calls functions which only its store names."""
    named = called_functions(out)
    if named and not trust:
        raise InputError(
            "trust: the store says which functions to call; look at them, and pass trust=True (--trust) if the store "
            f"is yours: {'; '.join(named)}"
        )


def _arguments(arguments: Mapping[str, object]) -> str:
    text = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
