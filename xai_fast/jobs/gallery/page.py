"""The page of the gallery, and the scripts that bring its data.

A page that is opened from a disk may load nothing but scripts, so each piece of data is one: a call of ``xaiFast`` with
the name of the piece and its content. All text is put on the page as text, never as HTML.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xai_fast.jobs.gallery.catalog import NO_CLASS, STATUSES, Catalog
from xai_fast.jobs.gallery.entries import Entry, shown_name
from xai_fast.jobs.gallery.pairs import SHOWN
from xai_fast.jobs.observe import JobStatus
from xai_fast.jobs.observe.summary import items_text, memory_text, rate_text
from xai_fast.plot.heatmap import BRIGHTNESS, CLIP, GREY
from xai_fast.plot.page import fill, page, template, text
from xai_fast.plot.report import legend
from xai_fast.progress import duration

__all__ = ["chunk_name", "chunk_script", "gallery_page", "index_script", "names_script"]

_READING = "Bright is what the explained score depends on most."
_PAIRS = (
    f"Frames are cells of the layer's map, and lines join those that matter together: the {SHOWN} strongest "
    "interactions, orange, blue and yellow in this order."
)
_BARS = "Bars are the numbers of each item, up where they are positive and down where they are negative."


def gallery_page(catalog: Catalog, status: JobStatus, *, proportions: float, warning: str = "", note: str = "") -> str:
    """Render the page.

    Args:
        catalog: the items.
        status: of the job.
        proportions: width over height of the pictures.
        warning: a sentence about pictures that are missing, or "".
        note: a sentence or two for the foot of the page, or "".

    Returns:
        The HTML document; it loads ``shards/*.js`` from beside it.
    """
    spec = catalog.document["spec"]
    label = (catalog.score or "score").capitalize()
    shape = f"{min(max(proportions, 0.2), 5.0):.4f}"
    # Heat needs a picture without colours of its own; frames and lines do not.
    grey, darkening = (0.0, 0.0) if catalog.draws_pairs else (GREY, 1 - BRIGHTNESS)
    return page(
        title=f"{items_text(status.done - status.failed)} explained",
        kicker=" \u00b7 ".join([_explainers(spec), *_model(spec)]),
        lead=_lead(catalog, warning),
        body=fill(
            template("gallery.html"),
            score=text(label),
            omitted=f'<p class="omitted">{text(note)}</p>' if note else "",
            viewer=template("viewer.html"),
        ),
        styles=["report.css", "gallery.css"],
        scripts=["overlay.js", "gallery.js"],
        style_values={"grey": f"{grey:g}", "darkening": f"{darkening:.2f}", "proportions": shape},
        skip_to=("gallery", "Skip to the items"),
        summary=_summary(status),
        settings={name: _plain(value) for name, value in spec.items()},
        versions=catalog.versions(),
        failures=(),
        beside=True,
    )


def index_script(
    catalog: Catalog, span: range, chunk: int, class_names: Sequence[str] = (), *, large: bool = False
) -> bytes:
    """Write the numbers of the items that are shown.

    Args:
        catalog: the items.
        span: indices of those that are shown.
        chunk: items a script of pictures.
        class_names: by the number of the class; beyond them a class is called by its number.
        large: whether there are scripts of larger pictures, too.

    Returns:
        The script "index".
    """
    columns = catalog.columns(span)
    score = columns.score
    in_shares = score is not None and _within(columns.numbers[score], 0.0, 1.0)
    names = [class_names[c] if 0 <= c < len(class_names) else f"class {c}" for c in columns.class_numbers]
    classes = None
    if columns.classes is not None:
        classes = {"names": [shown_name(name) for name in names], "none": NO_CLASS, "values": _packed(columns.classes)}
    content = {
        "first": span.start,
        "count": len(span),
        "chunk": chunk,
        "large": large,
        "range": catalog.items.numbered,
        "statuses": STATUSES,
        "ok": 0,
        "status": _packed(columns.statuses),
        "classes": classes,
        "numbers": [{"label": name, "values": _packed(values)} for name, values in columns.numbers.items()],
        "score": None if score is None else list(columns.numbers).index(score),
        "share": in_shares,
    }
    return _script("index", content)


def names_script(catalog: Catalog, span: range) -> bytes:
    """Write the names of the items that are shown, for who searches.

    Args:
        catalog: the items.
        span: indices of those that are shown.

    Returns:
        The script "names".
    """
    return _script("names", [shown_name(catalog.items.id(index)) for index in span])


def chunk_name(number: int) -> str:
    """Give the name of a script of pictures."""
    return f"{number:06d}"


def chunk_script(number: int, entries: Sequence[Entry], *, large: bool = False) -> bytes:
    """Write some entries.

    Args:
        number: of the chunk.
        entries: of its items.
        large: whether these are the larger pictures.

    Returns:
        The script.
    """
    return _script(chunk_name(number) + ("-large" if large else ""), entries)


def _lead(catalog: Catalog, warning: str) -> str:
    if catalog.map_field is None:
        lists = any(len(one.shape) == 1 for one in catalog.fields.values())
        return text(" ".join(filter(None, [_BARS if lists else "", warning])))
    if catalog.draws_pairs:
        return text(" ".join(filter(None, [_PAIRS, warning])))
    drawn = "" if catalog.map_field == "attributions" else f" The maps are those of {catalog.map_field}."
    return legend(" ".join(filter(None, [_READING + drawn, warning])), CLIP)


def _script(name: str, content: Any) -> bytes:
    # Letters beyond ASCII are escaped, so neither the encoding nor a line separator can end a text early.
    data = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return f"xaiFast({json.dumps(name)},{data});\n".encode("ascii")


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()).decode(
        "ascii"
    )


def _within(values: NDArray[np.float32], low: float, high: float) -> bool:
    known = values[~np.isnan(values)]
    return bool(len(known)) and bool(((known >= low) & (known <= high)).all())


def _summary(status: JobStatus) -> dict[str, str]:
    summary = {"items": f"{status.items:,}"}
    if not status.complete:
        summary["done"] = f"{status.done:,}"
    if status.failed:
        summary["failed"] = f"{status.failed:,}"
    if status.throughput is not None:
        summary["items a second"] = rate_text(status.throughput)
        summary["gradient evaluations"] = f"{status.evaluations:,}"
        summary["time of workers"] = duration(status.seconds["total"])
    if status.peak_memory:
        summary["peak memory"] = memory_text(status.peak_memory)
    return summary


def _explainers(spec: Mapping[str, Any]) -> str:
    found = spec.get("explainer")
    entries = found if isinstance(found, list) else [found]
    return ", ".join(str(entry.get("name")) if isinstance(entry, dict) else str(entry) for entry in entries)


def _model(spec: Mapping[str, Any]) -> list[str]:
    model = spec.get("model")
    return [str(model.get("reference"))] if isinstance(model, dict) else []


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    written = json.dumps(value)
    return written if len(written) <= 500 else written[:500] + " ..."
