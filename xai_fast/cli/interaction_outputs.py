"""What ``xai-fast taylor-cam`` leaves behind: map, pairs and drawing of each picture, the report, the summary."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from xai_fast.cli.files import Picture, output_file, shown
from xai_fast.cli.job import versions
from xai_fast.cli.pictures import Failure, Prepared
from xai_fast.files import write_whole
from xai_fast.interaction import InteractionMap
from xai_fast.plot import Front, Item, Look, report
from xai_fast.progress import duration
from xai_fast.suites import ImageModel

if TYPE_CHECKING:
    from xai_fast.cli.interactions import InteractionSettings

__all__ = ["InteractionWriter", "Record", "StoredInteractions", "draw", "pairs", "read_stored", "write_stored"]

_PICTURE_INCHES = 6.0
_PICTURE_DPI = 120


@dataclass(frozen=True)
class Record:
    """What is known about an explained picture beside its interactions.

    Attributes:
        item_id: the identity of the picture, from its content.
        fingerprint: a hash of all that its interactions depend on, beside the picture itself.
        target: the class that was explained.
        target_name: the name of it.
        score: f of the picture, in units of the settings' score.
        probability: of the class.
        classes: (number, name, probability) of the strongest classes.
    """

    item_id: int
    fingerprint: str
    target: int
    target_name: str
    score: float
    probability: float
    classes: tuple[tuple[int, str, float], ...]


@dataclass(frozen=True)
class StoredInteractions:
    """A picture's interactions, of one item on the CPU, and its record."""

    interactions: InteractionMap
    record: Record


def write_stored(path: Path, explanation: StoredInteractions) -> None:
    """Store a map; its record is written with the pairs, see `InteractionWriter.add`.

    Args:
        path: where to, ``.npz``, as `InteractionMap.save` writes it.
        explanation: what to store.
    """
    explanation.interactions.save(path)


def read_stored(map_file: Path, pairs_file: Path) -> StoredInteractions | None:
    """Read what an earlier run has written.

    Args:
        map_file: of `write_stored`.
        pairs_file: of `InteractionWriter.add`.

    Returns:
        The interactions, or None if a file is not there, holds something else, or they are not of the same run: then
        they are to be computed anew.
    """
    try:
        values = json.loads(pairs_file.read_text(encoding="utf-8"))
        if values["map_hash"] != _file_hash(map_file):
            return None
        record = values["record"]
        record["classes"] = tuple((int(c), str(name), float(p)) for c, name, p in record["classes"])
        found = InteractionMap.load(map_file)
        return StoredInteractions(found, Record(**record)) if isinstance(found, InteractionMap) else None
    except (OSError, ValueError, KeyError, TypeError):  # InputError is a ValueError
        return None


def pairs(interactions: InteractionMap, k: int) -> list[dict[str, Any]]:
    """Give the strongest interactions of a picture as JSON can hold them.

    Args:
        interactions: of one item, with a geometry.
        k: how many.

    Returns:
        For each: "cells", (row, column) from 0; "boxes", (x0, y0, x1, y1) in pixels of the model's input; "saliency";
        "share", of the strongest one; and "sums", the signed S with x at each of the cells, where they were kept.
    """
    found = interactions.top_k(k)[0]
    boxes = interactions.boxes(k)[0]
    result = []
    for one, corners in zip(found, boxes, strict=True):
        entry: dict[str, Any] = {
            "cells": [list(cell) for cell in one.cells],
            "boxes": [list(box) for box in corners],
            "saliency": one.saliency,
            "share": one.saliency / found[0].saliency,
        }
        if interactions.sums is not None:
            index = [int(np.ravel_multi_index(cell, interactions.grid)) for cell in one.cells]
            orders = [(0, first, *(other for other in index if other != first)) for first in index]
            entry["sums"] = [float(interactions.sums[order]) for order in orders]
        result.append(entry)
    return result


