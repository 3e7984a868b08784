"""One self-contained HTML page about many explained pictures."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xai_fast.files import write_whole
from xai_fast.plot.colormap import COLORS, colormap
from xai_fast.plot.heatmap import BRIGHTNESS, CLIP, GREY

__all__ = ["Card", "Fact", "Report", "render_report", "write_report"]

_GRADIENT_STOPS = 13


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
    from xai_fast import __version__

    labels = list(dict.fromkeys(fact.label for card in report.cards for fact in card.facts if fact.value is not None))
    flags = list(dict.fromkeys(flag for card in report.cards for flag in card.flags))
    style = _fill(_template("report.css"), gradient=_gradient(), grey=f"{GREY:g}", darkening=f"{1 - BRIGHTNESS:.2f}")
    script = _template("report.js")
    sorts = (["probability"] if any(card.probability is not None for card in report.cards) else []) + labels
    return _fill(
        _template("report.html"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        version=_text(__version__),
        title=_text(report.title),
        kicker=_text(report.kicker),
        lead=_lead(report),
        summary=_pairs(report.summary),
        notice=_notice(report.failures),
        flags="".join(
            f'<option value="{i}">{_text(flag)} ({sum(flag in card.flags for card in report.cards)})</option>'
            for i, flag in enumerate(flags)
        ),
        flags_hidden="" if flags else " hidden",
        sorts="".join(f'<option value="{i}">{_text(label)}</option>' for i, label in enumerate(sorts)),
        cards="".join(_card(card, sorts, flags) for card in report.cards),
        omitted=_omitted(report),
        failures=_failures(report.failures),
        settings=_pairs({name.replace("_", " "): _setting(value) for name, value in report.settings.items()}),
        versions=_pairs(report.versions),
    )


def _card(card: Card, sorts: Sequence[str], flags: Sequence[str]) -> str:
    values = {fact.label: fact.value for fact in card.facts} | {"probability": card.probability}
    numbers = [_number(values.get(label)) for label in sorts]
    width, height = card.size
    classes = " ".join(name for name, _ in card.classes)
    return _fill(
        _template("card.html"),
        values=_text(json.dumps(numbers)),
        flags=_text(json.dumps([flags.index(flag) for flag in card.flags])),
        search=_text(unicodedata.normalize("NFC", f"{card.name} {card.heading} {classes}").lower()),
        photo=_data_uri("image/jpeg", card.photo),
        layer=_data_uri("image/png", card.layer),
        width=str(width),
        height=str(height),
        heading=_text(card.heading),
        value="" if card.probability is None else _percent(card.probability),
        bar="" if card.probability is None else _bar(card.probability),
        name=_text(card.name),
        marks="".join(f'<span class="mark">{_text(flag)}</span>' for flag in card.flags),
        classes="".join(
            f"<li{' class=explained' if name == card.heading else ''}><bdi>{_text(name)}</bdi> "
            f"<span>{_percent(probability)}</span>{_bar(probability)}</li>"
            for name, probability in card.classes
        ),
        facts="".join(
            f"<div><dt>{_text(fact.label.capitalize())}</dt><dd><bdi>{_text(fact.text)}</bdi></dd>"
            + (f'<dd class="note">{_text(fact.note)}</dd>' if fact.note else "")
            + "</div>"
            for fact in card.facts
        ),
    )


def _lead(report: Report) -> str:
    low, high = report.clip
    legend = (
        '<span class="run">Colours run <span class="legend" role="img" '
        'aria-label="from dark violet over red and orange to pale yellow"></span></span> '
        f"from the {_ordinal(low)} to the {_ordinal(high)} percentile of each picture; "
        "weaker pixels stay clear."
    )
    return f"{_text(report.reading)} {legend}"


def _notice(failures: Sequence[tuple[str, str]]) -> str:
    if not failures:
        return ""
    files = "1 file is" if len(failures) == 1 else f"{len(failures)} files are"
    return f'<p class="notice">{files} missing here: <a href="#failures">see why</a></p>'


def _failures(failures: Sequence[tuple[str, str]]) -> str:
    if not failures:
        return ""
    rows = "".join(f"<li><bdi>{_text(name)}</bdi> <span>{_text(reason)}</span></li>" for name, reason in failures)
    heading = f"Files that are missing ({len(failures)})"
    return f'<details id="failures" open><summary>{heading}</summary><ul class="failed">{rows}</ul></details>'


def _omitted(report: Report) -> str:
    if not report.omitted:
        return ""
    more = "1 more picture was" if report.omitted == 1 else f"{report.omitted:,} more pictures were"
    return f'<p class="omitted">{more} explained and left out here to keep the page small.</p>'


def _pairs(pairs: Mapping[str, str]) -> str:
    return "".join(f"<div><dt>{_text(k)}</dt><dd><bdi>{_text(v)}</bdi></dd></div>" for k, v in pairs.items())


def _bar(share: float) -> str:
    # The width is an attribute: an inline style would not pass the content security policy.
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return (
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width}" height="4"/></svg>'
    )


def _percent(share: float) -> str:
    if 0 < share < 0.001:
        return "&lt; 0.1\u202f%"
    return f"{100 * share:.1f}\u202f%" if share < 0.1 or 0.99 <= share < 1 else f"{100 * share:.0f}\u202f%"


def _ordinal(percentile: float) -> str:
    if percentile != int(percentile):
        return f"{percentile:g}th"
    number = int(percentile)
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _setting(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _gradient() -> str:
    stops = [colormap()[i * (COLORS - 1) // (_GRADIENT_STOPS - 1)] for i in range(_GRADIENT_STOPS)]
    return ", ".join("#{:02x}{:02x}{:02x}".format(*color) for color in stops)


def _text(text: str) -> str:
    """Escape text for element content and quoted attributes; what cannot be shown or stored is marked by U+FFFD."""
    shown = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)
    return html.escape(shown, quote=True)


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _template(name: str) -> str:
    folder = importlib.resources.files("xai_fast.plot") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def _fill(template: str, **values: str) -> str:
    """Put values into ``{{name}}``, once: what looks like a placeholder inside a value is left as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
