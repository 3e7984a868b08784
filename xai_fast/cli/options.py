"""Options of ``xai-fast neflag``, ``taylor-cam``, ``t-nid`` and ``demo``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from xai_fast.attribution.neflag import AGGREGATES
from xai_fast.engine.gradients import PRECISIONS
from xai_fast.engine.objective import SCORES
from xai_fast.graph.smooth import SMOOTH
from xai_fast.interaction.effects import AGGREGATES as TABLE_AGGREGATES
from xai_fast.interaction.effects import EFFECTS
from xai_fast.interaction.fit_mlp import TASKS
from xai_fast.interaction.taylor_cam import SCOPES
from xai_fast.kernels.sphere_step import RULES
from xai_fast.metrics import RANKINGS
from xai_fast.taylor import METHODS

__all__ = ["add_explaining_commands"]

# Not read from xai_fast.suites, which needs Pillow: the help does not.
_MODELS = "efficientnet-lite0, efficientnet-lite1, efficientnet-lite2, resnet18-random"
_PATHS = "folders are searched with their subfolders"
_DEFAULT = "(default: %(default)s)"
_EXIT_CODES = """exit codes: 0 all pictures explained; 3 finished, but some files could not be read or explained;
2 the arguments are wrong; 1 failed; 130 interrupted (what is finished is kept: the same command goes on from there)."""

_TABLE_EXIT_CODES = """exit codes: 0 done; 3 finished, but the network does not fit the table well enough for its
interactions to say much about the table (R^2 below 0.5, or less than 20 % of the classes' cross-entropy taken away, on
rows held back); 2 the arguments are wrong, or values are missing; 1 failed; 130 interrupted."""


def add_explaining_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that explain pictures and tables.

    Args:
        commands: of the program.
    """
    neflag = commands.add_parser(
        "neflag",
        help="explain the predictions for a folder of pictures with NeFLAG",
        description="Explain what an image classifier predicts for each picture (PNG, JPEG, WebP) with NeFLAG. Writes "
        "the maps (maps/*.npz, float32), the overlays (overlays/*.png), report.html and summary.json.",
        epilog=_EXIT_CODES,
    )
    neflag.add_argument("paths", nargs="+", metavar="FOLDER_OR_PICTURE", help=_PATHS)
    _add_options(neflag, literal=True)
    taylor_cam = commands.add_parser(
        "taylor-cam",
        help="find pairs of cells that a model relates in each of a folder of pictures, with Taylor-CAM",
        description="Explain which cells of a feature map act together on what an image classifier predicts for each "
        "picture (PNG, JPEG, WebP) with Taylor-CAM. Writes a drawing (pictures/*.png), the strongest pairs "
        "(pairs/*.json) and all of them (maps/*.npz, for xai_fast.InteractionMap.load) of each picture, report.html "
        "to explore them, and summary.json.",
        epilog=_EXIT_CODES,
    )
    taylor_cam.add_argument("paths", nargs="+", metavar="FOLDER_OR_PICTURE", help=_PATHS)
    _add_interaction_options(taylor_cam)
    table = commands.add_parser(
        "t-nid",
        help="find columns of a table that act together on another one, with T-NID",
        description="Train a smooth network that predicts one column of a table (CSV or Parquet) from the others, and "
        "find the pairs, triples and larger sets of columns that act together in it, with T-NID. Prints the ranking; "
        "writes ranking.json (for xai_fast.InteractionRanking.load), ranking.png, heatmap.png, network.png, "
        "report.html to explore it, and summary.json.",
        epilog=_TABLE_EXIT_CODES,
    )
    _add_table_options(table)
    demo = commands.add_parser(
        "demo",
        help="explain the photos of scikit-image, scikit-learn and foolbox, and the table of Bikeshare",
        description="The same as neflag, for the sample photos of installed packages and with settings that look well; "
        "and taylor-cam for the same photos, and t-nid for the rentals of bicycles that the package ISLP carries.",
        epilog=_EXIT_CODES,
    )
    _add_options(demo, literal=False)


def _add_options(parser: argparse.ArgumentParser, *, literal: bool) -> None:
    """Add the options of NeFLAG; the defaults of the method are those of the paper, or those of the demo."""
    default = _DEFAULT
    add = parser.add_argument_group("what is computed").add_argument
    _add_model(add)
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
    _add_report(add, most=500)
    _add_run(parser, "rows that go through the model at once")


