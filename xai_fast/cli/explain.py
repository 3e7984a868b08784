"""``xai-fast explain``: a job that runs in this process, and its report."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_fast import jobs
from xai_fast.cli.layers import chosen_layer
from xai_fast.cli.option_values import add_options, given_options
from xai_fast.cli.reports import add_look, look_of, refuse_results
from xai_fast.cli.run_job import DEVICE, EXIT_CODES, add_spec, finish, read_spec, tell_preparation
from xai_fast.errors import bad_argument
from xai_fast.references import LoadedModel, ModelRef
from xai_fast.registry import find_method, methods
from xai_fast.terminal import say, shown

if TYPE_CHECKING:
    from xai_fast.plot import Look

__all__ = ["MODEL", "add_command", "explain", "named_class"]

METHOD, MODEL = "neflag", "efficientnet-lite0"


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], arguments: Sequence[str] | None) -> None:
    """Add the command ``explain``, with the options of the method in ``arguments``, which are its own, or None."""
    parser = commands.add_parser(
        "explain",
        help="explain what a model makes of pictures or other items, with any method",
        description="Explain the items of a source with a method: a job that runs in this process, and a report. The "
        "folder holds the results as xai-fast jobs and xai_fast.jobs.open read them, and report.html. A run that was "
        "interrupted goes on with the same command; the results of another run are never replaced.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    parser.set_defaults(run=_run)
    source = "folders (with their subfolders) and picture files; or one x.npy, x.parquet, x.tar, "
    source += "module:data_set, or pairs.csv with two columns of picture files for a method of pairs"
    parser.add_argument("source", nargs="+", metavar="PHOTOS", help=source)
    add_spec(parser, method=METHOD, model=MODEL, dtype="float32", shard_size=32)
    parser.add_argument("--out", default="out", metavar="DIR", help="folder of the results (default: out)")
    parser.add_argument("--device", metavar="NAME", help=DEVICE)
    add_look(parser, limit=1000)
    if arguments is not None:
        parser.description = f"{parser.description} Methods: {', '.join(methods())}."
        add_options(parser, find_method(_chosen(arguments)), leave_out=("seed",))


def _chosen(arguments: Sequence[str]) -> str:
    finder = argparse.ArgumentParser(prog="xai-fast explain", add_help=False, allow_abbrev=False)
    finder.add_argument("--method", default=METHOD)
    return str(finder.parse_known_args(arguments)[0].method)


def _run(options: argparse.Namespace) -> bool:
    model = ModelRef(options.model).load()
    given = given_options(options)
    layer = find_method(options.method).options().get("layer")
    if layer is not None and layer.default is layer.empty:
        named = str(given["layer"]) if "layer" in given else None
        given["layer"] = chosen_layer(named, options.model, model.for_pictures())
    spec = read_spec(options, options=given, target=named_class(options.target, model))
    how = {"device": options.device, "threads": options.threads}
    return explain(spec, model, Path(options.out), look_of(options), options.limit, **how)


def explain(
    spec: jobs.JobSpec,
    model: LoadedModel,
    out: Path,
    look: Look,
    limit: int | None = None,
    **how: Any,
) -> bool:
    """Run a job in this process (``how``: device and threads), report, and return whether all items were explained."""
    if not (out / "job.json").exists():
        refuse_results(out)
    tell_preparation(model.preparation)
    all_explained = finish(jobs.run(spec, out, runner="local", workers=0, **how))
    # The functions that the store names are those that the user named.
    page = jobs.report(out, trust=True, look=look, limit=limit)
    say(f"report: {shown(str(page))}")
    return all_explained


def named_class(wanted: str | None, model: LoadedModel) -> int | str | None:
    """Read --target as `xai_fast.jobs.JobSpec` takes it; an `InputError` names the classes most like an unknown one."""
    if wanted is None or wanted.strip().isdecimal():
        return None if wanted is None else int(wanted)
    names = [name.casefold() for name in getattr(model.image_model, "class_names", None) or ()]
    if wanted.casefold() in names:
        return names.index(wanted.casefold())
    if not names or ":" in wanted or wanted == "label":
        return wanted
    near = difflib.get_close_matches(wanted.casefold(), names, n=3)
    hint = f" such as {', '.join(map(repr, near))}" if near else ""
    raise bad_argument("--target", f"a class number, or the name of a class of {model.name}{hint}", repr(wanted))
