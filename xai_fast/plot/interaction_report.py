"""One self-contained HTML page on which a reader points at a cell and sees its partners."""

from __future__ import annotations

import base64
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import InputError, bad_argument
from xai_fast.files import write_whole
from xai_fast.interaction.geometry import AxisGeometry, CellGeometry
from xai_fast.interaction.interaction_map import Interaction, InteractionMap
from xai_fast.plot.colormap import COLORS, colormap
from xai_fast.plot.heatmap import BRIGHTNESS, GREY
from xai_fast.plot.interactions import PAIR_COLORS
from xai_fast.plot.page import bar, data_uri, fill, omitted_note, page, percent, template, text
from xai_fast.plot.report import Fact

__all__ = ["InteractionReport", "InteractionView", "render_interaction_report", "write_interaction_report"]

_STATIONS = 33
_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


@dataclass(frozen=True)
class InteractionView:
    """A picture on the page, with its interactions.

    Attributes:
        name: of the file or scene, any text.
        heading: the class that was explained, or the answer.
        photo: PNG, JPEG or WebP of the model's input, or of the same part of the world at any resolution.
        size: (width, height) of the photo in pixels.
        interactions: of this one item, with a geometry.
        question: a line above the picture, or "".
        probability: of the explained class, 0 to 1, or None.
        classes: the strongest predicted classes with their probabilities, the strongest first.
        facts: what else is to be known.
        flags: short warnings such as "no interaction".
        group: the heading under which the page lists the picture, or "".

    Raises:
        InputError: there is more than one item, no geometry with two axes, or the photo is of another kind.
    """

    name: str
    heading: str
    photo: bytes
    size: tuple[int, int]
    interactions: InteractionMap
    question: str = ""
    probability: float | None = None
    classes: Sequence[tuple[str, float]] = ()
    facts: Sequence[Fact] = ()
    flags: Sequence[str] = ()
    group: str = ""

    def __post_init__(self) -> None:
        if len(self.interactions) != 1:
            raise bad_argument("interactions", "those of one item", f"{len(self.interactions)} items")
        _axes(self.interactions)
        _media_type(self.photo)


@dataclass(frozen=True)
class InteractionReport:
    """What the page says. All text is escaped; none of it is read as HTML.

    Attributes:
        title: the heading.
        kicker: a line above it: method and model.
        views: the pictures, in the order of the page; those of a group follow one another.
        reading: how to read the pictures, a sentence or two.
        top_k: interactions that are listed and drawn for each picture, at least 1.
        summary: labels and numbers at the top.
        settings: the options of the run.
        versions: of what produced it.
        failures: names and reasons of files that are missing on the page.
        omitted: pictures that were explained but left out to keep the page small.

    Raises:
        InputError: top_k is out of range.
    """

    title: str
    kicker: str
    views: Sequence[InteractionView]
    reading: str = ""
    top_k: int = 4
    summary: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    failures: Sequence[tuple[str, str]] = ()
    omitted: int = 0

    def __post_init__(self) -> None:
        check_integer("top_k", self.top_k, 1)


def write_interaction_report(path: str | os.PathLike[str], report: InteractionReport) -> None:
    """Write the page, whole or not at all.

    Args:
        path: where to; a file that is there is replaced.
        report: what it says.
    """
    write_whole(Path(path), render_interaction_report(report).encode("utf-8"))


def render_interaction_report(report: InteractionReport) -> str:
    """Render the page; like that of `render_report`, it loads nothing.

    Args:
        report: what it says.

    Returns:
        The HTML document, to be stored as UTF-8.
    """
    groups = "".join(
        fill(
            template("interaction_group.html"),
            heading=text(name or "Pictures"),
            views="".join(_thumbnail(view, report.top_k) for view in views),
        )
        for name, views in itertools.groupby(report.views, key=lambda view: view.group)
    )
    body = fill(
        template("interactions.html"),
        groups=groups,
        omitted=omitted_note(report.omitted),
        colors=text(json.dumps({"pairs": PAIR_COLORS, "heat": _heat_colors()})),
        nothing="" if report.views else '<p class="nothing">There is no picture to show.</p>',
    )
    return page(
        title=report.title,
        kicker=report.kicker,
        lead=_lead(report),
        body=body,
        styles=["interactions.css"],
        scripts=["interaction_numbers.js", "interactions.js"],
        style_values={"grey": f"{GREY:g}", "brightness": f"{BRIGHTNESS:g}"},
        skip_to=("explorer", "Skip to the picture"),
        summary=report.summary,
        settings=report.settings,
        versions=report.versions,
        failures=report.failures,
    )


def _lead(report: InteractionReport) -> str:
    legend = (
        '<span class="run">Colours run <span class="legend" role="img" '
        'aria-label="from dark violet over red and orange to pale yellow"></span></span> '
        "from no interaction to the strongest one of the picture."
    )
    return f"{text(report.reading)} {legend}"


