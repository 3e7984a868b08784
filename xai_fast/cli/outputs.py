"""What a run leaves behind: a map and an overlay a picture, the report, the summary."""

from __future__ import annotations

import io
import json
import math
import statistics
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from xai_fast.attribution.neflag import FluxExplanation
from xai_fast.cli.explainer import Explanation, Record, Settings
from xai_fast.cli.files import Picture, output_file, shown
from xai_fast.cli.job import versions
from xai_fast.cli.pictures import Failure, encoded
from xai_fast.files import write_whole
from xai_fast.plot import Front, Item, Look, overlay, report
from xai_fast.progress import duration
from xai_fast.suites import ImageModel

__all__ = ["Finished", "Writer", "read_map", "write_map"]


@dataclass(frozen=True)
class Finished:
    """A picture that was explained."""

    picture: Picture
    record: Record


def write_map(path: Path, explanation: Explanation) -> None:
    """Store a map, lossless, together with its record.

    Args:
        path: where to, ``.npz``: "attribution" (3, H, W) float32 and "record", JSON text.
        explanation: what to store.
    """
    stored = io.BytesIO()
    np.savez(stored, attribution=explanation.attribution, record=np.array(explanation.record.to_json()))
    write_whole(path, stored.getvalue())


def read_map(path: Path) -> Explanation | None:
    """Read what `write_map` wrote.

    Args:
        path: the file.

    Returns:
        The explanation, or None if the file is not there or holds something else: then it is to be computed anew.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Explanation(stored["attribution"], Record.from_json(str(stored["record"])))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


class Writer:
    """Writes the results of a run into a folder, picture by picture; of the pictures it keeps small copies only.

    Args:
        out: the folder.
        settings: the options of the run.
        image_model: the model that was explained.
        method: the options of the method, by name.
    """

    def __init__(self, out: Path, settings: Settings, image_model: ImageModel, method: dict[str, object]) -> None:
        self.out = out
        self.settings = settings
        self.image_model = image_model
        self.method = method
        self.finished: list[Finished] = []
        self.failures: list[Failure] = []
        self._items: list[Item] = []

    def map_file(self, picture: Picture) -> Path:
        """Give the path of a picture's map."""
        return output_file(self.out / "maps", picture.name, ".npz")

    def overlay_file(self, picture: Picture) -> Path:
        """Give the path of a picture's overlay."""
        return output_file(self.out / "overlays", picture.name, ".png")

    def add(self, picture: Picture, explanation: Explanation, rgb: NDArray[np.uint8], photo: bytes) -> None:
        """Write the overlay of a picture, and remember what the report says about it.

        Args:
            picture: which one.
            explanation: its map and record.
            rgb: (H, W, 3) uint8, what the model saw.
            photo: JPEG of the same part of the picture, for the report.
        """
        ranking, clip, smooth = self.settings.ranking, self.settings.clip, self.settings.smooth
        drawn = Image.fromarray(overlay(rgb, explanation.attribution, ranking=ranking, clip=clip, smooth=smooth))
        write_whole(self.overlay_file(picture), encoded(drawn, "PNG"))
        self.finished.append(Finished(picture, explanation.record))
        if len(self._items) < self.settings.max_cards:
            self._items.append(self._item(picture, explanation, photo))

    def finish(self, seconds: float) -> Path:
        """Write the report and the summary.

        Args:
            seconds: how long the run took.

        Returns:
            The path of the report.
        """
        settings = {**self.method, "model": self.settings.model, "target": self.settings.target or "predicted class"}
        settings |= {name: getattr(self.settings, name) for name in ("ranking", "smooth")}
        settings["clip"] = f"{self.settings.clip[0]:g} to {self.settings.clip[1]:g} %"
        number = len(self.finished)
        omitted = number - len(self._items)
        front = Front(
            title=f"{number:,} picture{'' if number == 1 else 's'} explained" if number else "No picture explained",
            kicker=f"NeFLAG · {self.image_model.name}",
            reading=self._reading(),
            summary=self._totals(seconds),
            settings=settings,
            versions=versions(),
            notes=[f"{omitted:,} more pictures were explained and left out here."] if omitted else [],
            run="neflag",
        )
        failed = [Item(failure.name, status="failed", error=failure.reason) for failure in self.failures]
        ranking, clip, smooth = self.settings.ranking, self.settings.clip, self.settings.smooth
        path = report([*self._items, *failed], self.out, front=front, look=Look(ranking, clip, smooth))
        write_whole(self.out / "summary.json", self._summary(seconds).encode("utf-8"))
        return path

    def _item(self, picture: Picture, explanation: Explanation, photo: bytes) -> Item:
        record = explanation.record
        error = record.relative_standard_error
        found = FluxExplanation(
            attributions=torch.from_numpy(explanation.attribution)[None],
            scores=torch.tensor([record.score]),
            evaluations=torch.tensor([record.evaluations]),
            facts={"no_negative_flux": torch.tensor([record.negative_points == 0])},
            relative_standard_error=torch.tensor([math.nan if error is None else error]),
            negative_points=torch.tensor([record.negative_points]),
        )
        label = picture.label
        return Item(
            shown(picture.name),
            {"neflag": found},
            photo,
            record.target_name,
            classes=[(name, p) for _, name, p in record.classes],
            facts={"predicted class is not the label": label is not None and record.classes[0][0] != label},
            notes={} if label is None else {"label": self.image_model.class_name(label)},
        )

    def _reading(self) -> str:
        which = "predicted class" if self.settings.target is None else "class"
        score = self.settings.score.replace("_", " ")
        return (
            f"Bright pixels are those on which the {score} of the {which} depends most; "
            "the class is named below each picture."
        )

    def _totals(self, seconds: float) -> dict[str, str]:
        records = [done.record for done in self.finished]
        errors = [r.relative_standard_error for r in records if r.relative_standard_error is not None]
        totals = {"pictures": f"{len(records):,}"}
        if errors:
            totals["median relative standard error"] = f"{100 * statistics.median(errors):.0f}\u202f%"
        if records and self.settings.tolerance is None:
            share = sum(r.negative_points for r in records) / (len(records) * self.settings.points)
            totals["points with negative flux"] = f"{100 * share:.0f}\u202f%"
        totals["gradient evaluations"] = f"{sum(r.evaluations for r in records):,}"
        totals["time"] = duration(seconds)
        return totals

    def _summary(self, seconds: float) -> str:
        items = [
            {
                "name": shown(done.picture.name),
                "label": done.picture.label,
                "map": shown(self.map_file(done.picture).relative_to(self.out).as_posix()),
                "overlay": shown(self.overlay_file(done.picture).relative_to(self.out).as_posix()),
                **asdict(done.record),
            }
            for done in self.finished
        ]
        content = {
            "settings": {**asdict(self.settings), "method": self.method},
            "versions": versions(),
            "seconds": round(seconds, 3),
            "explained": len(items),
            "failed": len(self.failures),
            "items": items,
            "failures": [asdict(failure) for failure in self.failures],
        }
        return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
