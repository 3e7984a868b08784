"""What all commands on pictures share: read, explain in batches, skip what is broken or done, and say how it went."""

from __future__ import annotations

import abc
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import PIL
import torch
from torch import Tensor

from xai_fast import __version__
from xai_fast.cli.files import Picture, shown
from xai_fast.cli.pictures import Failure, Prepared, prepare, read_ahead
from xai_fast.errors import ModelError
from xai_fast.progress import Progress, duration
from xai_fast.suites import ImageModel
from xai_fast.terminal import say

__all__ = ["Job", "explain_each", "run", "versions"]

_HOPELESS = 8

Explanation = TypeVar("Explanation")


class Job(abc.ABC, Generic[Explanation]):
    """What a command does with pictures.

    Attributes:
        image_model: says how pictures are prepared.
        group_size: pictures that are explained in one call.
        failures: what could not be read or explained, for the report.
    """

    image_model: ImageModel
    group_size: int
    failures: list[Failure]

    @abc.abstractmethod
    def stored(self, picture: Picture, item_id: int) -> Explanation | None:
        """Give what an earlier run has stored, if it is still right; called from other threads."""

    @abc.abstractmethod
    def explain(self, inputs: Tensor, item_ids: Sequence[int]) -> list[Explanation | ModelError]:
        """Explain prepared pictures (B, 3, H, W); a picture that the model fails on gives its error."""

    @abc.abstractmethod
    def store(self, picture: Picture, explanation: Explanation) -> None:
        """Store what a later run can take over."""

    @abc.abstractmethod
    def show(self, prepared: Prepared, explanation: Explanation) -> None:
        """Draw the picture, and remember what the report says about it."""

    @abc.abstractmethod
    def finish(self, seconds: float) -> Path:
        """Write report and summary; give the report's path."""


@dataclass(frozen=True)
class _Read(Generic[Explanation]):
    prepared: Prepared
    stored: Explanation | None


def run(pictures: Sequence[Picture], job: Job[Explanation]) -> list[Failure]:
    """Explain pictures, and write all that the job writes.

    Pictures go through in batches, and the next batch is read while one is explained, so memory does not grow with
    their number. What an earlier run has stored is taken over if the picture and all that it depends on are the same.

    Args:
        pictures: what to explain, at least one.
        job: what is done with them.

    Returns:
        The pictures that could not be read or explained.

    Raises:
        ModelError: the model can explain none of the pictures.
    """

    def read(picture: Picture) -> _Read[Explanation] | Failure:
        found = prepare(picture, job.image_model)
        return found if isinstance(found, Failure) else _Read(found, job.stored(picture, found.item_id))

    started = time.perf_counter()
    kept = finished = 0
    refused: list[ModelError] = []
    with Progress(len(pictures)) as progress:
        for group in read_ahead(pictures, job.group_size, read):
            job.failures += [entry for entry in group if isinstance(entry, Failure)]
            fresh = []
            for entry in group:
                if isinstance(entry, Failure):
                    continue
                if entry.stored is None:
                    fresh.append(entry.prepared)
                    continue
                job.show(entry.prepared, entry.stored)
                kept += 1
            progress.advance(len(group) - len(fresh), kept=True)
            errors = _explain(fresh, job)
            refused += errors
            finished += len(fresh) - len(errors)
            # A picture may be at fault once or twice; when nothing works, it is the model.
            if len(refused) >= _HOPELESS and not finished + kept:
                break
            progress.advance(len(fresh))
    if refused and not finished + kept:
        raise refused[0]
    seconds = time.perf_counter() - started
    report = job.finish(seconds)
    _tell(finished, kept, job.failures, report, seconds)
    return job.failures


def explain_each(
    explain: Callable[[Tensor, Sequence[int]], Sequence[Explanation]], inputs: Tensor, item_ids: Sequence[int]
) -> list[Explanation | ModelError]:
    """Explain a batch, and each picture alone where the batch fails, so that one cannot take the others with it.

    Args:
        explain: gives an explanation a picture.
        inputs: (B, 3, H, W).
        item_ids: (B,).

    Returns:
        An explanation a picture, or the error of a picture that the model fails on.
    """
    try:
        return list(explain(inputs, item_ids))
    except ModelError as error:
        if len(item_ids) == 1:
            return [error]
        return [explain_each(explain, inputs[i : i + 1], item_ids[i : i + 1])[0] for i in range(len(item_ids))]


def versions() -> dict[str, str]:
    """Give the versions of what makes the results."""
    return {
        "xai_fast": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _explain(batch: Sequence[Prepared], job: Job[Explanation]) -> list[ModelError]:
    """Explain pictures and write their results; give the errors of those that the model fails on."""
    if not batch:
        return []
    outcomes = job.explain(torch.stack([entry.inputs for entry in batch]), [entry.item_id for entry in batch])
    errors = []
    for entry, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, ModelError):
            errors.append(outcome)
            job.failures.append(Failure(shown(entry.picture.name), str(outcome)))
        else:
            job.store(entry.picture, outcome)
            job.show(entry, outcome)
    return errors


def _tell(computed: int, kept: int, failures: Sequence[Failure], report: Path, seconds: float) -> None:
    number, failed = computed + kept, len(failures)
    parts = [f"{number} picture{'' if number == 1 else 's'} explained in {duration(seconds)}"]
    if kept:
        parts.append(f"{kept} of them kept from before")
    if computed:
        parts.append(f"{computed / seconds:.2f} a second")
    say(", ".join(parts))
    if failed:
        say(f"{failed} file{'' if failed == 1 else 's'} could not be explained:", error=True)
        for failure in failures:
            say(f"  {failure.name}: {failure.reason}", error=True)
    say(f"report: {shown(str(report))}")
