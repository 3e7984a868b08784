"""Commands and exit codes of ``xai-fast``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from xai_fast import __version__
from xai_fast.cli import compare, demo, explain, run_job, store_actions, tnid
from xai_fast.errors import InputError, XaiFastError, bad_argument
from xai_fast.terminal import flush, say

__all__ = ["main"]

DONE, FAILED, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

_RESUMABLE = ("explain", "run", "compare", "demo")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong arguments, 3 finished but some items could not be read or explained, a
        store is damaged, or the network of a table does not fit it, 130 interrupted.
    """
    # Models and data sets of the user are looked for where the user is, as with "python -m".
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options, unknown = _parser(given).parse_known_args(given)
        if unknown:
            raise bad_argument("arguments", f"what `{_help_of(options)}` lists", " ".join(unknown))
        return DONE if options.run(options) else SOME_FAILED
    except SystemExit as end:  # argparse has said why, or has printed the help
        flush()
        return end.code if isinstance(end.code, int) else USAGE
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        say("xai-fast: this needs Pillow; pip install 'xai-fast[jobs]'", error=True)
        return FAILED
    except InputError as error:
        say(f"xai-fast: {error}", error=True)
        return USAGE
    except (XaiFastError, OSError) as error:
        say(f"xai-fast: {error}", error=True)
        return FAILED
    except KeyboardInterrupt:
        resumable = given[:1] and given[0] in _RESUMABLE
        say(f"\nxai-fast: interrupted{'; the same command goes on from here' if resumable else ''}", error=True)
        return INTERRUPTED


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xai-fast", description="Explain PyTorch models in big batches.")
    parser.add_argument("--version", action="version", version=f"xai-fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explain.add_command(commands, arguments[1:] if arguments[:1] == ["explain"] else None)
    run_job.add_command(commands)
    compare.add_command(commands)
    store_actions.add_command(commands)
    tnid.add_command(commands)
    demo.add_command(commands)
    doctor = commands.add_parser("doctor", help="tell what is installed, what can run here, and what to do next")
    doctor.add_argument("--all", action="store_true", help="list every package, method and kernel, with reasons")
    doctor.set_defaults(run=_doctor)
    return parser


def _help_of(options: argparse.Namespace) -> str:
    method = f" --method {options.method}" if options.command == "explain" else ""
    return f"xai-fast {options.command}{method} --help"


def _doctor(options: argparse.Namespace) -> bool:
    from xai_fast import doctor

    say(doctor.report() if options.all else doctor.summary())
    return True
