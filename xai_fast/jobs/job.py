"""A job and its store: made once, and reopened only for the same work on the same data."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import xai_fast
from xai_fast.arguments import check_integer
from xai_fast.errors import InputError, StoreError, bad_argument
from xai_fast.jobs.computation import Computation, in_effect
from xai_fast.jobs.explainers import make_explainer
from xai_fast.jobs.references import weights_sha256
from xai_fast.jobs.sources import open_source
from xai_fast.jobs.sources.base import Source
from xai_fast.jobs.sources.since import changes_since
from xai_fast.jobs.spec import JobSpec, flat
from xai_fast.jobs.store import Items, Layout, committed, create_job, read_job
from xai_fast.jobs.store.folders import is_temporary
from xai_fast.jobs.targets import ItemTargets

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
        _check_in_effect(self.document, made.in_effect)
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
        _check_folder(layout)
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
    found = _look(spec, source)
    layout.check_writable()
    identity = source.identity()
    items = Items.freeze(layout, source.ids(), source.stamps())
    document = {
        "spec": spec.to_dict(),
        "fingerprint": spec.fingerprint({"source": identity, "items": items.sha256, **found}),
        "items": {"count": len(items), "sha256": items.sha256},
        "source": identity,
        **found,
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
        _check_in_effect(job.document, _look(spec, source))
        _tell(_other_versions(job.document))
    _tell([f"source: {line}" for line in changes_since(spec.source, job.document["source"], job.items)])
    return dataclasses.replace(job, spec=spec)


def _look(spec: JobSpec, source: Source) -> dict[str, object]:
    """Load all that a worker will, so that what is wrong is told before anything starts; return what is in effect."""
    ItemTargets(spec.target, source)
    model = None if spec.model is None else spec.model.load()
    module = None if model is None else model.module
    weights = None if module is None else weights_sha256(module)
    wanted = None if spec.model is None else spec.model.weights_sha256
    if wanted is not None and weights != wanted:
        raise bad_argument("model.weights_sha256", f"weights with the hash {wanted}", str(weights))
    settings = {entry.prefix: make_explainer(entry, module, spec.seed).settings for entry in spec.explainers}
    return in_effect(model, weights, settings)


def _check_in_effect(document: dict[str, Any], found: dict[str, object]) -> None:
    """Refuse to go on with what the description does not say, but results depend on, where it is another."""
    wanted = document.get("weights_sha256")
    if found["weights_sha256"] != wanted:
        raise bad_argument("model", f"the weights that the job began with, {wanted}", f"{found['weights_sha256']}")
    names = ("settings", "preparation")
    was, now = (flat({name: values.get(name) for name in names}) for values in (document, found))
    # An option that there was not is no difference by itself; the release is, which is told.
    both = [name for name in was if name in now and was[name] != now[name]]
    lines = [f"{name}: {was[name]!r} in the store, {now[name]!r} now" for name in both]
    if lines:
        raise InputError(
            "out: the job began with other values of what was left to defaults or to the model; give them, or take "
            "another folder:\n  " + "\n  ".join(lines)
        )


def _other_versions(document: dict[str, Any]) -> list[str]:
    """Say where the rest of a job is computed by other releases than its beginning."""
    was, now = document.get("versions"), versions()
    if not isinstance(was, dict):
        return []
    changed = [
        f"{name} {was.get(name)}, now {now[name]}" for name in ("xai_fast", "torch") if was.get(name) != now[name]
    ]
    return (
        [f"out: the job began with {' and '.join(changed)}; what is left may come out differently"] if changed else []
    )


def _tell(lines: list[str]) -> None:
    """Warn whoever called `run`, with these in between: `_reopen`, `prepare_job` and `run` itself."""
    for line in lines:
        warnings.warn(line, UserWarning, stacklevel=5)


def _check_folder(layout: Layout) -> None:
    """Refuse a folder that holds something else: `clean` removes files, and nobody wants a store among others."""
    root = layout.root
    if not root.exists():
        return
    if not root.is_dir():
        raise bad_argument("out", "a folder", f"the file {root}")
    ours = {"items", "journal", "parts", "data", "commits", "logs"}
    foreign = sorted(name for name in os.listdir(root) if name not in ours and not is_temporary(name))
    if foreign and not layout.exists:  # somebody else may have begun the job since we looked
        raise bad_argument("out", "a new folder, or one with a job", f"{root}, which holds {foreign[0]!r}")
