"""Arguments and exit codes of ``xai-fast``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xai_fast import __version__
from xai_fast.attribution.neflag import AGGREGATES
from xai_fast.errors import InputError, XaiFastError
from xai_fast.kernels.sphere_step import RULES
from xai_fast.metrics import RANKINGS
from xai_fast.targets import SCORES

__all__ = ["main"]

DONE, FAILED, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

_EXIT_CODES = """exit codes: 0 all pictures explained; 3 finished, but some files could not be read or explained;
2 the arguments are wrong; 1 failed; 130 interrupted (finished maps are kept: the same command goes on from there)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong arguments, 3 finished but some files could not be read or explained,
        130 interrupted.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as end:  # argparse has said why, or has printed the help
        return end.code if isinstance(end.code, int) else USAGE
    if options.command == "doctor":
        from xai_fast import doctor

        print(doctor.report())
        return DONE
    try:
        return _explain(options)
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        print("xai-fast: pictures need Pillow; pip install 'xai-fast[images]'", file=sys.stderr)
        return FAILED
    except InputError as error:
        print(f"xai-fast: {error}", file=sys.stderr)
        return USAGE
    except (XaiFastError, OSError) as error:
        print(f"xai-fast: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nxai-fast: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def _explain(options: argparse.Namespace) -> int:
    from xai_fast.cli.files import find_pictures, sample_pictures
    from xai_fast.cli.neflag import Settings, run

    given = {name: value for name, value in vars(options).items() if name in Settings.__dataclass_fields__}
    settings = Settings(**given)
    out = Path(options.out)
    # Models of the user are looked for where the user is, as with "python -m".
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    if options.command == "demo":
        pictures = sample_pictures()
    else:
        pictures = find_pictures([Path(path) for path in options.paths], leave_out=out)
    failures = run(pictures, settings, out)
    return SOME_FAILED if failures else DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xai-fast", description="Explain PyTorch models in big batches.")
    parser.add_argument("--version", action="version", version=f"xai-fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    neflag = commands.add_parser(
        "neflag",
        help="explain the predictions for a folder of pictures with NeFLAG",
        description="Explain what an image classifier predicts for each picture (PNG, JPEG, WebP) with NeFLAG. Writes "
        "the maps (maps/*.npz, float32), the overlays (overlays/*.png), report.html and summary.json.",
        epilog=_EXIT_CODES,
    )
    neflag.add_argument(
        "paths", nargs="+", metavar="FOLDER_OR_PICTURE", help="folders are searched with their subfolders"
    )
    _add_options(neflag, literal=True)
    demo = commands.add_parser(
        "demo",
        help="explain the photos of scikit-image, scikit-learn and foolbox",
        description="The same as neflag, for the sample photos of installed packages and with settings that look well.",
        epilog=_EXIT_CODES,
    )
    _add_options(demo, literal=False)
    commands.add_parser("doctor", help="print versions, devices and which kernels can run on which backend")
    return parser


def _add_options(parser: argparse.ArgumentParser, *, literal: bool) -> None:
    """Add the options of NeFLAG; their defaults are those of the paper, or those of the demo."""
    method = parser.add_argument_group("what is computed")
    method.add_argument(
        "--model", default="efficientnet-lite0", metavar="NAME", help="a name of xai_fast.suites, or module:function"
    )
    method.add_argument(
        "--target", metavar="CLASS", help="explain this class (its number or name) instead of the predicted one"
    )
    method.add_argument("--points", type=int, default=10 if literal else 20, help="flux points a picture")
    method.add_argument(
        "--radius", type=float, default=0.1 if literal else 0.3, help="of the sphere, in the model's input units"
    )
    method.add_argument("--max-steps", "--steps", type=int, default=20, help="gradient steps a point, at most")
    method.add_argument("--step-rule", choices=RULES, default="sign")
    method.add_argument("--score", choices=SCORES, default="probability")
    method.add_argument("--aggregate", choices=AGGREGATES, default="signed" if literal else "magnitude")
    method.add_argument(
        "--tolerance", type=float, help="draw points until the relative standard error of the map is below this"
    )
    method.add_argument("--seed", type=int, default=0)
    method.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    pictures = parser.add_argument_group("how it is shown")
    pictures.add_argument("--ranking", choices=RANKINGS, default="sum_of_abs", help="how a pixel's channels are joined")
    pictures.add_argument(
        "--clip", type=float, nargs=2, default=(80.0, 99.0), metavar=("LOW", "HIGH"), help="percentiles of the colours"
    )
    pictures.add_argument(
        "--smooth", type=float, default=0.0 if literal else 2.0, help="blur of the overlay, in pixels (not of the map)"
    )
    pictures.add_argument("--top-k-classes", type=int, default=5, help="predicted classes that the report lists")
    pictures.add_argument("--max-cards", type=int, default=500, help="pictures in the report, at most")
    work = parser.add_argument_group("how it is run")
    work.add_argument("--out", default="out", metavar="DIR")
    work.add_argument("--batch-size", type=int, help="rows that go through the model at once")
    work.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, or auto")
    work.add_argument("--overwrite", action="store_true", help="compute maps anew that are there already")
    for action in method._group_actions + pictures._group_actions:
        if action.default is not None and action.nargs != 0:
            action.help = f"{action.help or ''} (default: %(default)s)".strip()
