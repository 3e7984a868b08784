"""``xai-fast taylor-cam``: pairs of cells that a model relates, drawn over pictures, and a report to explore them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from xai_fast.cli import job
from xai_fast.cli.classifier import Classifier, check_at_least
from xai_fast.cli.files import Picture
from xai_fast.cli.interaction_outputs import InteractionWriter, Record, StoredInteractions, read_stored, write_stored
from xai_fast.cli.layers import chosen_layer
from xai_fast.cli.pictures import Failure, Prepared
from xai_fast.errors import InputError, ModelError, ZeroCurvatureError
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.plot import Item

__all__ = ["InteractionSettings", "run"]

_PICTURES_A_CALL = 8


@dataclass(frozen=True)
class InteractionSettings:
    """The options of a run; the command line's help says what they mean.

    Raises:
        InputError: an option about batches or pictures is out of range.
    """

    model: str = "efficientnet-lite0"
    layer: str | None = None
    target: str | None = None
    order: int = 2
    scope: str = "local"
    score: str = "probability"
    smooth: str | None = None
    method: str = "auto"
    top_k: int = 4
    top_k_classes: int = 5
    max_cards: int = 100
    batch_size: int | None = None
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, {"top_k": 1, "top_k_classes": 1, "max_cards": 0, "batch_size": 1})


def run(
    pictures: Sequence[Picture],
    settings: InteractionSettings,
    out: Path,
    more: Sequence[Item] = (),
) -> list[Failure]:
    """Explain pictures, and write maps, pairs, drawings, report and summary; see `xai_fast.cli.job.run`.

    Args:
        pictures: what to explain.
        settings: the options.
        out: the folder of the results.
        more: further items for the report.

    Returns:
        The pictures that could not be read or explained.

    Raises:
        InputError: an option is out of range, the model cannot be loaded, or the layer does not fit.
        ModelError: the model can explain none of the pictures.
    """
    work = _InteractionJob(settings, out, more)
    out.mkdir(parents=True, exist_ok=True)
    return job.run(pictures, work)


class _InteractionJob(job.Job[StoredInteractions]):
    def __init__(self, settings: InteractionSettings, out: Path, more: Sequence[Item]) -> None:
        self.settings = settings
        self.classifier = Classifier(
            settings.model,
            target=settings.target,
            device=settings.device,
            batch_size=settings.batch_size,
            top_k_classes=settings.top_k_classes,
        )
        self.image_model = self.classifier.image_model
        self.method = TaylorCAM(
            self.image_model.model,
            chosen_layer(settings.layer, settings.model, self.image_model),
            order=settings.order,
            scope=settings.scope,
            score=settings.score,
            smooth=settings.smooth,
            method=settings.method,
        )
        self.fingerprint = self.classifier.fingerprint({**self.method.settings, "route": settings.method})
        self.writer = InteractionWriter(out, settings, self.image_model, self.method.settings, more)
        self.failures = self.writer.failures
        self.group_size = settings.batch_size or _PICTURES_A_CALL

    def stored(self, picture: Picture, item_id: int) -> StoredInteractions | None:
        if self.settings.overwrite:
            return None
        found = read_stored(self.writer.map_file(picture), self.writer.pairs_file(picture))
        if found and (found.record.item_id, found.record.fingerprint) != (item_id, self.fingerprint):
            return None
        return found

    def explain(self, inputs: Tensor, item_ids: Sequence[int]) -> list[StoredInteractions | ModelError]:
        def together(part: Tensor, ids: Sequence[int]) -> list[StoredInteractions | ModelError]:
            try:
                return self._explain(part, ids)
            except ZeroCurvatureError:  # of every picture of the batch
                return [self._no_curvature() for _ in ids]

        return job.explain_each(together, inputs.to(self.classifier.device), item_ids)

    def store(self, picture: Picture, explanation: StoredInteractions) -> None:
        write_stored(self.writer.map_file(picture), explanation)

    def show(self, prepared: Prepared, explanation: StoredInteractions) -> None:
        self.writer.add(prepared, explanation)

    def finish(self, seconds: float) -> Path:
        return self.writer.finish(seconds)

    def _explain(self, inputs: Tensor, item_ids: Sequence[int]) -> list[StoredInteractions | ModelError]:
        probabilities = self.classifier.probabilities(inputs)
        with warnings.catch_warnings():
            # A picture without interactions is reported by its name; the warning knows only positions in the batch.
            warnings.filterwarnings("ignore", message="all interactions of the items")
            warnings.filterwarnings("error", message="no boxes in the image")
            try:
                result = self.method.explain(
                    inputs, target=self.classifier.target, internal_batch_size=self.settings.batch_size
                ).to("cpu")
            except UserWarning as warning:
                raise _not_in_the_picture(self.method, str(warning)) from warning
        if result.geometry is None or len(result.geometry.axes) != 2 or result.targets is None:
            raise _not_in_the_picture(self.method, "it is no map of the picture")
        empty = (result.saliency.flatten(1) == 0).all(1)
        outcomes: list[StoredInteractions | ModelError] = []
        for i, item_id in enumerate(item_ids):
            if bool(empty[i]):
                outcomes.append(self._no_curvature())
                continue
            target = int(result.targets[i])
            record = Record(
                item_id=item_id,
                fingerprint=self.fingerprint,
                target=target,
                target_name=self.image_model.class_name(target),
                score=float(result.scores[i]),
                probability=_probability(probabilities[i], target),
                classes=self.classifier.strongest(probabilities[i]),
            )
            outcomes.append(StoredInteractions(result[i], record))
        return outcomes

    def _no_curvature(self) -> ZeroCurvatureError:
        layer = self.method.settings["layer"]
        return ZeroCurvatureError(
            f"all interactions at {layer} are zero: nothing behind it bends, or the score is saturated; try --score "
            "probability or log_probability, or --smooth gelu or softplus"
        )


def _probability(probabilities: Tensor, target: int) -> float:
    # A binary classifier has one output, whatever the number of the class.
    return float(probabilities[min(target, len(probabilities) - 1)])


def _not_in_the_picture(method: TaylorCAM, why: str) -> InputError:
    layer = method.settings["layer"]
    return InputError(f"--layer: expected one whose cells can be placed in the picture, got {layer}: {why}")