def _thumbnail(view: InteractionView, top_k: int) -> str:
    width, height = view.size
    return fill(
        template("interaction_card.html"),
        data=text(json.dumps(_data(view, top_k), separators=(",", ":"))),
        photo=data_uri(_media_type(view.photo), view.photo),
        width=str(width),
        height=str(height),
        drawing=_drawing(view.interactions, top_k),
        heading=text(view.heading),
        value="" if view.probability is None else percent(view.probability),
        question=f'<span class="asked"><bdi>{text(view.question)}</bdi></span>' if view.question else "",
        name=text(view.name),
        marks="".join(f'<span class="mark">{text(flag)}</span>' for flag in view.flags),
        classes="".join(
            f"<li{' class=explained' if name == view.heading else ''}><bdi>{text(name)}</bdi> "
            f"<span>{percent(probability)}</span>{bar(probability)}</li>"
            for name, probability in view.classes
        ),
        facts="".join(
            f"<div><dt>{text(fact.label.capitalize())}</dt><dd><bdi>{text(fact.text)}</bdi></dd></div>"
            for fact in view.facts
        ),
    )


def _data(view: InteractionView, top_k: int) -> dict[str, Any]:
    """What the page's script needs: where the cells lie, as shares of the picture, and how strongly they act."""
    interactions = view.interactions.to("cpu")
    rows, columns = _axes(interactions)
    found = interactions.top_k(top_k)[0]
    kind, numbers, scale = _numbers(interactions)
    return {
        "name": view.name,
        "order": interactions.order,
        "rows": _shares(rows),
        "columns": _shares(columns),
        "kind": kind,
        "scale": scale,
        "values": base64.b64encode(numbers.tobytes()).decode("ascii"),
        "top": [
            {
                "cells": [_index(interactions, cell) for cell in one.cells],
                "saliency": one.saliency,
                "share": one.saliency / found[0].saliency,
            }
            for one in found
        ],
    }


def _numbers(interactions: InteractionMap) -> tuple[str, NDArray[Any], float]:
    """Give the numbers of a map in 16 bits: signed sums S_ij, or roots of non-negative strengths, up to the scale."""
    # Roots, because 16 bits of a square would leave weak interactions few of them.
    if interactions.order == 2 and interactions.sums is not None:
        sums = _array(interactions.sums[0])
        scale = float(np.abs(sums).max(initial=0.0))
        return "sums", (sums / (scale or 1.0) * 32767).round().astype("<i2"), scale
    if interactions.order == 1:
        strengths = _array(interactions.saliency[0])
    else:
        cells = [interactions.cell(index) for index in range(interactions.cells)]
        strengths = np.stack([_array(interactions.partners(cell)[0]).ravel() for cell in cells])
    scale = float(np.sqrt(strengths.max(initial=0.0)))
    return "strengths", (np.sqrt(strengths) / (scale or 1.0) * 65535).round().astype("<u2"), scale


def _drawing(interactions: InteractionMap, top_k: int) -> str:
    """Draw the strongest interactions as SVG, for readers without a script and for the overview."""
    rows, columns = _axes(interactions)
    found: list[Interaction] = interactions.top_k(top_k)[0]
    boxes = interactions.boxes(top_k)[0]
    parts = []
    for rank in reversed(range(len(found))):
        strength = found[rank].saliency / found[0].saliency
        middles = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes[rank]]
        lines = [
            f'<line x1="{a[0]:.2f}" y1="{a[1]:.2f}" x2="{b[0]:.2f}" y2="{b[1]:.2f}"/>'
            for a, b in itertools.combinations(middles, 2)
        ]
        frames = [
            f'<rect x="{x0:.2f}" y="{y0:.2f}" width="{x1 - x0:.2f}" height="{y1 - y0:.2f}"/>'
            for x0, y0, x1, y1 in boxes[rank]
        ]
        shape = "".join((*lines, *frames))
        color = PAIR_COLORS[rank % len(PAIR_COLORS)]
        width = 1.25 + 1.75 * strength
        parts.append(f'<g class="edge" stroke-width="{width + 2:.2f}">{shape}</g>')
        parts.append(f'<g stroke="{color}" stroke-width="{width:.2f}">{shape}</g>')
    return (
        f'<svg class="pairs-drawn" viewBox="0 0 {columns.pixels} {rows.pixels}" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


def _axes(interactions: InteractionMap) -> tuple[AxisGeometry, AxisGeometry]:
    geometry: CellGeometry | None = interactions.geometry
    if geometry is None or len(geometry.axes) != 2:
        got = "None" if geometry is None else f"{len(geometry.axes)} axes"
        raise InputError(f"interactions: expected a geometry, which places the cells in the picture, got {got}")
    return geometry.axes[0], geometry.axes[1]


def _index(interactions: InteractionMap, cell: Sequence[int]) -> int:
    return int(np.ravel_multi_index(tuple(cell), interactions.grid))


def _shares(axis: AxisGeometry) -> list[list[float]]:
    return [[round(side / axis.pixels, 5) for side in axis.cell(cell)] for cell in range(axis.cells)]


def _array(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.detach().cpu().double().numpy()
    return array


def _heat_colors() -> list[str]:
    stations = [colormap()[i * (COLORS - 1) // (_STATIONS - 1)] for i in range(_STATIONS)]
    return ["#{:02x}{:02x}{:02x}".format(*color) for color in stations]


def _media_type(photo: bytes) -> str:
    for signature, media_type in _SIGNATURES.items():
        if photo.startswith(signature):
            return media_type
    raise bad_argument("photo", "the content of a PNG, JPEG or WebP file", repr(photo[:8]))
