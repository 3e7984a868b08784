"""What ``xai-fast t-nid`` leaves behind: the ranking, pictures of it, the report, the summary; and what it prints."""

from __future__ import annotations

import io
import json
import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_fast.cli.files import shown
from xai_fast.cli.job import versions
from xai_fast.cli.table_file import EncodedTable
from xai_fast.files import write_whole
from xai_fast.interaction import FittedMLP, InteractionRanking
from xai_fast.plot import Fit, Front
from xai_fast.plot import report as write_report
from xai_fast.plot.ranking_layout import JOINED
from xai_fast.progress import duration
from xai_fast.terminal import printable, say

if TYPE_CHECKING:
    from xai_fast.cli.tnid import TableSettings

__all__ = ["Findings", "ranking_table", "write_outputs"]

_PRINTED = 10
_DPI = 120
_TITLES = {1: "main effects", 2: "pairs", 3: "triples", 4: "quadruples", 5: "quintuples", 6: "sextuples"}
_EFFECTS = {"absolute": "magnitude", "square": "square", "signed": "value"}


@dataclass(frozen=True, eq=False)
class Findings:
    """All that is known at the end of a run.

    Attributes:
        name: of the table.
        about: a sentence about it, or "".
        table: as the network took it.
        settings: the options.
        fitted: the network.
        fit: how well it fits.
        ranking: what was found.
        flags: warnings of the method.
        seconds: that parts of the run took.
    """

    name: str
    about: str
    table: EncodedTable
    settings: TableSettings
    fitted: FittedMLP
    fit: Fit
    ranking: InteractionRanking
    flags: list[str]
    seconds: dict[str, float]


def write_outputs(findings: Findings, out: Path) -> Path:
    """Write everything, and print the ranking.

    Args:
        findings: of the run.
        out: the folder, which exists.

    Returns:
        The path of the report.
    """
    ranking = findings.ranking
    ranking.save(out / "ranking.json")
    for name, picture in _pictures(ranking, findings.settings.top_k).items():
        write_whole(out / f"{name}.png", picture)
    top_k = findings.settings.top_k
    report = write_report(ranking, out, front=_front(findings), fit=findings.fit, top_k=top_k)
    _write_summary(findings, out)
    # Only now: nobody loses a training by the way that it is printed.
    say(ranking_table(ranking, min(findings.settings.top_k, _PRINTED)))
    for flag in findings.flags:
        say(f"note: {flag}")
    say(f"{len(ranking.feature_names)} features explained in {duration(findings.seconds['all'])}")
    say(f"report: {shown(str(report))}")
    return report


def ranking_table(ranking: InteractionRanking, k: int) -> str:
    """Write a ranking as text.

    Args:
        ranking: of any orders.
        k: sets of each order, at most.

    Returns:
        Lines, order after order, without main effects.
    """
    lines = []
    for order, found in sorted(ranking.orders.items()):
        if order == 1:
            continue
        how = "all there are" if found.exhaustive else "extensions of the strongest"
        lines += [
            "",
            f"{_TITLES[order]}: {found.candidates:,} looked at, {how}",
            "rank      effect      spread  features",
        ]
        lines += [
            f"{one.rank:4}  {one.effect:10.4g}  {one.spread:10.4g}  {printable(JOINED.join(one.features))}"
            for one in found[:k]
        ]
    return "\n".join([*lines, ""])


def _pictures(ranking: InteractionRanking, k: int) -> dict[str, bytes]:
    from matplotlib.figure import Figure  # no pyplot: it would keep every figure

    from xai_fast.plot.rankings import show_interaction_network, show_pair_heatmap, show_ranking

    orders = sorted(order for order in ranking.orders if order > 1)
    letters = {order: 14 * (order + 1) for order in orders}
    widths = [4.5 + 0.075 * letters[order] for order in orders]
    bars = Figure(figsize=(sum(widths), 1.2 + 0.32 * min(k, 20)), dpi=_DPI, layout="constrained")
    for ax, order in zip(bars.subplots(1, len(orders), squeeze=False, width_ratios=widths)[0], orders, strict=True):
        show_ranking(ax, ranking, order=order, k=min(k, 20), letters=letters[order], title=_TITLES[order])
    heat = Figure(figsize=(7, 7), dpi=_DPI, layout="constrained")
    ax = heat.subplots()
    drawn = show_pair_heatmap(ax, ranking)
    bar = heat.colorbar(drawn, ax=ax, shrink=0.6, label="relative to the strongest pair")
    bar.outline.set_visible(False)
    network = Figure(figsize=(7.5, 7.5), dpi=_DPI, layout="constrained")
    show_interaction_network(network.subplots(), ranking)
    figures = {"ranking": bars, "heatmap": heat, "network": network}
    with warnings.catch_warnings():
        # Names in any script; what the font does not have is a box in the picture, and whole on the page.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        return {name: _png(figure) for name, figure in figures.items()}


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _front(findings: Findings) -> Front:
    settings, ranking, table = findings.settings, findings.ranking, findings.table
    flags = [f"{flag[:1].upper()}{flag[1:]}." for flag in findings.flags]
    return Front(
        title=f"What acts together on {settings.target}",
        kicker=f"T-NID \u00b7 {findings.name}",
        reading=" ".join([findings.about, *flags, _reading(findings)]).strip(),
        notes=table.notes,
        summary={
            "rows": f"{len(table.values):,}",
            "features": f"{table.features:,}",
            "time": duration(findings.seconds["all"]),
        },
        settings={**_plain_settings(settings), **_method(ranking)},
        versions=versions(),
        run="t-nid",
    )


def _reading(findings: Findings) -> str:
    settings = findings.settings
    of_class = "the class" if settings.of_class is None else f"class {settings.of_class!r}"
    unit = "the target" if findings.fitted.classes is None else f"the logit of {of_class}"
    return (
        f"An effect is the mixed derivative of the network along the features of a set, each in steps of one standard "
        f"deviation, in units of {unit}: its {_EFFECTS[settings.effect]}, the {settings.aggregate} over "
        f"{len(findings.ranking.representatives)} rows. The thin line on a bar is the standard deviation over them."
    )


def _method(ranking: InteractionRanking) -> dict[str, object]:
    left_out = ("method", "groups", "target", "keep")
    return {name: value for name, value in ranking.settings.items() if name not in left_out}


def _plain_settings(settings: TableSettings) -> dict[str, object]:
    return {n: ", ".join(v) or "none" if isinstance(v, list | tuple) else v for n, v in asdict(settings).items()}


def _write_summary(findings: Findings, out: Path) -> None:
    fitted, table = findings.fitted, findings.table
    content = {
        "table": findings.name,
        "rows": len(table.values),
        "features": list(findings.ranking.feature_names),
        "groups": table.groups,
        "notes": list(table.notes),
        "settings": asdict(findings.settings),
        "method": dict(findings.ranking.settings),
        "task": fitted.task,
        "classes": None if fitted.classes is None else [str(one) for one in fitted.classes],
        "validation_score": fitted.validation_score if math.isfinite(fitted.validation_score) else None,
        "validation_loss": fitted.validation_loss,
        "epochs": len(fitted.history),
        "fits": findings.fit.good,
        "verdict": findings.fit.verdict,
        "flags": findings.flags,
        "versions": versions(),
        "seconds": {name: round(value, 3) for name, value in findings.seconds.items()},
        "strongest": [
            {"features": list(one.features), "effect": one.effect, "spread": one.spread}
            for one in findings.ranking.top(min(findings.settings.top_k, 20))
        ],
    }
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(out / "summary.json", text.encode("utf-8", "backslashreplace"))