def _add_interaction_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is computed").add_argument
    _add_model(add)
    layer = "whose output has the cells: a dotted name; coarse (the default) and fine choose one of a model named above"
    add("--layer", metavar="NAME", help=layer)
    add("--order", type=int, default=2, choices=(1, 2, 3, 4), help=f"cells that act together {_DEFAULT}")
    add("--scope", choices=SCOPES, default="local", help=_DEFAULT)
    add("--score", choices=SCORES, default="probability", help=_DEFAULT)
    smooth = "explain the network with these in the place of its ReLUs, which have no curvature"
    add("--smooth", choices=tuple(SMOOTH), help=smooth)
    add("--method", choices=METHODS, default="auto", help=f"how second derivatives are computed {_DEFAULT}")
    add = parser.add_argument_group("how it is shown").add_argument
    add("--top-k", type=int, default=4, metavar="K", help=f"interactions that are drawn and listed {_DEFAULT}")
    _add_report(add, most=100)
    _add_run(parser, "pictures that are explained at once")


def _add_table_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help="a CSV file, or a Parquet file (.parquet)")
    add = parser.add_argument_group("how the table is read").add_argument
    add("--target", required=True, metavar="COLUMN", help="the column that the others are to predict")
    add("--task", choices=TASKS, default="auto", help=f"auto goes by the values of the target {_DEFAULT}")
    categories = "columns of numbers that are categories; text and truth values always are"
    add("--categorical", nargs="+", default=(), metavar="COLUMN", help=categories)
    add(
        "--ignore",
        nargs="+",
        default=(),
        metavar="COLUMN",
        help="columns to leave out, such as those made of the target",
    )
    missing = "what to do about missing values: nothing at all, leave out such rows, or put in the median of a column "
    missing += f"of numbers and a category of its own elsewhere; rows without target are always left out {_DEFAULT}"
    add("--missing", choices=("refuse", "drop", "impute"), default="refuse", help=missing)
    add = parser.add_argument_group("what is computed").add_argument
    most = "the most columns that act together, 2 to 6 (default: 3)"
    add("--order", type=int, choices=range(2, 7), metavar="N", help=most)
    of_class = "the class whose score is explained (default: at each row the predicted one; of two the second)"
    add("--class", dest="of_class", metavar="CLASS", help=of_class)
    rows = "rows at which effects are measured: how many random ones, kmeans:N, paper, or names such as mean,min,mode"
    add("--representatives", default="200", metavar="ROWS", help=f"{rows} {_DEFAULT}")
    add("--effect", choices=EFFECTS, default="absolute", help=f"what is made of a derivative at a row {_DEFAULT}")
    add("--aggregate", choices=tuple(TABLE_AGGREGATES), default="median", help=f"over the rows {_DEFAULT}")
    extend = "where not all sets can be looked at: how many of the strongest are extended (default: what is affordable)"
    add("--extend", type=int, metavar="K", help=extend)
    add("--seed", type=int, default=0, help=_DEFAULT)
    add = parser.add_argument_group("how the network is trained").add_argument
    add("--epochs", type=int, default=100, metavar="N", help=f"at most {_DEFAULT}")
    add(
        "--patience",
        type=int,
        default=15,
        metavar="N",
        help=f"epochs without progress that end the training {_DEFAULT}",
    )
    add("--batch-size", type=int, default=128, metavar="N", help=_DEFAULT)
    add("--learning-rate", type=float, default=3e-3, help=_DEFAULT)
    add("--device", default="auto", help=f"cpu, cuda, cuda:1, ... {_DEFAULT}")
    add = parser.add_argument_group("how it is shown").add_argument
    add("--top-k", type=int, default=20, metavar="K", help=f"sets of each order in the report {_DEFAULT}")
    add("--out", default="out", metavar="DIR", help=_DEFAULT)


def _add_model(add: Callable[..., object]) -> None:
    add("--model", default="efficientnet-lite0", metavar="NAME", help=f"{_MODELS}, or module:function {_DEFAULT}")
    add("--target", metavar="CLASS", help="explain this class (its number or name) instead of the predicted one")


def _add_report(add: Callable[..., object], *, most: int) -> None:
    add("--top-k-classes", type=int, default=5, metavar="K", help=f"predicted classes that the report lists {_DEFAULT}")
    add("--max-cards", type=int, default=most, metavar="N", help=f"pictures in the report, at most {_DEFAULT}")


def _add_run(parser: argparse.ArgumentParser, batch: str) -> None:
    add = parser.add_argument_group("how it is run").add_argument
    add("--out", default="out", metavar="DIR", help=_DEFAULT)
    add("--batch-size", type=int, metavar="N", help=batch)
    add("--device", default="auto", help=f"cpu, cuda, cuda:1, ... {_DEFAULT}")
    add("--overwrite", action="store_true", help="compute anew what is there already")
