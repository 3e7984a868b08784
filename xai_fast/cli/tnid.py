"""``xai-fast t-nid``: from a table to a network, its interactions, and a report."""

from __future__ import annotations

import argparse
import math
import time
import warnings
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.cli.option_values import add_options, given_options, option_parameters
from xai_fast.cli.run_job import DEVICE
from xai_fast.cli.tnid_outputs import Findings, TableSettings, check_folder, write_outputs
from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument
from xai_fast.interaction import TNID, FittedMLP, fit_mlp
from xai_fast.interaction.mlp_training import Goal
from xai_fast.interaction.representatives import choose_representatives
from xai_fast.interaction.table import read_table
from xai_fast.jobs.runners.local import devices_of
from xai_fast.tables.columns import MISSING, EncodedTable, encode, has_decimal_comma
from xai_fast.tables.file import read_table_file
from xai_fast.terminal import say, shown

if TYPE_CHECKING:
    import pandas

    from xai_fast.plot import Fit

__all__ = ["LEAST_R2", "LEAST_SHARE", "TableSettings", "add_command", "explain_frame", "judge"]

LEAST_R2 = 0.5
"""Below this R^2 on the rows held back a regression is flagged: less than half of what there is to explain."""

LEAST_SHARE = 0.2
"""A classification is flagged if it takes away less than this share of the cross-entropy of always answering with the
shares of the classes (McFadden's pseudo R^2, of which he calls 0.2 to 0.4 an excellent fit)."""

METHOD: dict[str, object] = {"representatives": 200, "effect": "absolute", "aggregate": "median"}
"""Options of T-NID where the user says nothing: what ranks the published test functions best, see docs/results.md."""

_NOT_OFFERED = ("smooth", "score")
_NOT_OFFERED_TRAINING = ("feature_names", "seed", "device", "progress", "validation")
_EXIT_CODES = """exit codes: 0 done; 3 finished, but the network does not fit the table well enough for its interactions
to say much about the table (R^2 below 0.5, or less than 20 % of the classes' cross-entropy taken away, on rows held
back); 2 the arguments are wrong, or values are missing; 1 failed; 130 interrupted."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``t-nid`` to those of the program."""
    parser = commands.add_parser(
        "t-nid",
        help="find columns of a table that act together on another one",
        description="Train a smooth network that predicts one column of a table (CSV or Parquet) from the others, and "
        "find the pairs, triples and larger sets of columns that act together in it, with T-NID. Prints the ranking; "
        "writes ranking.json (for xai_fast.InteractionRanking.load), report.html to explore it, and summary.json.",
        epilog=_EXIT_CODES,
    )
    parser.set_defaults(run=_run)
    add = parser.add_argument
    add("table", metavar="TABLE", help="a CSV file, or a Parquet file (.parquet)")
    add("--target", required=True, metavar="COLUMN", help="the column that the others are to predict")
    several: dict[str, Any] = {"nargs": "+", "default": (), "metavar": "COLUMN"}
    add("--categorical", help="columns of numbers that are categories; text and truth values always are", **several)
    add("--ignore", help="columns to leave out, such as those made of the target", **several)
    missing = "refuse missing values; drop rows that have one; or impute the median of a column of numbers, and a "
    missing += "category of its own elsewhere. Rows without a target are never kept (default: refuse)"
    add("--missing", choices=MISSING, default=MISSING[0], help=missing)
    of_class = "the class whose score is explained (default: the predicted one at each row; of two the second)"
    add("--class", dest="of_class", metavar="CLASS", help=of_class)
    add("--thousands", choices=(",", "."), help="a mark between thousands; the decimal mark is the other one")
    add("--listed", type=int, default=20, metavar="K", help="sets of each order in the report (default: 20)")
    add("--device", metavar="NAME", help=DEVICE)
    add("--out", default="out", metavar="DIR", help="folder of the results (default: out)")
    add_options(
        parser, read_table_file, defaults={"na": "empty cells", "decimal": "a comma if it alone explains a column"}
    )
    add_options(parser, TNID, leave_out=_NOT_OFFERED, defaults=METHOD)
    add_options(parser, fit_mlp, leave_out=_NOT_OFFERED_TRAINING)


def _run(options: argparse.Namespace) -> bool:
    own = [entry.name for entry in fields(TableSettings) if entry.name != "options"]
    given = given_options(options)
    if options.thousands is not None:
        given.setdefault("decimal", ",.".replace(options.thousands, ""))
    path = Path(options.table)
    reading: dict[str, Any] = {"na": (), **{n: given[n] for n in option_parameters(read_table_file) if n in given}}
    frame = read_table_file(path, **reading)
    if "decimal" not in given and has_decimal_comma(frame):  # of the file: 1.234 is no decimal number in it
        given["decimal"] = ","
        frame = read_table_file(path, **{**reading, "decimal": ","})
    settings = TableSettings(**{name: getattr(options, name) for name in own}, options=given)
    return explain_frame(frame, shown(path.name), settings, Path(options.out))


