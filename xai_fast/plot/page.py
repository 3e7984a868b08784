"""What all pages share: the frame, a content security policy, and text that is never read as HTML."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_fast.plot.colormap import COLORS, colormap
from xai_fast.plot.drawing import plain_text
from xai_fast.plot.items import Front

__all__ = ["DATA", "hex_colors", "packed", "page", "plain_json", "run_of", "script"]

DATA = "report-data"
"""The folder beside a page from which it loads its data."""

_GRADIENT_STOPS = 13
_SHOWN_SETTING = 500
_SCALES = {
    "legend": "from dark violet over red and orange to pale yellow",
    "scale signs-scale": "from blue over clear to red",
}


def page(
    front: Front,
    kind: str,
    scripts: Sequence[str],
    *,
    legend: str = "",
    signed: tuple[str, str] | None = None,
    values: Mapping[str, str],
    data: object = None,
) -> bytes:
    """Render a document of the kind "items", "ranking" or "comparison", with a legend of the colours and values."""
    # `values` are for its templates. `data`, if any, is a part of the page, which then loads nothing.
    # `signed` are the reading and the legend that are shown in the place of the others while maps have their signs.
    # The content security policy allows the page's own style and script, by hash, and scripts beside it.
    from xai_fast import __version__

    gradient = ", ".join(hex_colors(colormap(), _GRADIENT_STOPS))
    style = "".join(_fill(_template(name), gradient=gradient, **values) for name in ("page.css", f"{kind}.css"))
    code = "".join(_template(name) for name in ("page.js", *scripts))
    return _fill(
        _template("page.html"),
        style=style,
        style_hash=_hash(style),
        script=code,
        script_hash=_hash(code),
        run=run_of(front),
        data=DATA,
        version=_text(__version__),
        title=_text(front.title),
        kicker=_text(front.kicker),
        lead=_lead(front.reading, legend, "legend", signs=False)
        + (_lead(*signed, "scale signs-scale", signs=True) if signed else ""),
        warning=f'<p class="warning" role="note">{_text(front.warning)}</p>' if front.warning else "",
        body=_template(f"{kind}.html") + ("" if data is None else _embedded(data)),
        source=f"loads its data from the folder {DATA} beside it" if data is None else "holds all its data",
        summary=_pairs(front.summary),
        notes="".join(f'<p class="omitted">{_text(note)}</p>' for note in front.notes),
        settings=_details("Run settings", {n.replace("_", " "): _setting(v) for n, v in front.settings.items()}),
        versions=_details("Versions", front.versions),
    ).encode("utf-8")


def run_of(front: Front) -> str:
    """Give the identity of a run."""
    about = json.dumps([front.kicker, dict(front.settings)], sort_keys=True, default=str)
    return hashlib.sha256((front.run or about).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def script(name: str, content: object) -> bytes:
    """Write a piece of data. A page that is opened from a disk may load nothing but scripts, so each piece is one."""
    # Letters beyond ASCII are escaped, so neither the encoding nor a line separator can end a text early.
    data = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return f"xaiFast({json.dumps(name)},{data});\n".encode("ascii")


def _embedded(data: object) -> str:
    content = json.dumps(plain_json(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="data">{content}</script>'


def packed(values: NDArray[Any]) -> str:
    """Write numbers for the script of a page: little-endian, in base64."""
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")


def plain_json(value: Any) -> Any:
    """Apply `plain_text` to all texts within a value for JSON."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, Mapping):
        return {key: plain_json(entry) for key, entry in value.items()}
    return [plain_json(entry) for entry in value] if isinstance(value, list | tuple) else value


def hex_colors(table: NDArray[np.uint8], count: int) -> list[str]:
    """Give evenly spaced colours of a table as CSS writes them."""
    return ["#{:02x}{:02x}{:02x}".format(*table[i * (COLORS - 1) // (count - 1)]) for i in range(count)]


def _lead(reading: str, legend: str, scale: str, *, signs: bool) -> str:
    colours = f'<span class="{scale}" role="img" aria-label="{_SCALES[scale]}"></span>'
    told = f' <span class="run">Colours run {colours}</span> {_text(legend)}' if legend else ""
    return f'<span data-signs="{str(signs).lower()}"{" hidden" * signs}>{_text(reading)}{told}</span>'


def _text(value: str) -> str:
    return html.escape(plain_text(value), quote=True)


def _pairs(values: Mapping[str, str]) -> str:
    return "".join(f"<div><dt>{_text(k)}</dt><dd><bdi>{_text(v)}</bdi></dd></div>" for k, v in values.items())


def _details(title: str, values: Mapping[str, str]) -> str:
    return f'<details><summary>{title}</summary><dl class="pairs">{_pairs(values)}</dl></details>' if values else ""


def _setting(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or "none"
    if isinstance(value, float):
        return f"{value:g}"
    written = json.dumps(value, default=str)
    return written if len(written) <= _SHOWN_SETTING else f"{written[:_SHOWN_SETTING]} ..."


def _template(name: str) -> str:
    return (importlib.resources.files("xai_fast.plot") / "templates" / name).read_text(encoding="utf-8")


def _fill(pattern: str, **values: str) -> str:
    """Put values into ``{{name}}``, once: what looks like a placeholder inside a value is left as it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], pattern)


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
