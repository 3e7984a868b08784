"""A job and its store: made once, and reopened only for the same work on the same data."""

from __future__ import annotations

import dataclasses
import os
import platform
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

import xai_fast
from xai_fast.engine.call import default_rows
from xai_fast.errors import InputError, StoreError, bad_argument
from xai_fast.jobs.computation import Computation, Plan, form_of, parts_of
from xai_fast.jobs.sources import ItemError, Source, SourceChanged, open_source
from xai_fast.jobs.sources.base import Listing, paths_of
from xai_fast.jobs.spec import JobSpec, flat
from xai_fast.jobs.store.folder import TEMPORARY, Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import JOB, Status, create_job, is_ours, read_job
from xai_fast.jobs.store.shards import Shards
from xai_fast.references import LoadedModel, weights_sha256
from xai_fast.terminal import tell
from xai_fast.values import digest

__all__ = ["Job", "open_job", "prepare_job", "versions"]

_FEWEST_ITEMS = 32
"""Items per call of a method, at least: enough for a queue of points, few enough for any memory."""
_FIRST_ITEMS = 100
"""So many items are tried for the shape that all shall have."""
_LOOKED_AT = 16
_CALLER = 5  # of `run`, behind `prepare_job`, `_reopen` and the function that tells


class Job:
    """A job with its store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.document = read_job(path)
        try:
            self.spec = JobSpec.from_dict(self.document["spec"])
            plan = self.document["plan"]
            shape = None if plan["shape"] is None else _tuples(plan["shape"])
            self.plan = Plan(int(plan["threads"]), int(plan["chunk"]), int(plan["rows"]), shape, plan["dtype"])
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path / JOB}: {error}") from error
        self.root = Folder(path)
        self.items, self.shards = Items(self.root, self.document["items"]), Shards.of(self.root, self.document)

    @property
    def complete(self) -> bool:
        """Whether all shards are done."""
        return next(self.shards.missing(), None) is None

    def source(self) -> Source:
        """Open the source, and compare it with what it was."""
        source = open_source(self.spec.source, self.spec.decoder)
        source.use(self.items, self.document["source"])
        return source

    def compute_on(self, device: str) -> Computation:
        """Load the source, the model and the methods, in the process that computes."""
        model = _load(self.spec)
        made = Computation(self.spec, self.source(), model, self.plan, device)
        _check_in_effect(self.document, _in_effect(model, made))
        model.module.to(made.device)
        return made

    def check_writable(self) -> None:
        """Check that this process may write to the store."""
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise StoreError(f"{self.path}: expected a folder that can be written to, got a read-only one")


def prepare_job(spec: JobSpec, out: str | os.PathLike[str], *, device: str = "cpu", threads: int = 1) -> Job:
    """Create a store for a job, or reopen the one that is there; several processes may do so at once."""
    if not isinstance(spec, JobSpec):
        raise bad_argument("spec", "a JobSpec", type(spec).__name__)
    path = Path(out)
    if not (path / JOB).exists():
        _check_folder(path, spec)
        with _begun(path) as root:
            made_it = _create(root, spec, device, threads)
        if made_it:
            return Job(path)
    return _reopen(path, spec)


def open_job(out: str | os.PathLike[str], **changes: Any) -> Job:
    """Open a job as a worker does, whose driver has checked it."""
    job = Job(Path(out))
    job.spec = dataclasses.replace(job.spec, **changes)
    return job


def versions() -> dict[str, str]:
    """Return the versions of what results depend on."""
    return {
        "xai_fast": xai_fast.__version__,
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "python": platform.python_version(),
    }


@contextmanager
def _begun(path: Path) -> Iterator[Folder]:
    """Make a folder with a mark, so that whoever looks knows that a job is about to be described in it."""
    there, root, mark = path.exists(), Folder(path, create=True), f"{TEMPORARY}{secrets.token_hex(6)}"
    root.write(mark, b"")
    try:
        yield root
    finally:
        root.remove(mark)
        if not there:
            with suppress(OSError):  # unless it is empty it stays
                path.rmdir()


def _create(root: Folder, spec: JobSpec, device: str, threads: int) -> bool:
    """Write the store; tell whether this process was the first."""
    source = open_source(spec.source, spec.decoder)
    model = _load_twice(spec)
    if model.image_model is None and source.kind in ("images", "pairs", "webdataset"):
        tell(
            f"model: {model.name} returns a plain module, so the usual preparation for ImageNet is assumed: pictures "
            f"are {model.for_pictures().preparation}; return an xai_fast.images.ImageModel for another one"
        )
    for entry in spec.methods:  # what is wrong with them is told before files are hashed
        entry.make(model.module, spec.seed)
    listing, identity = _limited(source.listing(), spec.limit), source.identity()
    described: dict[str, Any] = {"count": listing, "folder": None}
    if not isinstance(listing, int):
        described = Items.freeze(root, source.columns, listing)
    made_it = False
    try:
        source.use(Items(root, described), identity)
        made = Computation(spec, source, model, None, device)
        document = {
            "spec": spec.to_dict(),
            "items": described,
            "source": identity,
            "plan": dataclasses.asdict(_plan(spec, made, threads)),
            **_in_effect(model, made),
        }
        listed = {"count": described["count"], "sha256": described.get("sha256")}
        content = {name: value for name, value in flat(identity).items() if not name.endswith("mtime_ns")}
        fingerprint = digest({**document, "spec": spec.of_results(), "items": listed, "source": content})
        more = {"fingerprint": fingerprint, "versions": versions(), "created": time.time()}
        made_it = create_job(root, {**document, **more})
    finally:
        if not made_it and described["folder"] is not None:
            root.remove_folder(described["folder"])
    return made_it


def _limited(listing: Listing, limit: int | None) -> Listing:
    """Choose the items of a job."""
    if limit is None:
        return listing
    if isinstance(listing, int):
        return min(listing, limit)
    rows = list(listing)
    return iter(rows if len(rows) <= limit else [rows[i * len(rows) // limit] for i in range(limit)])


def _plan(spec: JobSpec, made: Computation, threads: int) -> Plan:
    """Look at the first item that can be read, and choose what is fixed."""
    tried = (made.load(index) for index in range(min(_FIRST_ITEMS, len(made.source))))
    value = next((item.value for item in tried if item.value is not None), None)
    entries = 1 << 20 if value is None else sum(part.numel() for part in parts_of(value))
    rows = spec.batch_size or default_rows(entries, made.device)
    chunk = rows * -(-_FEWEST_ITEMS // rows)
    shape, dtype = (None, None) if value is None else form_of(value)
    return Plan(threads, chunk, rows, shape, dtype)


def _tuples(shape: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_tuples(part) if isinstance(part, list) else part for part in shape)


def _reopen(path: Path, spec: JobSpec) -> Job:
    job = Job(path)
    earlier, job.spec = job.spec, spec
    differences = earlier.differences(spec)
    if not differences and not job.complete:
        job.check_writable()
        differences = _other_content(job, earlier)
    if differences:
        raise InputError(
            f"out: {path} holds another job; take another folder, or ask for the same:\n  " + "\n  ".join(differences)
        )
    if not job.complete:
        _tell_versions(job)
    return job


def _other_content(job: Job, earlier: JobSpec) -> list[str]:
    """Compare the source with what it was, wherever it lies now; return what is different at another place."""
    was, now = earlier.source["path"], job.spec.source["path"]
    try:
        source = job.source()
        step = max(1, len(job.items) // _LOOKED_AT)
        for index in range(0, len(job.items), step) if was != now else ():
            _check_same(source, index)
    except SourceChanged as error:
        if was == now:
            raise
        return [f"source.path: {was} in the store, {now} asked for, whose content is another: {error}"]
    listing = source.listing() if source.kind == "images" and job.spec.limit is None else len(job.items)
    if not isinstance(listing, int) and (count := sum(1 for _ in listing)) != len(job.items):
        line = f"source: {count} pictures are there now; the job keeps its list of {len(job.items)}"
        tell(line, job, stacklevel=_CALLER)
    return []


def _check_same(source: Source, index: int) -> None:
    try:
        source.read(index)
    except ItemError as error:
        if error.status == Status.CHANGED:
            raise SourceChanged(f"{source.items.id(index)}: {error.reason}") from error


def _load(spec: JobSpec) -> LoadedModel:
    model, wanted = spec.model.load(), spec.model.weights_sha256
    if wanted is not None and (found := weights_sha256(model.module)) != wanted:
        raise bad_argument("model.weights_sha256", f"weights with the hash {wanted}", found)
    return model


def _load_twice(spec: JobSpec) -> LoadedModel:
    """Load the model as two workers would."""
    first = weights_sha256(_load(spec).module)
    model = _load(spec)
    if weights_sha256(model.module) != first:
        raise InputError(
            f"model: {spec.model.reference} gives other weights each time it is called, so every worker would explain "
            "another model; read the weights from a file, or call torch.manual_seed in it"
        )
    return model


def _in_effect(model: LoadedModel, made: Computation) -> dict[str, Any]:
    """Gather what results depend on beside the description."""
    weights = weights_sha256(model.module)
    return {"weights_sha256": weights, "settings": made.settings, "preparation": model.preparation}


def _check_in_effect(document: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse to go on with what the description does not say, but results depend on, where it is another."""
    wanted = document.get("weights_sha256")
    if found["weights_sha256"] != wanted:
        raise bad_argument("model", f"the weights that the job began with, {wanted}", f"{found['weights_sha256']}")
    names = ("settings", "preparation")
    was, now = (flat({name: values.get(name) for name in names}) for values in (document, found))
    # An option that there was not is no difference by itself; the release is, which is told.
    lines = [f"{n}: {was[n]!r} in the store, {now[n]!r} now" for n in was if n in now and was[n] != now[n]]
    if lines:
        raise InputError(
            "out: the job began with other values of what was left to defaults or to the model; give them, or take "
            "another folder:\n  " + "\n  ".join(lines)
        )


def _tell_versions(job: Job) -> None:
    """Say where the rest of a job is computed by other releases than its beginning."""
    was, now = job.document.get("versions", {}), versions()
    changed = [f"{n} {was.get(n)}, now {now[n]}" for n in ("xai_fast", "torch") if was.get(n) != now[n]]
    if changed:
        line = f"out: the job began with {' and '.join(changed)}; what is left may come out differently"
        tell(line, job, stacklevel=_CALLER)


def _check_folder(path: Path, spec: JobSpec) -> None:
    """Refuse a folder that holds something else than the pictures that are explained."""
    if not path.exists() or path.resolve() in [Path(source).resolve() for source in paths_of(spec.source)]:
        return
    if not path.is_dir():
        raise bad_argument("out", "a folder", f"the file {path}")
    foreign = sorted(name for name in os.listdir(path) if not is_ours(name))
    if foreign:
        raise bad_argument("out", "a new folder, or one with a job", f"{path}, which holds {foreign[0]!r}")
