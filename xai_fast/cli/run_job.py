"""``xai-fast run``: a long job from a file and options."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.job_status import JobStatus
from xai_fast.jobs.running import run as run_spec
from xai_fast.jobs.spec import JobSpec
from xai_fast.terminal import say

__all__ = ["finish", "read_spec", "run", "runner_options"]

_PLAIN = ("source", "method", "model", "shard_size", "dtype", "seed", "batch_size", "max_attempts")
_TEXTS = ("layer",)  # the layers of a sequence are called "0", "1", ...


def run(options: argparse.Namespace) -> bool:
    """Run a job to its end.

    Args:
        options: of the command line.

    Returns:
        Whether all items were explained.

    Raises:
        InputError: an option or the file is wrong, or the folder holds another job.
        StoreError: the folder cannot be written or read.
        JobError: workers cannot be started.
    """
    return finish(run_spec(read_spec(options), options.out, **runner_options(options)))


def read_spec(options: argparse.Namespace) -> JobSpec:
    """Read the file of a job, and put the options of the command line in their places.

    Args:
        options: of the command line.

    Returns:
        The description.

    Raises:
        InputError: an option or the file is wrong, or nothing says what is to be explained.
    """
    changes = {name: getattr(options, name) for name in _PLAIN if getattr(options, name) is not None}
    if options.target is not None:
        changes["target"] = int(options.target) if options.target.isdecimal() else options.target
    spec = None if options.job is None else JobSpec.from_file(Path(options.job))
    parameters = dict(map(_parameter, options.option))
    if parameters or "method" in changes:
        changes["options"] = parameters
        if spec is not None and "method" not in changes:
            if isinstance(spec.method, list):
                raise bad_argument("--option", "a job with one method", f"{len(spec.method)} of them")
            changes["options"] = {**spec.options, **parameters}
    if spec is not None:
        return dataclasses.replace(spec, **changes)
    if "source" not in changes:
        raise InputError("JOB.yaml or --source: expected one of them, got neither")
    return JobSpec.from_dict(changes)


def runner_options(options: argparse.Namespace) -> dict[str, Any]:
    """Give what is said about how a job is run, as `xai_fast.jobs.run` takes it.

    Args:
        options: of the command line.

    Returns:
        Keyword arguments.

    Raises:
        InputError: an address is given to another runner than Ray.
    """
    given: dict[str, Any] = {"runner": options.runner, "workers": options.workers, "device": options.device}
    if options.address is not None:
        if options.runner != "ray":
            raise bad_argument("--address", "it with --runner ray only", f"--runner {options.runner}")
        given["address"] = options.address
    return given


def finish(status: JobStatus) -> bool:
    """Print how a job ended.

    Args:
        status: of the job.

    Returns:
        Whether all items were explained.
    """
    say(str(status))
    return not status.failed


def _parameter(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise bad_argument("--option", "NAME=VALUE", repr(text))
    if name in _TEXTS:
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:  # text without quotes
        return name, value
