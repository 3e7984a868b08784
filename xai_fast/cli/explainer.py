"""A model and NeFLAG, from prepared pictures to records that can be stored."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.attribution import NeFLAG
from xai_fast.cli.classifier import Classifier, check_at_least
from xai_fast.cli.job import explain_each
from xai_fast.errors import ModelError
from xai_fast.plot import heat

__all__ = ["Explainer", "Explanation", "Record", "Settings"]


@dataclass(frozen=True)
class Settings:
    """The options of a run; the command line's help says what they mean.

    Raises:
        InputError: an option about batches or pictures is out of range.
    """

    model: str = "efficientnet-lite0"
    target: str | None = None
    points: int = 10
    radius: float = 0.1
    max_steps: int = 20
    step_rule: str = "sign"
    score: str = "probability"
    aggregate: str = "signed"
    tolerance: float | None = None
    seed: int = 0
    precision: str = "fp32"
    ranking: str = "sum_of_abs"
    clip: tuple[float, float] = (80.0, 99.0)
    smooth: float = 0.0
    top_k_classes: int = 5
    max_cards: int = 500
    batch_size: int | None = None
    device: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, {"top_k_classes": 1, "max_cards": 0, "batch_size": 1})
        # Before anything is computed: the checks of the picture, on the smallest one.
        heat(np.zeros((1, 1, 1), np.float32), ranking=self.ranking, clip=self.clip, smooth=self.smooth)


@dataclass(frozen=True)
class Record:
    """What is known about an explained picture beside its map.

    Attributes:
        item_id: the identity that its random points come from.
        fingerprint: a hash of all that its map depends on, beside the picture itself.
        target: the class that was explained.
        target_name: the name of it.
        score: f of the picture, in units of the settings' score.
        classes: (number, name, probability) of the strongest classes.
        negative_points: points whose flux turned negative.
        evaluations: gradient evaluations spent.
        relative_standard_error: norm of the map's standard error over the norm of the map; None where it is not finite.
    """

    item_id: int
    fingerprint: str
    target: int
    target_name: str
    score: float
    classes: tuple[tuple[int, str, float], ...]
    negative_points: int
    evaluations: int
    relative_standard_error: float | None

    def to_json(self) -> str:
        """Give the record as JSON."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read what `to_json` wrote.

        Args:
            text: the JSON.

        Returns:
            The record.

        Raises:
            ValueError: the text is something else.
        """
        try:
            values = json.loads(text)
            values["classes"] = tuple((int(c), str(name), float(p)) for c, name, p in values["classes"])
            return cls(**values)
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a record: {error}") from error


@dataclass(frozen=True)
class Explanation:
    """A picture's map (3, H, W) float32 in units of the score, and its record."""

    attribution: NDArray[np.float32]
    record: Record


class Explainer:
    """NeFLAG on an image classifier, as the settings say.

    Args:
        settings: the options of the run.

    Raises:
        InputError: an option is out of range, or the model cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.classifier = Classifier(
            settings.model,
            target=settings.target,
            device=settings.device,
            batch_size=settings.batch_size,
            top_k_classes=settings.top_k_classes,
        )
        self.method = NeFLAG(
            self.classifier.image_model.model,
            radius=settings.radius,
            points=settings.points,
            max_steps=settings.max_steps,
            step=settings.step_rule,
            score=settings.score,
            seed=settings.seed,
            precision=settings.precision,
            aggregate=settings.aggregate,
            tolerance=settings.tolerance,
        )
        self.fingerprint = self.classifier.fingerprint(self.method.settings)

    def explain(self, inputs: Tensor, item_ids: Sequence[int]) -> list[Explanation | ModelError]:
        """Explain prepared pictures.

        Args:
            inputs: (B, 3, H, W) in the model's input units, on any device.
            item_ids: (B,) the pictures' identities.

        Returns:
            An explanation a picture, or the error of a picture that the model fails on.
        """
        return explain_each(self._explain, inputs.to(self.classifier.device), item_ids)

    def _explain(self, inputs: Tensor, item_ids: Sequence[int]) -> list[Explanation]:
        probabilities = self.classifier.probabilities(inputs)
        with warnings.catch_warnings():
            # The report names the pictures; the warning knows only positions in the batch.
            warnings.filterwarnings("ignore", message="NeFLAG found no negative flux")
            result = self.method.explain(
                inputs, target=self.classifier.target, item_ids=item_ids, internal_batch_size=self.settings.batch_size
            )
        if not isinstance(result.attributions, Tensor) or result.targets is None:
            raise ModelError("model: expected one input tensor and a class as target")
        maps = result.attributions.to("cpu", torch.float32).numpy()
        errors = result.relative_standard_error.tolist()
        records = (
            Record(
                item_id=item_ids[i],
                fingerprint=self.fingerprint,
                target=int(result.targets[i]),
                target_name=self.classifier.image_model.class_name(int(result.targets[i])),
                score=float(result.scores[i]),
                classes=self.classifier.strongest(probabilities[i]),
                negative_points=int(result.negative_points[i]),
                evaluations=int(result.evaluations[i]),
                relative_standard_error=errors[i] if math.isfinite(errors[i]) else None,
            )
            for i in range(len(item_ids))
        )
        return [Explanation(maps[i], record) for i, record in enumerate(records)]
