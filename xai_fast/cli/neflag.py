"""``xai-fast neflag``: maps and overlays of pictures, and a report about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from xai_fast.cli import job
from xai_fast.cli.explainer import Explainer, Explanation, Settings
from xai_fast.cli.files import Picture
from xai_fast.cli.outputs import Writer, read_map, write_map
from xai_fast.cli.pictures import Failure, Prepared
from xai_fast.errors import ModelError

__all__ = ["Settings", "run"]

_BATCHES_A_CALL = 8


def run(pictures: Sequence[Picture], settings: Settings, out: Path) -> list[Failure]:
    """Explain pictures, and write maps, overlays, report and summary; see `xai_fast.cli.job.run`.

    Args:
        pictures: what to explain.
        settings: the options.
        out: the folder of the results.

    Returns:
        The pictures that could not be read or explained.

    Raises:
        InputError: an option is out of range, or the model cannot be loaded.
        ModelError: the model can explain none of the pictures.
    """
    work = _NeFLAGJob(settings, out)
    out.mkdir(parents=True, exist_ok=True)
    return job.run(pictures, work)


class _NeFLAGJob(job.Job[Explanation]):
    def __init__(self, settings: Settings, out: Path) -> None:
        self.explainer = Explainer(settings)
        classifier = self.explainer.classifier
        self.image_model = classifier.image_model
        self.writer = Writer(out, settings, self.image_model, self.explainer.method.settings)
        self.failures = self.writer.failures
        # Enough (picture, point) pairs in a call to keep its batches full, few enough pictures for a bar that moves.
        self.group_size = max(1, math.ceil(_BATCHES_A_CALL * classifier.rows / settings.points))

    def stored(self, picture: Picture, item_id: int) -> Explanation | None:
        found = None if self.explainer.settings.overwrite else read_map(self.writer.map_file(picture))
        if found and (found.record.item_id, found.record.fingerprint) != (item_id, self.explainer.fingerprint):
            return None
        return found

    def explain(self, inputs: Tensor, item_ids: Sequence[int]) -> list[Explanation | ModelError]:
        return self.explainer.explain(inputs, item_ids)

    def store(self, picture: Picture, explanation: Explanation) -> None:
        write_map(self.writer.map_file(picture), explanation)

    def show(self, prepared: Prepared, explanation: Explanation) -> None:
        self.writer.add(prepared.picture, explanation, prepared.rgb, prepared.photo)

    def finish(self, seconds: float) -> Path:
        return self.writer.finish(seconds)
