"""The report of a job: its store, with the pictures of its source as far as they can be had."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_fast.errors import XaiFastError
from xai_fast.jobs.sources import open_source
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store.reader import Store

if TYPE_CHECKING:
    from xai_fast import plot

__all__ = ["View", "pictures_of", "report"]


def report(out: str | os.PathLike[str], *, folder: str | os.PathLike[str] | None = None, **options: Any) -> Path:
    """Write the report of a job; it may still be running, and then shows what is done.

    Args:
        out: folder of the store.
        folder: where to; by default the store.
        **options: "class_names", by default those of the model, where it can be asked; "trust", whether to call the
            functions that the store names (data set, decoder, model) to show the pictures as the model saw them, while
            files of pictures and arrays are read without; "limit", by default 100,000; and those of
            `xai_fast.plot.report`.

    Returns:
        The page.
    """
    from xai_fast import plot  # which needs Pillow

    options = {"limit": 100_000} | options
    return plot.report(_items(out, options), folder or out, **options)


def View(out: str | os.PathLike[str], **options: Any) -> plot.View:
    """Serve the report of a job on this machine; see `report` and `xai_fast.plot.View`."""
    from xai_fast import plot

    return plot.View(_items(out, options), **options)


def _items(out: str | os.PathLike[str], options: dict[str, Any]) -> plot.StoreItems:
    from xai_fast import plot

    store = Store(out)
    spec = JobSpec.from_dict(store.job["spec"])
    pictures, class_names, note = pictures_of(spec, store, options.pop("trust", False))
    if spec.source["kind"] == "table":
        look = options.get("look") or plot.Look()
        names = look.feature_names or (store.job.get("source") or {}).get("columns", ())
        options["look"] = dataclasses.replace(look, feature_names=names)
    front = plot.Front(
        kicker=" \u00b7 ".join([", ".join(store.methods), spec.model.reference]),
        settings=store.job["spec"],
        notes=[note] if note else [],
        run=store.job["fingerprint"],
    )
    return plot.StoreItems(store, front, options.pop("class_names", ()) or class_names, pictures)


def pictures_of(spec: JobSpec, store: Store, trust: bool) -> tuple[Any, Sequence[str], str]:
    """Give what reads the pictures, the names of the classes, and what is to be said of them."""
    indexable = spec.source["kind"] == "indexable"
    named = spec.source["path"] if indexable else spec.decoder if ":" in spec.decoder else None
    if named is not None and not trust:
        return None, (), f"The pictures come from {named}, which is called only for a store that you trust (--trust)."
    try:
        source = open_source(spec.source, spec.decoder)
        source.use(store.items, store.job.get("source") or {})
        model, note = None, ""
        if spec.source["kind"] != "table":
            if trust or ":" not in spec.model.reference:
                model = spec.model.load().for_pictures()
            elif spec.source["kind"] != "array":
                note = f"Which part of a picture the model sees, only {spec.model.reference} says (--trust calls it)."
    except (XaiFastError, OSError, ImportError) as error:
        return None, (), f"The pictures cannot be read: {error}"
    return lambda i, side: source.picture(i, side, model), (model and model.class_names) or (), note
