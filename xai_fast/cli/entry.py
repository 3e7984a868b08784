"""Arguments and exit codes of ``xai-fast``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xai_fast import __version__
from xai_fast.attribution.gradient import PRECISIONS
from xai_fast.attribution.neflag import AGGREGATES
from xai_fast.errors import InputError, XaiFastError
from xai_fast.kernels.sphere_step import RULES
from xai_fast.metrics import RANKINGS
from xai_fast.targets import SCORES

__all__ = ["main"]

DONE, FAILED, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130

# Not read from xai_fast.suites, which needs Pillow: the help does not.
_MODELS = "efficientnet-lite0, efficientnet-lite1, efficientnet-lite2, resnet18-random"
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
    """Add the options; the defaults of the method are those of the paper, or those of the demo."""
    default = "(default: %(default)s)"
    add = parser.add_argument_group("what is computed").add_argument
    add("--model", default="efficientnet-lite0", metavar="NAME", help=f"{_MODELS}, or module:function {default}")
    add("--target", metavar="CLASS", help="explain this class (its number or name) instead of the predicted one")
    add("--points", type=int, default=10 if literal else 20, help=f"flux points a picture {default}")
    add("--radius", type=float, default=0.1 if literal else 0.3, help=f"in the model's input units {default}")
    add("--max-steps", "--steps", type=int, default=20, help=f"gradient steps a point, at most {default}")
    add("--step-rule", choices=RULES, default="sign", help=default)
    add("--score", choices=SCORES, default="probability", help=default)
    add("--aggregate", choices=AGGREGATES, default="signed" if literal else "magnitude", help=default)
    add("--tolerance", type=float, help="draw points until the relative standard error of the map is below this")
    add("--seed", type=int, default=0, help=default)
    add("--precision", choices=PRECISIONS, default="fp32", help=default)
    add = parser.add_argument_group("how it is shown").add_argument
    add("--ranking", choices=RANKINGS, default="sum_of_abs", help=f"how a pixel's channels are joined {default}")
    percentiles = "percentiles between which the colours run (default: 80 99)"
    add("--clip", type=float, nargs=2, default=(80.0, 99.0), metavar=("LOW", "HIGH"), help=percentiles)
    smooth = f"blur of the overlay, in pixels; the map is not blurred {default}"
    add("--smooth", type=float, default=0.0 if literal else 2.0, help=smooth)
    add("--top-k-classes", type=int, default=5, metavar="K", help=f"predicted classes that the report lists {default}")
    add("--max-cards", type=int, default=500, metavar="N", help=f"pictures in the report, at most {default}")
    add = parser.add_argument_group("how it is run").add_argument
    add("--out", default="out", metavar="DIR", help=default)
    add("--batch-size", type=int, metavar="ROWS", help="rows that go through the model at once")
    add("--device", default="auto", help=f"cpu, cuda, cuda:1, ... {default}")
    add("--overwrite", action="store_true", help="compute maps anew that are there already")
