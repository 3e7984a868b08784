"""The pictures that the maps of a job lie over, from the job's source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xai_fast.errors import XaiFastError
from xai_fast.jobs.sources import Source, open_source
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.items import Items

if TYPE_CHECKING:
    from PIL import Image

    from xai_fast.suites.models import ImageModel

__all__ = ["Pictures"]


class Pictures:
    """The pictures of a job's items, as far as they can be had.

    A store can name functions of any module: of a data set, a decoder, a model. They are called only where the user
    says that the store is to be trusted; files of pictures and arrays are read without.

    Args:
        spec: of the job.
        items: of the job.
        trust: call what the store names.

    Attributes:
        warning: why there are no pictures, or "".
        note: what is not known of them, or "".
        class_names: by the number of the class, where the model was asked.
    """

    def __init__(self, spec: JobSpec, items: Items, *, trust: bool = False) -> None:
        self.warning = self.note = ""
        self.class_names: tuple[str, ...] = ()
        self._source: Source | None = None
        self._model: ImageModel | None = None
        source = spec.source
        named = source["path"] if source["kind"] == "indexable" else spec.decoder if ":" in spec.decoder else None
        if named is not None and not trust:
            self.warning = f"The pictures come from {named}, which is called only for a store that you trust (--trust)."
            return
        try:
            opened = open_source(source, decoder=spec.decoder, items=items)
            if len(opened) == len(items):
                self._source = opened
            else:
                self.warning = f"The pictures cannot be shown: the source has {len(opened):,} items by now."
            self._load_model(spec, trust)
        except (XaiFastError, OSError, ImportError) as error:
            self._source = None
            self.warning = f"The pictures cannot be read: {error}"

    def _load_model(self, spec: JobSpec, trust: bool) -> None:
        """Load the model, which says which part of a picture it sees; models that come along need no trust."""
        if spec.model is None or spec.source["kind"] == "table":
            return
        if trust or ":" not in spec.model.reference:
            self._model = spec.model.load().for_pictures()
            self.class_names = self._model.class_names or ()
        elif spec.source["kind"] != "array":
            self.note = (
                "The maps are laid over the middle of each picture; which part the model sees, only its factory "
                f"{spec.model.reference} says, which is called only for a store that you trust (--trust)."
            )

    def picture(self, index: int, side: int, proportions: float | None) -> Image.Image | None:
        """Read a picture.

        Args:
            index: of the item.
            side: the longer side in pixels.
            proportions: width over height of the map, to which the picture is cut; None for not at all.

        Returns:
            An RGB image, or None where there is none or it cannot be read.
        """
        if self._source is None:
            return None
        picture = self._source.picture(index, side, self._model)
        return picture if picture is None or proportions is None else _middle(picture, proportions)


def _middle(picture: Image.Image, proportions: float) -> Image.Image:
    width, height = picture.size
    kept_width = min(width, max(1, round(height * proportions)))
    kept_height = min(height, max(1, round(width / proportions)))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return picture.crop((left, top, left + kept_width, top + kept_height))
