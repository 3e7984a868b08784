"""A job and its store: made once, and reopened only for the same work on the same data."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import xai_fast
from xai_fast.arguments import check_integer
from xai_fast.batch.computation import Computation
from xai_fast.batch.explainers import make_explainer
from xai_fast.batch.references import weights_sha256
from xai_fast.batch.sources import open_source
from xai_fast.batch.sources.base import Source
from xai_fast.batch.sources.since import changes_since
from xai_fast.batch.spec import JobSpec
from xai_fast.batch.store import Items, Layout, committed, create_job, read_job
from xai_fast.batch.store.folders import is_temporary
from xai_fast.batch.targets import ItemTargets
from xai_fast.errors import InputError, StoreError, bad_argument

__all__ = ["Job", "open_job", "prepare_job", "versions"]


@dataclass(frozen=True)
class Job:
    """A job with its store.

    Attributes:
        layout: of the store.
        spec: what is computed.
        items: the frozen list.
        document: what ``job.json`` says.
    """

    layout: Layout
    spec: JobSpec
    items: Items
    document: dict[str, Any]

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-len(self.items) // self.spec.shard_size)

    def rows(self, shard: int) -> range:
        """Return the indices of a shard's items.

        Args:
            shard: its number.

        Returns:
            The indices.

        Raises:
            InputError: there is no such shard.
        """
        check_integer("shard", shard, 0, self.shards - 1)
        start = shard * self.spec.shard_size
        return range(start, min(start + self.spec.shard_size, len(self.items)))

    def pending(self) -> list[int]:
        """Return the numbers of the shards without a receipt, in order."""
        done = committed(self.layout)
        return [shard for shard in range(self.shards) if shard not in done]

    def compute_on(self, device: str | torch.device) -> Computation:
        """Load the source, the model and the explainers, in the process that computes.

        Args:
            device: where the model runs.

        Returns:
            What explains chunks of items.

        Raises:
            InputError: something that the description refers to is not there, or the weights are others.
            SourceChanged: the data is not what it was.
        """
        made = Computation(self.spec, self.items, device=device, identity=self.document["source"])
        _check_weights(self.document, made.weights_sha256)
        return made


def prepare_job(spec: JobSpec, out: str | os.PathLike[str]) -> Job:
    """Create a store for a job, or reopen the one that is there; several processes may do so at once.

    Args:
        spec: what is computed.
        out: folder of the store.

    Returns:
        The job.

    Raises:
        InputError: the folder holds another job (the message shows the differences) or something else, the weights
            are others, or something that the description refers to is not there.
        SourceChanged: the data is not what it was when the job began.
        StoreError: the store cannot be written or read.
    """
    if not isinstance(spec, JobSpec):
        raise bad_argument("spec", "a JobSpec", type(spec).__name__)
    layout = Layout(out)
    if not layout.exists:
        _check_folder(layout.root)
        document = _create(layout, spec)
        if document is not None:
            return Job(layout, spec, Items.open(layout), document)
    return _reopen(layout, spec)


def open_job(out: str | os.PathLike[str], *, batch_size: int | None = None, max_attempts: int | None = None) -> Job:
    """Open a job as a worker does, whose driver has checked it.

    Args:
        out: folder of the store.
        batch_size: items at once instead of what ``job.json`` says, as a job may be resumed with another value.
        max_attempts: likewise.

    Returns:
        The job.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    layout = Layout(out)
    document = read_job(layout)
    try:
        spec = JobSpec.from_dict(document["spec"])
    except InputError as error:
        raise StoreError(f"{layout.job}: {error}") from error
    spec = dataclasses.replace(
        spec, batch_size=batch_size or spec.batch_size, max_attempts=max_attempts or spec.max_attempts
    )
    items = Items.open(layout)
    if len(items) != document["items"]["count"] or items.sha256 != document["items"]["sha256"]:
        raise StoreError(f"{layout.items}: expected the list of items of this job, got another")
    return Job(layout, spec, items, document)


def versions() -> dict[str, str]:
    """Return the versions of what results depend on."""
    return {
        "xai_fast": xai_fast.__version__,
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "python": platform.python_version(),
    }


def _create(layout: Layout, spec: JobSpec) -> dict[str, Any] | None:
    """Write the store; None where another process was first."""
    source = open_source(spec.source, decoder=spec.decoder)
    weights = _weights(spec, source)
    layout.check_writable()
    identity = source.identity()
    items = Items.freeze(layout, source.ids(), source.stamps())
    document = {
        "spec": spec.to_dict(),
        "fingerprint": spec.fingerprint({"source": identity, "weights": weights, "items": items.sha256}),
        "items": {"count": len(items), "sha256": items.sha256},
        "source": identity,
        "weights_sha256": weights,
        "versions": versions(),
        "created": time.time(),
    }
    try:
        create_job(layout, document)
    except StoreError:
        if not layout.exists:
            raise
        return None
    return read_job(layout)


def _reopen(layout: Layout, spec: JobSpec) -> Job:
    job = open_job(layout.root)
    differences = job.spec.differences(spec)
    if differences:
        raise InputError(
            f"out: {layout.root} holds another job; take another folder, or ask for the same:\n  "
            + "\n  ".join(differences)
        )
    if job.pending():
        layout.check_writable()
        layout.create()
        source = open_source(spec.source, decoder=spec.decoder, items=job.items)
        source.check(job.document["source"])
        _check_weights(job.document, _weights(spec, source))
    for change in changes_since(spec.source, job.document["source"], job.items):
        _warn(f"source: {change}")
    return dataclasses.replace(job, spec=spec)


def _weights(spec: JobSpec, source: Source) -> str | None:
    """Load all that a worker will, so that what is wrong is told before anything starts; return the weights' hash."""
    ItemTargets(spec.target, source)
    model = None if spec.model is None else spec.model.load().module
    found = None if model is None else weights_sha256(model)
    wanted = None if spec.model is None else spec.model.weights_sha256
    if wanted is not None and found != wanted:
        raise bad_argument("model.weights_sha256", f"weights with the hash {wanted}", str(found))
    for entry in spec.explainers:
        make_explainer(entry, model, spec.seed)
    return found


def _check_weights(document: dict[str, Any], found: str | None) -> None:
    wanted = document.get("weights_sha256")
    if found != wanted:
        raise bad_argument("model", f"the weights that the job began with, {wanted}", f"{found}")


def _warn(message: str) -> None:
    """Warn whoever called `run`, with these in between: `_reopen`, `prepare_job` and `run` itself."""
    warnings.warn(message, UserWarning, stacklevel=5)


def _check_folder(root: Path) -> None:
    """Refuse a folder that holds something else: `clean` removes files, and nobody wants a store among others."""
    if not root.exists():
        return
    if not root.is_dir():
        raise bad_argument("out", "a folder", f"the file {root}")
    ours = {"items", "journal", "parts", "data", "commits", "logs"}
    foreign = sorted(name for name in os.listdir(root) if name not in ours and not is_temporary(name))
    if foreign:
        raise bad_argument("out", "a new folder, or one with a job", f"{root}, which holds {foreign[0]!r}")
