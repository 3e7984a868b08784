"""``xai-fast t-nid``: from a table to a network, its interactions, pictures of them, and a report."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.cli.classifier import check_at_least, chosen_device
from xai_fast.cli.files import shown
from xai_fast.cli.table_file import MISSING, EncodedTable, encode, read_table_file
from xai_fast.cli.tnid_outputs import Findings, write_outputs
from xai_fast.engine.objective import Target
from xai_fast.errors import bad_argument
from xai_fast.interaction import TNID, FittedMLP, InteractionRanking, fit_mlp
from xai_fast.interaction.mlp_training import Goal
from xai_fast.interaction.representatives import choose_representatives
from xai_fast.interaction.table import read_table
from xai_fast.plot.ranking_report import Fit
from xai_fast.terminal import say

if TYPE_CHECKING:
    import pandas

__all__ = ["LEAST_R2", "LEAST_SHARE", "TableSettings", "explain_frame", "judge", "run"]

LEAST_R2 = 0.5
"""Below this R^2 on the rows held back a regression is flagged: less than half of what there is to explain."""

LEAST_SHARE = 0.2
"""A classification is flagged if it takes away less than this share of the cross-entropy of always answering with the
shares of the classes (McFadden's pseudo R^2, of which he calls 0.2 to 0.4 an excellent fit)."""


@dataclass(frozen=True)
class TableSettings:
    """The options of a run; the command line's help says what they mean.

    Raises:
        InputError: a number is out of range.
    """

    target: str
    task: str = "auto"
    categorical: Sequence[str] = ()
    ignore: Sequence[str] = ()
    missing: str = MISSING[0]
    order: int | None = None
    of_class: str | None = None
    representatives: str = "200"
    effect: str = "absolute"
    aggregate: str = "median"
    extend: int | None = None
    epochs: int = 100
    patience: int = 15
    batch_size: int = 128
    learning_rate: float = 3e-3
    seed: int = 0
    top_k: int = 20
    device: str = "auto"

    def __post_init__(self) -> None:
        least = {"order": 2, "extend": 1, "epochs": 1, "patience": 1, "batch_size": 1, "seed": 0, "top_k": 1}
        check_at_least(self, least)


def run(path: Path, settings: TableSettings, out: Path) -> bool:
    """Explain a table, and write ranking, pictures, report and summary.

    Args:
        path: a CSV or Parquet file.
        settings: the options.
        out: the folder of the results.

    Returns:
        Whether the network fits well enough, see `LEAST_R2` and `LEAST_SHARE`.

    Raises:
        InputError: an option is out of range, or the table cannot be read.
        ModelError: the training diverged.
    """
    chosen_device(settings.device)
    return explain_frame(read_table_file(path), shown(path.name), settings, out)


def explain_frame(frame: pandas.DataFrame, name: str, settings: TableSettings, out: Path, about: str = "") -> bool:
    """Explain a table that is read already; see `run`.

    Args:
        frame: the table.
        name: of it, for the report.
        settings: the options.
        out: the folder of the results.
        about: a sentence about the table, for the report.

    Returns:
        As `run`.

    Raises:
        InputError: likewise.
        ModelError: likewise.
    """
    started = time.perf_counter()
    table = encode(
        frame,
        settings.target,
        categorical=settings.categorical,
        ignore=settings.ignore,
        missing=settings.missing,
    )
    order = _order(settings, table)
    target = _target(settings, table)
    representatives = _representatives(settings, table)
    _make_folder(out)
    for note in table.notes:
        say(note)
    fitted = _train(table, settings)
    fit = judge(fitted, table.labels)
    say(fit.verdict)
    trained = time.perf_counter() - started
    ranking, flags = _detect(fitted, table, settings, order, representatives, target)
    findings = Findings(
        name=name,
        about=about,
        table=table,
        settings=settings,
        fitted=fitted,
        fit=fit,
        ranking=ranking,
        flags=flags,
        seconds={"training": trained, "all": time.perf_counter() - started},
    )
    write_outputs(findings, out)
    return fit.good


def _make_folder(out: Path) -> None:
    """Make the folder of the results before minutes of training, so that none is lost where it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise bad_argument("--out", "a folder, or a path where one can be made", shown(str(out))) from None


def _train(table: EncodedTable, settings: TableSettings) -> FittedMLP:
    return fit_mlp(
        torch.from_numpy(table.values),
        table.labels,
        task=settings.task,
        epochs=settings.epochs,
        patience=settings.patience,
        batch=settings.batch_size,
        learning_rate=settings.learning_rate,
        feature_names=table.columns,
        seed=settings.seed,
        device=chosen_device(settings.device),
    )


def judge(fitted: FittedMLP, labels: object) -> Fit:
    """Say how well a network fits, and whether its interactions can say something about the table.

    Args:
        fitted: the network.
        labels: (N,) the target, from which the shares of the classes are taken.

    Returns:
        The numbers and the verdict.
    """
    held = "on rows held back, which also decide when the training ends"
    if fitted.classes is None:
        score, least = fitted.validation_score, LEAST_R2
        label, shown_score = "R\u00b2 on rows held back", f"{score:.3f}"
        what = f"The network explains {max(score, 0):.1%} of the variance of the target {held}"
        if not math.isfinite(score):  # no variance, of which a share could be explained
            shown_score = "not known"
            what = "The rows held back all have the same target, and cannot show how well the network fits"
    else:
        _, counts = np.unique(np.asarray(labels), return_counts=True)
        shares = counts / counts.sum()
        score, least = 1 - fitted.validation_loss / float(-(shares * np.log(shares)).sum()), LEAST_SHARE
        label, shown_score = "accuracy on rows held back", f"{fitted.validation_score:.1%}"
        what = (
            f"The network is right in {fitted.validation_score:.1%} of cases {held} (the most frequent class has "
            f"{shares.max():.1%}), and takes away {max(score, 0):.1%} of the cross-entropy of the classes' shares"
        )
    good = score >= least
    end = f"; {least:.0%} {'are' if good else 'would be'} enough." if math.isfinite(score) else "."
    warning = "" if good else " What follows explains the network, and may say little about the table."
    return Fit(
        label=label,
        text=shown_score,
        good=good,
        verdict=what + end + warning,
        training_losses=[epoch.training_loss for epoch in fitted.history],
        validation_losses=[epoch.validation_loss for epoch in fitted.history],
        best_epoch=fitted.best_epoch,
    )


def _order(settings: TableSettings, table: EncodedTable) -> int:
    if settings.order is None:
        return min(3, table.features)
    if settings.order > table.features:
        raise bad_argument("--order", f"at most {table.features}, the number of features", settings.order)
    return settings.order


def _target(settings: TableSettings, table: EncodedTable) -> Target:
    """Find the class to explain, before minutes of training."""
    if settings.of_class is None:
        return None
    classes = Goal.of(table.labels, settings.task).classes
    if classes is None:
        raise bad_argument("--class", "a target with classes", f"numbers in {settings.target!r}")
    names = [str(one) for one in classes]
    if settings.of_class not in names:
        known = f"a class of {settings.target!r}: {', '.join(names[:20])}"
        raise bad_argument("--class", known, repr(settings.of_class))
    place = names.index(settings.of_class)
    if len(names) > 2:
        return place
    return None if place == 1 else _other_class


def _other_class(outputs: Any) -> Tensor:
    """Give the logit of the first of two classes, where the network has that of the second (B, 1)."""
    negative: Tensor = -outputs[:, 0]
    return negative


def _representatives(settings: TableSettings, table: EncodedTable) -> int | str | list[str]:
    """Read what the method would refuse, before minutes of training."""
    if settings.effect == "signed" and table.groups:
        raise bad_argument("--effect", "absolute or square where columns have categories", "signed")
    wanted: int | str | list[str] = settings.representatives
    if settings.representatives.isdecimal():
        wanted = min(int(settings.representatives), len(table.values))
    elif "," in settings.representatives:
        wanted = [name.strip() for name in settings.representatives.split(",")]
    choose_representatives(read_table("TABLE", table.values, table.columns), wanted, settings.seed)
    return wanted


def _detect(
    fitted: FittedMLP,
    table: EncodedTable,
    settings: TableSettings,
    order: int,
    representatives: int | str | list[str],
    target: Target,
) -> tuple[InteractionRanking, list[str]]:
    method = TNID(
        fitted.model,
        order=order,
        top_k=settings.extend,
        representatives=representatives,
        effect=settings.effect,
        aggregate=settings.aggregate,
        seed=settings.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the notes say the same
        ranking = method.detect(table.values, target, groups=table.groups, feature_names=table.columns)
    return ranking, list(ranking.notes)
