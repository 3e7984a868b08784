"""``xai-fast run``: a long job from a file and options."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xai_fast import jobs
from xai_fast.cli.option_values import read_option
from xai_fast.errors import InputError, bad_argument
from xai_fast.terminal import say

__all__ = [
    "DEVICE",
    "EXIT_CODES",
    "add_command",
    "add_runner",
    "add_spec",
    "finish",
    "read_spec",
    "runner_options",
    "tell_preparation",
]

_PLAIN = ("source", "method", "model", "shard_size", "dtype", "seed", "batch_size", "max_attempts")
DEVICE = "cpu, cuda, cuda:1, ... (default: a GPU where there is one)"
EXIT_CODES = """exit codes: 0 all items explained; 3 finished, but some items could not be read or explained;
2 the arguments are wrong, or the folder holds another job; 1 failed; 130 interrupted (what is finished is kept: the
same command goes on from there)."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``run`` to those of the program."""
    parser = commands.add_parser(
        "run",
        help="explain a data set as a long job that survives crashes",
        description="Explain all items of a data set into a folder. The same command goes on after whatever ended it: "
        "a crash, a kill, Ctrl-C. JOB.yaml (or .json) holds the fields of xai_fast.jobs.JobSpec; options replace them.",
        epilog=EXIT_CODES,
    )
    parser.set_defaults(run=_run)
    parser.add_argument("job", nargs="?", metavar="JOB.yaml", help="may be left out where there is --source")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results")
    source = "a folder of pictures, x.npy, x.safetensors, x.parquet, x.csv, x.tar, or module:function"
    parser.add_argument("--source", metavar="DATA", help=source)
    option = "an option of the method, such as points=20; may be given several times"
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help=option)
    add_spec(parser)
    add_runner(parser)


def add_spec(parser: argparse.ArgumentParser, leave_out: Sequence[str] = (), **defaults: object) -> None:
    """Add the options that describe a job; ``defaults`` are what the command uses where the user gives nothing."""
    add = parser.add_argument_group("what is computed").add_argument

    def field(flag: str, about: str, metavar: str = "NAME", kind: Any = str) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        if name in leave_out:
            return
        text = f"{about} (default: {defaults[name]})" if name in defaults else about
        add(flag, type=kind, metavar=metavar, default=defaults.get(name), help=text)

    # Names are not read from xai_fast.models, which needs Pillow: the help does not.
    names = "efficientnet-lite0, efficientnet-lite1, efficientnet-lite2, resnet18-random"
    field(
        "--method", "one that xai-fast doctor --all lists, captum:NAME (or zennit, grad_cam), or package.module:Class"
    )
    field("--model", f"{names}, or module:function")
    field("--target", "explain this class instead of the predicted one: its number or name, or 'label'", "CLASS")
    field("--seed", "of random methods", "N", int)
    field("--dtype", "how maps are stored: float16_scaled, float32, bfloat16, int8_scaled")
    field("--shard-size", "items per file", "N", int)
    field("--batch-size", "rows that go through the model at once", "N", int)
    field("--threads", "per worker, in a new job (default: what suits the machine)", "N", int)
    field("--max-attempts", "how often an item may kill its process", "N", int)


def add_runner(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where a job runs; `runner_options` reads them."""
    add = parser.add_argument_group("how it is run").add_argument
    runner = "processes of this machine, one of many processes (torchrun, SLURM, Kubernetes), or Ray (default: local)"
    add("--runner", choices=("local", "rank", "ray"), default="local", help=runner)
    add("--workers", type=int, metavar="N", help="processes (default: what suits the machine; 0: this process)")
    add("--device", metavar="NAME", help=DEVICE)
    add("--address", metavar="HOST:PORT", help="of a cluster of Ray (default: one is started on this machine)")


def _run(options: argparse.Namespace) -> bool:
    status = jobs.run(read_spec(options), options.out, threads=options.threads, **runner_options(options))
    tell_preparation(jobs.open(options.out).job["preparation"])
    return finish(status)


def tell_preparation(preparation: Mapping[str, Any] | None) -> None:
    """Print how pictures become inputs of a model; where it does not say (None), the job tells what is assumed."""
    if preparation is not None:
        from xai_fast.images import ImageModel

        say(f"pictures are {ImageModel(torch.nn.Identity(), '', **preparation).preparation}")


def read_spec(options: argparse.Namespace, /, **changes: Any) -> jobs.JobSpec:
    """Read the file of a job, where there is one, and put the command's options and ``changes`` in their places."""
    given = {name: value for name in _PLAIN if (value := getattr(options, name, None)) is not None}
    if options.target is not None:
        given["target"] = int(options.target) if options.target.isdecimal() else options.target
    given |= changes
    if isinstance(given.get("source"), list) and len(given["source"]) == 1:
        given["source"] = given["source"][0]
    if isinstance(given.get("source"), str) and given["source"].startswith("{"):
        try:
            given["source"] = json.loads(given["source"])
        except ValueError as error:
            raise InputError(f"source: expected JSON within braces, got {given['source']!r}: {error}") from error
    job = getattr(options, "job", None)
    spec = None if job is None else jobs.JobSpec.from_file(Path(job))
    if spec is None and given.get("source") is None:
        raise InputError("JOB.yaml or --source: expected one of them, got neither")
    method = given.get("method", jobs.JobSpec.method if spec is None else spec.method)
    texts = getattr(options, "option", [])
    if texts and not isinstance(method, str):
        raise bad_argument("--option", "a job with one method", f"{len(method)} of them")
    if texts or "method" in given:
        kept = {} if spec is None or "method" in given else spec.options
        given["options"] = {**kept, **dict(read_option(method, text) for text in texts), **given.get("options", {})}
    return jobs.JobSpec.from_dict(given) if spec is None else dataclasses.replace(spec, **given)


def runner_options(options: argparse.Namespace) -> dict[str, Any]:
    """Give the keyword arguments of `xai_fast.jobs.run` that the user gave; it checks them."""
    given: dict[str, Any] = {"runner": options.runner, "workers": options.workers, "device": options.device}
    return given | ({} if options.address is None else {"address": options.address})


def finish(status: jobs.JobStatus) -> bool:
    """Print how a job ended, and tell whether all items were explained."""
    say(str(status))
    return not status.failed
