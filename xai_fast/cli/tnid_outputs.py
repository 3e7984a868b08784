"""What ``xai-fast t-nid`` leaves behind: the ranking, the report, the summary; and what it prints."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_fast.cli.reports import refuse_results
from xai_fast.doctor import versions
from xai_fast.errors import bad_argument
from xai_fast.files import write_whole
from xai_fast.interaction import FittedMLP, InteractionRanking
from xai_fast.options import plain
from xai_fast.progress import duration
from xai_fast.tables.columns import MISSING, EncodedTable
from xai_fast.terminal import printable, say, shown

if TYPE_CHECKING:
    from xai_fast.plot import Fit, Front

__all__ = ["Findings", "TableSettings", "check_folder", "write_outputs"]

_PRINTED = 10
_JOINED = " \u00d7 "
_TITLES = {1: "main effects", 2: "pairs", 3: "triples", 4: "quadruples", 5: "quintuples", 6: "sextuples"}
_EFFECTS = {"absolute": "magnitude", "square": "square", "signed": "value"}
_SUMMARY = "summary.json"


@dataclass(frozen=True)
class TableSettings:
    """What is done with a table: how `xai_fast.tables.columns.encode` reads it, and what is explained.

    ``of_class`` is the class whose score is explained; None for the predicted one at each row, of two the second.
    ``listed`` sets of each order are in the report. ``options`` are those of `xai_fast.TNID`, where they differ from
    `METHOD`, of `xai_fast.fit_mlp` and of `read_table_file`.
    """

    target: str
    categorical: Sequence[str] = ()
    ignore: Sequence[str] = ()
    missing: str = MISSING[0]
    of_class: str | None = None
    listed: int = 20
    device: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Findings:
    """All that is known at the end of a run; ``about`` is a sentence about the table, or empty."""

    name: str
    about: str
    table: EncodedTable
    settings: TableSettings
    fitted: FittedMLP
    fit: Fit
    ranking: InteractionRanking
    seconds: float

    @property
    def run(self) -> str:
        """The identity of the run."""
        return _identity(self.name, self.table, self.settings)


def check_folder(out: Path, name: str, table: EncodedTable, settings: TableSettings) -> None:
    """Raise an `InputError`, before minutes of training, if the folder cannot be made or has another run's results."""
    if not next(path for path in (out, *out.absolute().parents) if path.exists()).is_dir():
        raise bad_argument("--out", "a folder, or a path where one can be made", shown(str(out)))
    if _run_of(out / _SUMMARY) != _identity(name, table, settings):
        refuse_results(out)


def _run_of(summary: Path) -> object:
    try:
        return json.loads(summary.read_text(encoding="utf-8"))["run"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identity(name: str, table: EncodedTable, settings: TableSettings) -> str:
    """Give a hash of all that the results depend on."""
    own = {name: value for name, value in vars(settings).items() if name not in ("listed", "device")}
    content = hashlib.sha256(json.dumps(plain(own), sort_keys=True).encode())
    content.update(json.dumps([name, table.columns, table.labels.tolist()]).encode())
    content.update(table.values.tobytes())
    return content.hexdigest()


def write_outputs(findings: Findings, out: Path) -> None:
    """Write summary, ranking and report, then print the ranking."""
    from xai_fast.plot import report

    ranking = findings.ranking
    write_whole(out / _SUMMARY, _summary(findings))  # first: it says whose the folder is
    ranking.save(out / "ranking.json")
    page = report(ranking, out, front=_front(findings), fit=findings.fit, top_k=findings.settings.listed)
    # Only now: a training is not lost by the way that it is printed.
    say(_as_text(ranking, min(findings.settings.listed, _PRINTED)))
    for note in ranking.notes:
        say(f"note: {note}")
    say(f"{len(ranking.feature_names)} features explained in {duration(findings.seconds)}")
    say(f"report: {shown(str(page))}")


def _as_text(ranking: InteractionRanking, k: int) -> str:
    lines = []
    for order, found in sorted(ranking.orders.items()):
        if order == 1:
            continue
        how = "all there are" if found.exhaustive else "extensions of the strongest"
        lines += ["", f"{_TITLES[order]}: {found.candidates:,} looked at, {how}"]
        lines += ["rank      effect      spread  features"]
        lines += [
            f"{one.rank:4}  {one.effect:10.4g}  {one.spread:10.4g}  {printable(_JOINED.join(one.features))}"
            for one in found[:k]
        ]
    return "\n".join([*lines, ""])


def _front(findings: Findings) -> Front:
    from xai_fast.plot import Front

    settings, ranking, table = findings.settings, findings.ranking, findings.table
    of_class = "the class" if settings.of_class is None else f"class {settings.of_class!r}"
    unit = "the target" if findings.fitted.classes is None else f"the logit of {of_class}"
    method = dict(ranking.settings)
    reading = (
        "An effect is the mixed derivative of the network along the features of a set, each in steps of one standard "
        f"deviation, in units of {unit}: its {_EFFECTS[str(method['effect'])]}, the {method['aggregate']} over "
        f"{len(ranking.representatives)} rows. The thin line on a bar is the standard deviation over them."
    )
    flags = [f"{note[:1].upper()}{note[1:]}." for note in ranking.notes]
    own = {n: ", ".join(v) if isinstance(v, list | tuple) else v for n, v in vars(settings).items() if n != "options"}
    of_ranking = {name: value for name, value in method.items() if name not in ("groups", "target", "keep")}
    return Front(
        title=f"What acts together on {settings.target}",
        kicker=f"T-NID \u00b7 {findings.name}",
        reading=" ".join([findings.about, *flags, reading]).strip(),
        notes=table.notes,
        summary={
            "rows": f"{len(table.values):,}",
            "features": f"{table.features:,}",
            "time": duration(findings.seconds),
        },
        settings={**own, **settings.options, **of_ranking},
        versions=versions(),
        run=findings.run,
    )


def _summary(findings: Findings) -> bytes:
    fitted, table, ranking = findings.fitted, findings.table, findings.ranking
    content = {
        "run": findings.run,
        "table": findings.name,
        "rows": len(table.values),
        "groups": table.groups,
        "notes": list(table.notes),
        "settings": plain(asdict(findings.settings)),
        "method": dict(ranking.settings),
        "task": fitted.task,
        "classes": None if fitted.classes is None else [str(one) for one in fitted.classes],
        "validation_score": fitted.validation_score if math.isfinite(fitted.validation_score) else None,
        "validation_loss": fitted.validation_loss,
        "fits": findings.fit.good,
        "verdict": findings.fit.verdict,
        "flags": list(ranking.notes),
        "versions": versions(),
        "seconds": round(findings.seconds, 3),
        "strongest": [
            {"order": one.order, "features": list(one.features), "effect": one.effect, "spread": one.spread}
            for one in ranking.top(min(findings.settings.listed, 20))
        ],
    }
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")
