"""``xai-fast run``: a long job from a file and options."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from xai_fast import jobs
from xai_fast.cli.option_values import read_option
from xai_fast.errors import InputError, bad_argument
from xai_fast.terminal import say

__all__ = ["add_command", "add_runner", "finish", "read_spec", "runner_options"]

_PLAIN = ("source", "method", "model", "shard_size", "dtype", "seed", "batch_size", "max_attempts")
_EXIT_CODES = """exit codes: 0 all items explained; 3 finished, but some items could not be read or explained;
2 the arguments are wrong, or the folder holds another job; 1 failed; 130 interrupted (what is finished is kept: the
same command goes on from there)."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``run``.

    Args:
        commands: of the program.
    """
    parser = commands.add_parser(
        "run",
        help="explain a data set as a long job that survives crashes",
        description="Explain all items of a data set into a folder. The same command goes on after whatever ended it: "
        "a crash, a kill, Ctrl-C. JOB.yaml (or .json) holds the fields of xai_fast.jobs.JobSpec; options replace them.",
        epilog=_EXIT_CODES,
    )
    parser.set_defaults(run=_run)
    parser.add_argument("job", nargs="?", metavar="JOB.yaml", help="may be left out where there is --source")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results")
    add = parser.add_argument_group("what is computed (else as in JOB.yaml)").add_argument
    add("--source", metavar="DATA", help="a folder of pictures, x.npy, x.safetensors, x.parquet, x.csv, x.tar, or m:f")
    add("--method", metavar="NAME", help="see xai-fast explain --help")
    option = "an option of the method, such as points=20; may be given several times"
    add("--option", action="append", default=[], metavar="NAME=VALUE", help=option)
    add("--model", metavar="NAME", help="module:function, or the name of a model that comes along")
    add("--target", metavar="CLASS", help="a class's number, 'label', or the name of a column")
    add("--shard-size", type=int, metavar="N", help="items per file")
    add("--dtype", metavar="NAME", help="how maps are stored: float16_scaled, float32, bfloat16, int8_scaled")
    add("--seed", type=int, metavar="N", help="of random methods")
    add("--batch-size", type=int, metavar="N", help="items at once (default: as many as fit)")
    add("--max-attempts", type=int, metavar="N", help="how often an item may kill its process")
    add_runner(parser)


def add_runner(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a job runs.

    Args:
        parser: of the command.
    """
    add = parser.add_argument_group("how it is run").add_argument
    runner = "processes of this machine, one of many processes (torchrun, SLURM, Kubernetes), or Ray (default: local)"
    add("--runner", choices=("local", "rank", "ray"), default="local", help=runner)
    add("--workers", type=int, metavar="N", help="processes (default: what suits the machine; 0: this process)")
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: GPUs where there are any)")
    add("--address", metavar="HOST:PORT", help="of a cluster of Ray (default: one is started on this machine)")


def _run(options: argparse.Namespace) -> bool:
    return finish(jobs.run(read_spec(options), options.out, **runner_options(options)))


def read_spec(options: argparse.Namespace) -> jobs.JobSpec:
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
    spec = None if options.job is None else jobs.JobSpec.from_file(Path(options.job))
    if spec is None and "source" not in changes:
        raise InputError("JOB.yaml or --source: expected one of them, got neither")
    method = changes.get("method", jobs.JobSpec.method if spec is None else spec.method)
    if options.option and not isinstance(method, str):
        raise bad_argument("--option", "a job with one method", f"{len(method)} of them")
    given = dict(read_option(method, text) for text in options.option)
    if given or "method" in changes:
        kept = {} if spec is None or "method" in changes else spec.options
        changes["options"] = {**kept, **given}
    return jobs.JobSpec.from_dict(changes) if spec is None else dataclasses.replace(spec, **changes)


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


def finish(status: jobs.JobStatus) -> bool:
    """Print how a job ended.

    Args:
        status: of the job.

    Returns:
        Whether all items were explained.
    """
    say(str(status))
    return not status.failed