def draw(prepared: Prepared, interactions: InteractionMap, k: int) -> bytes:
    """Draw the strongest interactions over a picture.

    Args:
        prepared: the picture.
        interactions: of one item, with a geometry.
        k: how many are drawn; of order 1, where nothing is joined, the salience is laid over the picture.

    Returns:
        PNG.
    """
    from matplotlib.figure import Figure  # no pyplot: it would keep every figure

    from xai_fast.plot.interactions import show_interactions, show_marginal

    with Image.open(io.BytesIO(prepared.photo)) as photo:
        rgb = np.asarray(photo.convert("RGB"))
    height = _PICTURE_INCHES * rgb.shape[0] / rgb.shape[1]
    figure = Figure(figsize=(_PICTURE_INCHES, height), dpi=_PICTURE_DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    if interactions.order == 1:
        show_marginal(ax, rgb, interactions)
    else:
        show_interactions(ax, rgb, interactions, k=k)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


class InteractionWriter:
    """Writes the results of a run into a folder, picture by picture; of the pictures it keeps small copies only.

    Args:
        out: the folder.
        settings: the options of the run.
        image_model: the model that was explained.
        method: the options of the method, by name.
        more: further items for the report.
    """

    def __init__(
        self,
        out: Path,
        settings: InteractionSettings,
        image_model: ImageModel,
        method: dict[str, object],
        more: Sequence[Item] = (),
    ) -> None:
        self.out = out
        self.settings = settings
        self.image_model = image_model
        self.method = method
        self.failures: list[Failure] = []
        self._more = more
        self._views: list[Item] = []
        self._items: list[dict[str, Any]] = []

    def map_file(self, picture: Picture) -> Path:
        """Give the path of a picture's map."""
        return output_file(self.out / "maps", picture.name, ".npz")

    def pairs_file(self, picture: Picture) -> Path:
        """Give the path of a picture's pairs."""
        return output_file(self.out / "pairs", picture.name, ".json")

    def drawing_file(self, picture: Picture) -> Path:
        """Give the path of a picture's drawing."""
        return output_file(self.out / "pictures", picture.name, ".png")

    def add(self, prepared: Prepared, explanation: StoredInteractions) -> None:
        """Write the pairs and the drawing of a picture, and remember what the report says about it.

        Args:
            prepared: the picture.
            explanation: its interactions, which are stored already, and its record.
        """
        picture, interactions = prepared.picture, explanation.interactions
        files = {
            "map": self.map_file(picture),
            "pairs": self.pairs_file(picture),
            "drawing": self.drawing_file(picture),
        }
        names = {kind: shown(path.relative_to(self.out).as_posix()) for kind, path in files.items()}
        found = pairs(interactions, self.settings.top_k)
        content = {
            "name": shown(picture.name),
            "label": picture.label,
            "layer": interactions.layer,
            "order": interactions.order,
            "scope": interactions.scope,
            "remedy": interactions.remedy,
            "grid": interactions.grid,
            "input": self.image_model.size,
            **names,
            "interactions": found,
            "record": asdict(explanation.record),
            "map_hash": _file_hash(files["map"]),
        }
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        write_whole(files["drawing"], draw(prepared, interactions, self.settings.top_k))
        write_whole(files["pairs"], text.encode("utf-8"))
        about = {"name": shown(picture.name), "label": picture.label, **names, **asdict(explanation.record)}
        self._items.append({**about, "strongest": found[0]})
        if len(self._views) < self.settings.max_cards:
            self._views.append(self._view(prepared, explanation))

    def finish(self, seconds: float) -> Path:
        """Write the report and the summary.

        Args:
            seconds: how long the run took.

        Returns:
            The path of the report.
        """
        number = len(self._items)
        settings = {**self.method, "model": self.settings.model, "target": self.settings.target or "predicted class"}
        omitted = number - len(self._views)
        front = Front(
            title=f"{number:,} picture{'' if number == 1 else 's'} explained" if number else "No picture explained",
            kicker=f"Taylor-CAM · {self.image_model.name}",
            reading=self._reading(),
            summary={"pictures": f"{number:,}", "time": duration(seconds)},
            settings=settings,
            versions=versions(),
            notes=[f"{omitted:,} more pictures were explained and left out here."] if omitted else [],
            run="taylor-cam",
        )
        failed = [Item(failure.name, status="failed", error=failure.reason) for failure in self.failures]
        items = [*self._views, *self._more, *failed]
        path = report(items, self.out, front=front, look=Look(top_k=self.settings.top_k))
        content = {
            "settings": {**asdict(self.settings), "method": self.method},
            "versions": versions(),
            "seconds": round(seconds, 3),
            "explained": number,
            "failed": len(self.failures),
            "items": self._items,
            "failures": [asdict(failure) for failure in self.failures],
        }
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        write_whole(self.out / "summary.json", text.encode("utf-8"))
        return path

    def _view(self, prepared: Prepared, explanation: StoredInteractions) -> Item:
        record, label = explanation.record, prepared.picture.label
        return Item(
            shown(prepared.picture.name),
            {"taylor_cam": explanation.interactions},
            prepared.photo,
            record.target_name,
            classes=[(name, p) for _, name, p in record.classes],
            facts={"predicted class is not the label": label is not None and record.classes[0][0] != label},
            notes={} if label is None else {"label": self.image_model.class_name(label)},
        )

    def _reading(self) -> str:
        score = self.settings.score.replace("_", " ")
        what = "cells that matter most to" if self.settings.order == 1 else "cells that act together on"
        return (
            f"Boxes mark the {what} the {score} of the class named beside each picture. Point at a cell to see its "
            "partners."
        )


def _file_hash(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
