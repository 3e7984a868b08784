"""What all HTML pages share: one self-contained document, its frame, and text that is never read as HTML."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import re
import unicodedata
from collections.abc import Mapping, Sequence

from xai_fast.plot.colormap import COLORS, colormap

__all__ = ["bar", "data_uri", "failure_list", "fill", "omitted_note", "page", "pairs", "percent", "template", "text"]

_GRADIENT_STOPS = 13
_LOADS_NOTHING = "This page is self-contained: it loads nothing and sends nothing."
_LOADS_BESIDE = "This page loads its pictures from the folder beside it, and sends nothing."
# From a disk, some browsers take no file for a part of the page itself.
_BESIDE = " 'self' file:"


def page(
    *,
    title: str,
    kicker: str,
    lead: str,
    body: str,
    styles: Sequence[str],
    scripts: Sequence[str],
    style_values: Mapping[str, str] | None = None,
    skip_to: tuple[str, str],
    summary: Mapping[str, str],
    settings: Mapping[str, object],
    versions: Mapping[str, str],
    failures: Sequence[tuple[str, str]],
    beside: bool = False,
) -> str:
    """Render a document: its content security policy allows only its own style and script, by hash.

    Args:
        title: the heading, any text.
        kicker: a line above it, any text.
        lead: HTML below the heading.
        body: HTML between head and foot.
        styles: names of style sheets among the templates, which follow the common one.
        scripts: names of scripts among the templates, which follow the common one.
        style_values: what to put into the style sheets.
        skip_to: identity of the main part, and the text of the link that leads keyboards there.
        summary: labels and numbers at the top.
        settings: the options of the run.
        versions: of what produced it.
        failures: names and reasons of files that are missing on the page.
        beside: it loads more scripts, from the folder that it is in; else it loads nothing.

    Returns:
        The HTML document, to be stored as UTF-8.
    """
    from xai_fast import __version__

    values = {"gradient": _gradient(), **(style_values or {})}
    style = "".join(fill(template(name), **values) for name in ("page.css", *styles))
    script = "".join(template(name) for name in ("page.js", *scripts))
    return fill(
        template("page.html"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        more_scripts=_BESIDE if beside else "",
        closing=_LOADS_BESIDE if beside else _LOADS_NOTHING,
        version=text(__version__),
        title=text(title),
        kicker=text(kicker),
        lead=lead,
        body=body,
        skip_target=text(skip_to[0]),
        skip_text=text(skip_to[1]),
        summary=pairs(summary),
        notice=_notice(failures),
        failures=failure_list(failures),
        settings=pairs({name.replace("_", " "): _setting(value) for name, value in settings.items()}),
        versions=pairs(versions),
    )


def text(value: str) -> str:
    """Escape text for element content and quoted attributes; what cannot be shown or stored is marked by U+FFFD."""
    shown = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in value)
    return html.escape(shown, quote=True)


def pairs(values: Mapping[str, str]) -> str:
    """Give labels and texts as the entries of a ``dl``."""
    return "".join(f"<div><dt>{text(k)}</dt><dd><bdi>{text(v)}</bdi></dd></div>" for k, v in values.items())


def percent(share: float) -> str:
    """Give a share from 0 to 1 as a percentage, in HTML."""
    if 0 < share < 0.001:
        return "&lt; 0.1\u202f%"
    if 0.9995 <= share < 1:
        return "&gt; 99.9\u202f%"
    return f"{100 * share:.1f}\u202f%" if share < 0.1 or 0.99 <= share < 1 else f"{100 * share:.0f}\u202f%"


def bar(share: float) -> str:
    """Give a share from 0 to 1 as a thin bar, in HTML."""
    # The width is an attribute: an inline style would not pass the content security policy.
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return (
        '<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width}" height="4"/></svg>'
    )


def failure_list(failures: Sequence[tuple[str, str]]) -> str:
    """Give names and reasons of missing files as a part of the page's foot, or "" where there are none."""
    if not failures:
        return ""
    rows = "".join(f"<li><bdi>{text(name)}</bdi> <span>{text(reason)}</span></li>" for name, reason in failures)
    heading = f"Files that are missing ({len(failures)})"
    return f'<details id="failures" open><summary>{heading}</summary><ul class="failed">{rows}</ul></details>'


def omitted_note(omitted: int) -> str:
    """Say how many pictures were left out, or "" where none was."""
    if not omitted:
        return ""
    more = "1 more picture was" if omitted == 1 else f"{omitted:,} more pictures were"
    return f'<p class="omitted">{more} explained and left out here to keep the page small.</p>'


def data_uri(media_type: str, data: bytes) -> str:
    """Give data as an address that holds them."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def template(name: str) -> str:
    """Read a file of the folder ``templates``."""
    folder = importlib.resources.files("xai_fast.plot") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def fill(pattern: str, **values: str) -> str:
    """Put values into ``{{name}}``, once: what looks like a placeholder inside a value is left as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], pattern)


def _notice(failures: Sequence[tuple[str, str]]) -> str:
    if not failures:
        return ""
    files = "1 file is" if len(failures) == 1 else f"{len(failures)} files are"
    return f'<p class="notice">{files} missing here: <a href="#failures">see why</a></p>'


def _setting(value: object) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _gradient() -> str:
    stops = [colormap()[i * (COLORS - 1) // (_GRADIENT_STOPS - 1)] for i in range(_GRADIENT_STOPS)]
    return ", ".join("#{:02x}{:02x}{:02x}".format(*color) for color in stops)


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
