"""``xai-fast neflag``: read pictures, explain them in batches, write the results."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from xai_fast.cli.explainer import Explainer, Explanation, Settings
from xai_fast.cli.files import Picture, content_id, shown
from xai_fast.cli.outputs import Failure, Writer, read_map, write_map
from xai_fast.cli.progress import Progress, duration
from xai_fast.errors import ModelError
from xai_fast.forward import default_rows
from xai_fast.suites import ImageModel, open_image

__all__ = ["Settings", "run"]

_BATCHES_A_CALL = 8
_READERS = 2
_HOPELESS = 8
_JPEG_QUALITY = 86


@dataclass(frozen=True)
class _Prepared:
    picture: Picture
    item_id: int
    inputs: Tensor
    rgb: NDArray[np.uint8]
    photo: bytes
    stored: Explanation | None


def run(pictures: Sequence[Picture], settings: Settings, out: Path) -> list[Failure]:
    """Explain pictures, and write maps, overlays, report and summary.

    Pictures go through in batches, and the next batch is read while one is explained, so memory does not grow with
    their number. A map that an earlier run has stored is taken over if its picture and all that it depends on are the
    same.

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
    explainer = Explainer(settings)
    writer = Writer(out, settings, explainer.image_model, explainer.method.settings)
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    kept = 0
    refused: list[ModelError] = []
    with Progress(len(pictures)) as progress:
        for group in _read_ahead(pictures, explainer, writer):
            ready = [entry for entry in group if isinstance(entry, _Prepared)]
            writer.failures += [entry for entry in group if isinstance(entry, Failure)]
            for entry in ready:
                if entry.stored is not None:
                    writer.add(entry.picture, entry.stored, entry.rgb, entry.photo)
                    kept += 1
            fresh = [entry for entry in ready if entry.stored is None]
            progress.advance(len(group) - len(fresh), kept=True)
            refused += _explain(fresh, explainer, writer)
            # A picture may be at fault once or twice; when nothing works, it is the model.
            if len(refused) >= _HOPELESS and not writer.finished:
                break
            progress.advance(len(fresh))
    if refused and not writer.finished:
        raise refused[0]
    seconds = time.perf_counter() - started
    report = writer.finish(seconds)
    _tell(writer, report, seconds, kept)
    return writer.failures


def _explain(batch: Sequence[_Prepared], explainer: Explainer, writer: Writer) -> list[ModelError]:
    """Explain pictures and write their results; give the errors of those that the model fails on."""
    if not batch:
        return []
    outcomes = explainer.explain(torch.stack([entry.inputs for entry in batch]), [entry.item_id for entry in batch])
    errors = []
    for entry, outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, ModelError):
            errors.append(outcome)
            writer.failures.append(Failure(shown(entry.picture.name), str(outcome)))
        else:
            write_map(writer.map_file(entry.picture), outcome)
            writer.add(entry.picture, outcome, entry.rgb, entry.photo)
    return errors


def _read_ahead(
    pictures: Sequence[Picture], explainer: Explainer, writer: Writer
) -> Iterator[list[_Prepared | Failure]]:
    """Read and prepare pictures, one group ahead of the one that is given out."""
    settings = explainer.settings
    rows = settings.batch_size or default_rows(3 * math.prod(explainer.image_model.size), explainer.device)
    # Enough (picture, point) pairs in a call to keep its batches full, few enough pictures for a bar that moves.
    size = max(1, math.ceil(_BATCHES_A_CALL * rows / settings.points))
    groups = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    with ThreadPoolExecutor(_READERS) as readers:
        ahead = [readers.submit(_prepare, picture, explainer, writer) for picture in groups[0]]
        for following in [*groups[1:], ()]:
            group, ahead = ahead, [readers.submit(_prepare, picture, explainer, writer) for picture in following]
            yield [future.result() for future in group]


def _prepare(picture: Picture, explainer: Explainer, writer: Writer) -> _Prepared | Failure:
    model = explainer.image_model
    try:
        data = picture.path.read_bytes()
        image = open_image(io.BytesIO(data))
    except UnidentifiedImageError:
        return Failure(shown(picture.name), "not a picture, or of a kind that Pillow cannot read")
    except Image.DecompressionBombError as error:
        return Failure(shown(picture.name), str(error))
    except OSError as error:
        return Failure(shown(picture.name), error.strerror or str(error))
    item_id = content_id(data)
    stored = None if explainer.settings.overwrite else read_map(writer.map_file(picture))
    if stored and (stored.record.item_id, stored.record.fingerprint) != (item_id, explainer.fingerprint):
        stored = None
    rgb = np.asarray(model.crop(image))
    return _Prepared(picture, item_id, model.from_rgb(rgb), rgb, _photo(model, image), stored)


def _photo(model: ImageModel, image: Image.Image) -> bytes:
    """What the model saw as a JPEG for the report, at twice the resolution where the picture has it."""
    height, width = model.size
    scale = 2 if image.height >= 2 * height and image.width >= 2 * width else 1
    file = io.BytesIO()
    model.crop(image, scale).save(file, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return file.getvalue()


def _tell(writer: Writer, report: Path, seconds: float, kept: int) -> None:
    number, failed = len(writer.finished), len(writer.failures)
    computed = number - kept
    parts = [f"{number} picture{'' if number == 1 else 's'} explained in {duration(seconds)}"]
    if kept:
        parts.append(f"{kept} of them kept from before")
    if computed:
        parts.append(f"{computed / seconds:.2f} a second")
    print(", ".join(parts))
    if failed:
        print(f"{failed} file{'' if failed == 1 else 's'} could not be explained:", file=sys.stderr)
        for failure in writer.failures:
            print(f"  {failure.name}: {failure.reason}", file=sys.stderr)
    print(f"report: {shown(str(report))}")
