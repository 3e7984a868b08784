"""One self-contained HTML page about many explained pictures."""

from __future__ import annotations

import json
import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xai_fast.files import write_whole
from xai_fast.plot.heatmap import BRIGHTNESS, CLIP, GREY
from xai_fast.plot.page import bar, data_uri, fill, omitted_note, page, percent, template, text

__all__ = ["Card", "Fact", "Report", "legend", "render_report", "write_report"]


@dataclass(frozen=True)
class Fact:
    """A number about a picture that the page shows and can sort by.

    Attributes:
        label: what it is; the same fact has the same label on all cards.
        text: the number as shown.
        value: the number to sort by; None or not finite is sorted last.
        note: a sentence that explains it, or "".
    """

    label: str
    text: str
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Card:
    """A picture on the page.

    Attributes:
        name: of the file, any text.
        heading: the class that was explained.
        photo: JPEG of the picture.
        layer: PNG of the heat map with transparency, in the photo's proportions, see `xai_fast.plot.heat_layer`.
        size: (width, height) of the photo in pixels.
        probability: of the explained class, 0 to 1, or None.
        classes: the strongest predicted classes with their probabilities, the strongest first.
        facts: what else is to be known.
        flags: short warnings such as "no negative flux"; the page can show only the cards that have one.
    """

    name: str
    heading: str
    photo: bytes
    layer: bytes
    size: tuple[int, int]
    probability: float | None = None
    classes: Sequence[tuple[str, float]] = ()
    facts: Sequence[Fact] = ()
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """What the page says. All text is escaped; none of it is read as HTML.

    Attributes:
        title: the heading.
        kicker: a line above it: method and model.
        cards: the pictures, in the order of the page.
        reading: how to read the pictures, a sentence or two.
        clip: the percentiles between which the colours run.
        summary: labels and numbers at the top.
        settings: the options of the run.
        versions: of what produced it.
        failures: names and reasons of files that are missing on the page.
        omitted: pictures that were explained but left out to keep the page small.
    """

    title: str
    kicker: str
    cards: Sequence[Card]
    reading: str = ""
    clip: tuple[float, float] = CLIP
    summary: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    failures: Sequence[tuple[str, str]] = ()
    omitted: int = 0


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Write the page, whole or not at all.

    Args:
        path: where to; a file that is there is replaced.
        report: what it says.
    """
    write_whole(Path(path), render_report(report).encode("utf-8"))


def render_report(report: Report) -> str:
    """Render the page.

    The page loads nothing: pictures are data URIs, and its content security policy allows only its own style and
    script, by their hashes.

    Args:
        report: what it says.

    Returns:
        The HTML document, to be stored as UTF-8.
    """
    labels = list(dict.fromkeys(fact.label for card in report.cards for fact in card.facts if fact.value is not None))
    flags = list(dict.fromkeys(flag for card in report.cards for flag in card.flags))
    sorts = (["probability"] if any(card.probability is not None for card in report.cards) else []) + labels
    body = fill(
        template("report.html"),
        flags="".join(
            f'<option value="{i}">{text(flag)} ({sum(flag in card.flags for card in report.cards)})</option>'
            for i, flag in enumerate(flags)
        ),
        flags_hidden="" if flags else " hidden",
        sorts="".join(f'<option value="{i}">{text(label)}</option>' for i, label in enumerate(sorts)),
        cards="".join(_card(card, sorts, flags) for card in report.cards),
        omitted=omitted_note(report.omitted),
        viewer=template("viewer.html"),
    )
    return page(
        title=report.title,
        kicker=report.kicker,
        lead=legend(report.reading, report.clip),
        body=body,
        styles=["report.css"],
        scripts=["overlay.js", "report.js"],
        style_values={"grey": f"{GREY:g}", "darkening": f"{1 - BRIGHTNESS:.2f}"},
        skip_to=("gallery", "Skip to the pictures"),
        summary=report.summary,
        settings=report.settings,
        versions=report.versions,
        failures=report.failures,
    )


def _card(card: Card, sorts: Sequence[str], flags: Sequence[str]) -> str:
    values = {fact.label: fact.value for fact in card.facts} | {"probability": card.probability}
    numbers = [_number(values.get(label)) for label in sorts]
    width, height = card.size
    classes = " ".join(name for name, _ in card.classes)
    return fill(
        template("card.html"),
        values=text(json.dumps(numbers)),
        flags=text(json.dumps([flags.index(flag) for flag in card.flags])),
        search=text(unicodedata.normalize("NFC", f"{card.name} {card.heading} {classes}").lower()),
        photo=data_uri("image/jpeg", card.photo),
        layer=data_uri("image/png", card.layer),
        width=str(width),
        height=str(height),
        heading=text(card.heading),
        value="" if card.probability is None else percent(card.probability),
        bar="" if card.probability is None else bar(card.probability),
        name=text(card.name),
        marks="".join(f'<span class="mark">{text(flag)}</span>' for flag in card.flags),
        classes="".join(
            f"<li{' class=explained' if name == card.heading else ''}><bdi>{text(name)}</bdi> "
            f"<span>{percent(probability)}</span>{bar(probability)}</li>"
            for name, probability in card.classes
        ),
        facts="".join(
            f"<div><dt>{text(fact.label.capitalize())}</dt><dd><bdi>{text(fact.text)}</bdi></dd>"
            + (f'<dd class="note">{text(fact.note)}</dd>' if fact.note else "")
            + "</div>"
            for fact in card.facts
        ),
    )


def legend(reading: str, clip: tuple[float, float]) -> str:
    """Say how heat maps are to be read, as the lead of a page, in HTML.

    Args:
        reading: a sentence or two, any text.
        clip: the percentiles between which the colours run.

    Returns:
        The sentences, and one about the colours, with a sample of them.
    """
    low, high = clip
    colors = (
        '<span class="run">Colours run <span class="legend" role="img" '
        'aria-label="from dark violet over red and orange to pale yellow"></span></span> '
        f"from the {_ordinal(low)} to the {_ordinal(high)} percentile of each picture; "
        "weaker pixels stay clear."
    )
    return f"{text(reading)} {colors}"


def _ordinal(percentile: float) -> str:
    if percentile != int(percentile):
        return f"{percentile:g}th"
    number = int(percentile)
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