def explain_frame(frame: pandas.DataFrame, name: str, settings: TableSettings, out: Path, about: str = "") -> bool:
    """Explain a table, write ranking, report and summary, and return whether the network fits well enough."""
    started = time.perf_counter()
    asked: dict[str, Any] = {name: getattr(settings, name) for name in ("categorical", "ignore", "missing")}
    table = encode(frame, settings.target, decimal=settings.options.get("decimal"), **asked)
    check_integer("--listed", settings.listed, 1)
    # What would be refused after minutes of training is refused before.
    method, target = _method_options(settings, table), _target(settings, table)
    training = {n: v for n, v in settings.options.items() if n in option_parameters(fit_mlp)}
    training |= {"device": devices_of(settings.device)[0], "seed": check_integer("seed", method.get("seed", 0), 0)}
    check_folder(out, name, table, settings)
    for note in table.notes:
        say(note)
    fitted = fit_mlp(torch.from_numpy(table.values), table.labels, feature_names=table.columns, **training)
    fit = judge(fitted)
    say(fit.verdict)
    model: torch.nn.Module = fitted.model
    rows = torch.from_numpy(table.values)
    if method.get("scale", "std") == "std":  # in standard units the effects are the same, and no derivative overflows
        model, rows = fitted.model[1:].eval(), fitted.model[0](rows.to(training["device"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the notes of the ranking say the same
        ranking = TNID(model, **method).detect(rows, target, groups=table.groups, feature_names=table.columns)
    seconds = time.perf_counter() - started
    write_outputs(Findings(name, about, table, settings, fitted, fit, ranking, seconds), out)
    return fit.good


def judge(fitted: FittedMLP) -> Fit:
    """Say how well a network fits, and whether its interactions can say something about the table."""
    from xai_fast.plot import Fit

    held, unknown = "on rows held back, which also decide when the training ends", "all have the same target"
    if fitted.validation_counts is None:
        score, least = fitted.validation_score, LEAST_R2
        label, text = "R\u00b2 on rows held back", f"{score:.3f}"
        what = f"The network explains {max(score, 0):.1%} of the variance of the target {held}"
    else:
        shares = np.array(fitted.validation_counts) / sum(fitted.validation_counts)
        absent = [str(one) for one, share in zip(fitted.classes or (), shares, strict=True) if not share]
        unknown = f"none is of class {', '.join(absent)}"
        # Of the rows that the loss is of: the shares of others are another question.
        entropy = math.nan if absent else float(-(shares * np.log(shares)).sum())
        score, least = 1 - fitted.validation_loss / entropy, LEAST_SHARE
        label, text = "accuracy on rows held back", f"{fitted.validation_score:.1%}"
        what = (
            f"The network is right in {text} of cases {held} (the most frequent class has {shares.max():.1%}), and "
            f"takes away {max(score, 0):.1%} of the cross-entropy of the classes' shares there"
        )
    if not math.isfinite(score):
        text, what = "not known", f"The rows held back cannot show how well the network fits: {unknown}"
    good = score >= least
    end = f"; {least:.0%} {'are' if good else 'would be'} enough." if math.isfinite(score) else "."
    warning = "" if good else " What follows explains the network, and may say little about the table."
    return Fit(
        label=label,
        text=text,
        good=good,
        verdict=what + end + warning,
        training_losses=[epoch.training_loss for epoch in fitted.history],
        validation_losses=[epoch.validation_loss for epoch in fitted.history],
        best_epoch=fitted.best_epoch,
    )


def _method_options(settings: TableSettings, table: EncodedTable) -> dict[str, Any]:
    """Give the options of T-NID, checked against the table."""
    given = {name: value for name, value in settings.options.items() if name in TNID.options()}
    options: dict[str, Any] = {"order": min(3, table.features), **METHOD, **given}
    method = TNID(torch.nn.Identity(), **options)
    if method.order > table.features:
        raise bad_argument("--order", f"at most {table.features}, the number of features", method.order)
    if method.effect == "signed" and table.groups:
        raise bad_argument("--effect", "absolute or square where columns have categories", "signed")
    if isinstance(options["representatives"], int):
        options["representatives"] = min(options["representatives"], len(table.values))
    choose_representatives(read_table("TABLE", table.values, table.columns), options["representatives"], method.seed)
    return options


def _target(settings: TableSettings, table: EncodedTable) -> Target:
    """Find the class to explain."""
    if settings.of_class is None:
        return None
    classes = Goal.of(table.labels, settings.options.get("task", "auto")).classes
    if classes is None:
        raise bad_argument("--class", "a target with classes", f"numbers in {settings.target!r}")
    names = [str(one) for one in classes]
    if settings.of_class not in names:
        known = f"a class of {settings.target!r}: {', '.join(names[:20])}"
        raise bad_argument("--class", known, repr(settings.of_class))
    position = names.index(settings.of_class)
    if len(names) > 2:
        return position
    return None if position == 1 else _other_class


def _other_class(outputs: Any) -> Tensor:
    """Give the logit of the first of two classes, where the network has that of the second (B, 1)."""
    negative: Tensor = -outputs[:, 0]
    return negative
