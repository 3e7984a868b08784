"""``xai-fast jobs``: look at long jobs, check, repair and export them."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xai_fast import jobs
from xai_fast.cli.files import shown
from xai_fast.cli.run_job import finish, runner_options
from xai_fast.errors import InputError
from xai_fast.jobs.trust import called_functions, check_trust
from xai_fast.progress import Progress
from xai_fast.terminal import printable, say

__all__ = ["run"]

_SHOWN = 20


def run(options: argparse.Namespace) -> bool:
    """Do one of the actions.

    Args:
        options: of the command line.

    Returns:
        False where items failed, or the store is damaged.

    Raises:
        InputError: an option is wrong.
        StoreError: the folder holds no job, or cannot be read.
    """
    actions = {
        "status": _status,
        "view": _view,
        "report": _report,
        "verify": _verify,
        "repair": _repair,
        "retry": _retry,
        "clean": _clean,
        "export": _export,
    }
    return actions[options.action](options)


def _status(options: argparse.Namespace) -> bool:
    found = jobs.status(options.store)
    say(found.to_json() if options.json else str(found))
    return not found.failed


def _view(options: argparse.Namespace) -> bool:
    with jobs.View(options.store, port=options.port, **_gallery(options)) as view:
        say(f"{view.url}\n(Ctrl-C ends it)")
        if options.open:
            webbrowser.open(view.url)
        try:
            view.wait()
        except KeyboardInterrupt:  # the way to end it
            say("")
    return True


def _report(options: argparse.Namespace) -> bool:
    page = jobs.report(options.store, folder=options.to, **_gallery(options))
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
    named = called_functions(options.store)
    for call in named:
        say(f"the store has this called: {printable(call)}", error=True)
    check_trust(options.store, options.trust or (bool(named) and _agreed()))
    return finish(jobs.retry_failed(options.store, trust=True, **runner_options(options)))


def _agreed() -> bool:
    """Ask; where there is nobody to ask, the answer is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    say("Is that as it should be? [y/N] ", error=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


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
    found = jobs.status(options.store)
    left = "" if found.complete else f" (incomplete: {found.done} of {found.items} items are finished)"
    say(f"export: {shown(str(path))}{left}")
    return True


def _list(damages: Sequence[Any]) -> None:
    for damage in damages:
        where = "job" if damage.shard is None else f"shard {damage.shard}"
        say(f"  {where}: {printable(damage.reason)}")


def _gallery(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in ("first", "limit", "side", "trust")}
    return given if options.class_names is None else {**given, "class_names": _class_names(options.class_names)}


def _class_names(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--class-names: {shown(path)} cannot be read as text: {error}") from error
