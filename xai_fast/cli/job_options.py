"""Options of ``xai-fast run`` and ``xai-fast jobs``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

__all__ = ["add_job_commands"]

_DEFAULT = "(default: %(default)s)"
_STORE = "folder of the job"
_Commands = argparse._SubParsersAction  # what add_subparsers gives has no public name

_RUN_EXIT_CODES = """exit codes: 0 all items explained; 3 finished, but some items could not be read or explained;
2 the arguments are wrong, or the folder holds another job; 1 failed; 130 interrupted (what is finished is kept: the
same command goes on from there)."""

_JOBS_EXIT_CODES = "exit codes: 0 done; 3 some items failed, or the store is damaged; 2 wrong arguments; 1 failed."


def add_job_commands(commands: _Commands[argparse.ArgumentParser]) -> None:
    """Add the commands of long jobs.

    Args:
        commands: of the program.
    """
    run = commands.add_parser(
        "run",
        help="explain a data set as a long job that survives crashes",
        description="Explain all items of a data set into a folder. The same command goes on after whatever ended it: "
        "a crash, a kill, Ctrl-C. JOB.yaml (or .json) holds the fields of xai_fast.jobs.JobSpec; options go first.",
        epilog=_RUN_EXIT_CODES,
    )
    run.add_argument("job", nargs="?", metavar="JOB.yaml", help="may be left out where --source says what is explained")
    run.add_argument("--out", required=True, metavar="DIR", help="folder of the results")
    _add_spec(run)
    _add_runner(run)
    jobs = commands.add_parser(
        "jobs",
        help="look at long jobs: status, view, report, verify, repair, retry, clean, export",
        description="Look at, check and export what xai-fast run has written.",
    )
    _add_actions(jobs.add_subparsers(dest="action", required=True, metavar="ACTION"))


def _add_spec(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is computed (else as in JOB.yaml)").add_argument
    add("--source", metavar="DATA", help="a folder of pictures, x.npy, x.safetensors, x.parquet, x.csv, x.tar, or m:f")
    add("--method", metavar="NAME", help="neflag, gradcam, ..., captum:NAME, or module:Class")
    option = "an option of the method, such as points=20; may be given several times"
    add("--option", action="append", default=[], metavar="NAME=VALUE", help=option)
    add("--model", metavar="NAME", help="module:function, or the name of a model that comes along")
    add("--target", metavar="CLASS", help="a class's number, 'label', or the name of a column")
    add("--shard-size", type=int, metavar="N", help="items a file")
    add("--dtype", metavar="NAME", help="how maps are stored: float16_scaled, float32, bfloat16, int8_scaled")
    add("--seed", type=int, metavar="N")
    add("--batch-size", type=int, metavar="N", help="rows at once (default: what suits the device)")
    add("--max-attempts", type=int, metavar="N", help="how often an item may kill its process")


def _add_runner(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how it is run").add_argument
    runner = f"processes of this machine, one of many processes (torchrun, SLURM, Kubernetes), or Ray {_DEFAULT}"
    add("--runner", choices=("local", "rank", "ray"), default="local", help=runner)
    add("--workers", type=int, metavar="N", help="processes (default: what suits the machine; 0: this process)")
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: GPUs where there are any)")
    add("--address", metavar="HOST:PORT", help="of a cluster of Ray (default: one is started on this machine)")


def _add_actions(actions: _Commands[argparse.ArgumentParser]) -> None:
    def action(name: str, text: str, description: str = "") -> Callable[..., object]:
        parser = actions.add_parser(name, help=text, description=description or None, epilog=_JOBS_EXIT_CODES)
        parser.add_argument("store", metavar="DIR", help=_STORE)
        if name == "retry":
            _add_runner(parser)
            trust = "call the functions that the job names (data set, model, methods), without asking"
            parser.add_argument("--trust", action="store_true", help=trust)
        return parser.add_argument

    add = action("status", "say how far it is, how fast, where the time goes and what failed; from any shell")
    add("--json", action="store_true", help="for programs")
    add = action("view", "show the gallery in a browser, drawn on demand", _VIEW)
    _add_gallery(add)
    add("--limit", type=int, metavar="N", help="items, at most a million (default: all)")
    add("--port", type=int, default=0, metavar="N", help="to listen on, on 127.0.0.1 (default: any that is free)")
    add("--open", action="store_true", help="open the browser of this machine")
    add = action("report", "write the gallery as files: report/index.html, for any browser and no server")
    _add_gallery(add)
    add("--limit", type=int, default=100_000, metavar="N", help=f"items, at most {_DEFAULT}")
    add("--to", metavar="DIR", help="where to (default: the folder report in the job's)")
    add = action("verify", "read everything and look for damage: flipped bytes, truncated files")
    add("--quick", action="store_true", help="look at sizes and headers only")
    action("repair", "make damaged shards count as not done; the next run does them again, and only them")
    action("retry", "do the failed items again, such as after a file was replaced; the good ones are kept")
    add = action("clean", "remove what crashed or beaten attempts left behind")
    add("--force", action="store_true", help="also where workers seem to be at work")
    add = action("export", "write ids, statuses and results as one file of another format")
    add("--format", choices=("parquet", "zarr", "hdf5"), default="parquet", help=_DEFAULT)
    add("--to", metavar="PATH", help="where to (default: beside the job)")


_VIEW = """Serves the gallery on this machine only (127.0.0.1), read-only, under a path that is drawn at random, until
Ctrl-C. To look at a job on another machine: ssh -L 8000:127.0.0.1:8000 HOST, and there: xai-fast jobs view DIR --port
8000."""


def _add_gallery(add: Callable[..., object]) -> None:
    add("--first", type=int, default=0, metavar="N", help=f"number of the first item that is shown {_DEFAULT}")
    add("--field", metavar="NAME", help="which maps are drawn, where there are several")
    add("--class-names", metavar="FILE", help="a text file with the name of a class a line, from class 0 on")
    add("--side", type=int, default=128, metavar="PIXELS", help=f"of the small pictures {_DEFAULT}")
    trust = "call the functions that the job names (data set, decoder, model) to show what the model saw"
    add("--trust", action="store_true", help=trust)
