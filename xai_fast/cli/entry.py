"""Arguments and exit codes of ``xai-fast``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from xai_fast import __version__
from xai_fast.cli.job_options import add_job_commands
from xai_fast.cli.options import add_explaining_commands
from xai_fast.errors import InputError, XaiFastError
from xai_fast.terminal import flush, say

__all__ = ["main"]

_Settings = TypeVar("_Settings")

DONE, FAILED, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong arguments, 3 finished but some items could not be read or explained, a
        store is damaged, or the network of a table does not fit it, 130 interrupted.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:  # argparse has said why, or has printed the help
        flush()
        return end.code if isinstance(end.code, int) else USAGE
    try:
        return _run(options)
    except ModuleNotFoundError as error:
        if error.name not in ("PIL", "matplotlib"):
            raise
        say("xai-fast: pictures need Pillow and matplotlib; pip install 'xai-fast[images]'", error=True)
        return FAILED
    except InputError as error:
        say(f"xai-fast: {error}", error=True)
        return USAGE
    except (XaiFastError, OSError) as error:
        say(f"xai-fast: {error}", error=True)
        return FAILED
    except KeyboardInterrupt:
        goes_on = options.command not in ("t-nid", "jobs")
        say(f"\nxai-fast: interrupted{'; the same command goes on from here' if goes_on else ''}", error=True)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    if options.command == "doctor":
        from xai_fast import doctor

        say(doctor.report())
        return DONE
    # Models and data sets of the user are looked for where the user is, as with "python -m".
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if options.command == "run":
        from xai_fast.cli import run_job

        return DONE if run_job.run(options) else SOME_FAILED
    if options.command == "jobs":
        from xai_fast.cli import jobs

        return DONE if jobs.run(options) else SOME_FAILED
    return _explain(options)


def _explain(options: argparse.Namespace) -> int:
    out = Path(options.out)
    if options.command == "t-nid":
        from xai_fast.cli import tnid

        fits = tnid.run(Path(options.table), _settings(tnid.TableSettings, options), out)
        return DONE if fits else SOME_FAILED
    from xai_fast.cli import demo, interactions, neflag
    from xai_fast.cli.files import find_pictures

    if options.command == "demo":
        failures = demo.run(_settings(neflag.Settings, options), out)
    elif options.command == "neflag":
        settings = _settings(neflag.Settings, options)
        failures = neflag.run(find_pictures([Path(path) for path in options.paths], leave_out=out), settings, out)
    else:
        chosen = _settings(interactions.InteractionSettings, options)
        failures = interactions.run(find_pictures([Path(path) for path in options.paths], leave_out=out), chosen, out)
    return SOME_FAILED if failures else DONE


def _settings(kind: type[_Settings], options: argparse.Namespace) -> _Settings:
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in vars(options).items() if name in names})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xai-fast", description="Explain PyTorch models in big batches.")
    parser.add_argument("--version", action="version", version=f"xai-fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_explaining_commands(commands)
    add_job_commands(commands)
    commands.add_parser("doctor", help="print versions, devices and which kernels can run on which backend")
    return parser
