"""``xai-fast jobs``: look at long jobs, check, repair and export them."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xai_fast import jobs
from xai_fast.cli.reports import add_look, look_of
from xai_fast.cli.run_job import add_runner, finish, runner_options
from xai_fast.errors import InputError
from xai_fast.progress import Progress
from xai_fast.terminal import printable, say, shown

__all__ = ["add_command"]

_SHOWN = 20
_EXIT_CODES = "exit codes: 0 done; 3 some items failed, or the store is damaged; 2 wrong arguments; 1 failed."
_VIEW = """Serves the report on this machine only (127.0.0.1), read-only, under a path that is drawn at random, until
Ctrl-C. To look at a job on another machine: ssh -L 8000:127.0.0.1:8000 HOST, and there: xai-fast jobs view DIR --port
8000."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``jobs`` to those of the program."""
    group = commands.add_parser(
        "jobs",
        help="look at jobs: status, view, report, verify, repair, retry, clean, export",
        description="Look at, check and export what xai-fast explain and xai-fast run have written.",
    )
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, run: Callable[[argparse.Namespace], bool], text: str, about: str | None = None) -> Any:
        parser = actions.add_parser(name, help=text, description=about, epilog=_EXIT_CODES)
        parser.set_defaults(run=run)
        parser.add_argument("store", metavar="DIR", help="folder of the job")
        return parser

    parser = action("status", _status, "say how far it is, how fast, where the time goes and what failed")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser = action("view", _view, "show the report in a browser, drawn on demand", _VIEW)
    _add_report(parser, limit=None)
    port = "to listen on, on 127.0.0.1 (default: any that is free)"
    parser.add_argument("--port", type=int, default=0, metavar="N", help=port)
    parser.add_argument("--open", action="store_true", help="open the browser of this machine")
    parser = action("report", _report, "write the report as files: report.html, for any browser and no server")
    _add_report(parser, limit=100_000)
    parser.add_argument("--to", metavar="DIR", help="where to (default: the folder of the job)")
    parser = action("verify", _verify, "read everything and look for damage: flipped bytes, truncated files")
    parser.add_argument("--quick", action="store_true", help="look at sizes and headers only")
    action("repair", _repair, "make damaged shards count as not done; the next run does them again, and only them")
    parser = action("retry", _retry, "do the failed items again, such as after a file was replaced")
    add_runner(parser)
    trust = "call the functions that the job names (data set, model, methods); without it they are told, and not called"
    parser.add_argument("--trust", action="store_true", help=trust)
    parser = action("clean", _clean, "remove what crashed attempts left behind")
    parser.add_argument("--force", action="store_true", help="also what may still be written")
    parser = action("export", _export, "write ids, statuses and results as one file of another format")
    parser.add_argument("--format", choices=("parquet", "zarr", "hdf5"), default="parquet", help="(default: parquet)")
    parser.add_argument("--to", metavar="PATH", help="where to (default: beside the job)")


def _add_report(parser: argparse.ArgumentParser, *, limit: int | None) -> None:
    add = add_look(parser, limit=limit).add_argument
    add("--first", type=int, default=0, metavar="N", help="position of the first item that is shown (default: 0)")
    add("--side", type=int, metavar="PIXELS", help="of the small pictures (default: by the number of items)")
    add("--class-names", metavar="FILE", help="a text file with the name of a class per line, from class 0 on")
    trust = "call the functions that the job names (data set, decoder, model) to show what the model saw"
    add("--trust", action="store_true", help=trust)


def _report_options(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in ("first", "limit", "side", "trust")}
    names = () if options.class_names is None else _class_names(options.class_names)
    return {**given, "class_names": names, "look": look_of(options)}


def _class_names(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--class-names: {shown(path)} cannot be read as text: {error}") from error


def _status(options: argparse.Namespace) -> bool:
    found = jobs.status(options.store)
    say(found.to_json() if options.json else str(found))
    return not found.failed


def _view(options: argparse.Namespace) -> bool:
    with jobs.View(options.store, port=options.port, **_report_options(options)) as view:
        say(f"{view.url}\n(Ctrl-C ends it)")
        if options.open:
            webbrowser.open(view.url)
        try:
            view.wait()
        except KeyboardInterrupt:  # the way to end it
            say("")
    return True


def _report(options: argparse.Namespace) -> bool:
    page = jobs.report(options.store, folder=options.to, **_report_options(options))
    say(f"report: {shown(str(page))}")
    return True


def _verify(options: argparse.Namespace) -> bool:
    status = jobs.status(options.store)
    with Progress(status.shards_done, "verifying") as progress:
        damages = jobs.verify(options.store, deep=not options.quick, seen=lambda shard: progress.advance(1))
    _list(damages)
    if damages:
        say(f"xai-fast jobs repair {shown(options.store)} makes the next run do it again, and only that")
        return False
    say(f"{status.shards_done:,} of {status.shards:,} shards are there and undamaged")
    return True


def _repair(options: argparse.Namespace) -> bool:
    damages = jobs.repair(options.store)
    _list(damages)
    say(f"{len(damages):,} to do again: run the job again" if damages else "nothing is damaged")
    return True


def _retry(options: argparse.Namespace) -> bool:
    return finish(jobs.retry_failed(options.store, trust=options.trust, **runner_options(options)))


def _clean(options: argparse.Namespace) -> bool:
    removed = jobs.clean(options.store, force=options.force)
    for name in removed[:_SHOWN]:
        say(f"  {printable(name)}")
    if len(removed) > _SHOWN:
        say(f"  and {len(removed) - _SHOWN:,} more")
    say(f"{len(removed):,} removed")
    return True


def _export(options: argparse.Namespace) -> bool:
    path = jobs.export(options.store, options.format, options.to)
    say(f"export: {shown(str(path))}")
    return True


def _list(damages: Any) -> None:
    for damage in damages:
        where = "job" if damage.shard is None else f"shard {damage.shard}"
        say(f"  {where}: {printable(damage.reason)}")
