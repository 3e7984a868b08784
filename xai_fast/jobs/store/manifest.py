"""The manifest of a complete job: all receipts in one file, so that opening it does not read thousands of them.

A receipt may be withdrawn by one process while another one writes the manifest. So the manifest keeps which receipts
were there before they were read (names, sizes and times of change), and counts only as long as just these are there.
A store that was copied without its times has a manifest that does not count; then the receipts are read.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from typing import Any

from xai_fast.errors import StoreError
from xai_fast.jobs.store.folders import dump_json, load_json
from xai_fast.jobs.store.layout import FORMAT, Layout, is_digest, read_job, shard_stem
from xai_fast.jobs.store.receipt import Receipt, parse_receipt
from xai_fast.jobs.store.receipts import RECEIPT_NAME, receipts

__all__ = ["Manifest", "manifest_is_current", "read_manifest", "shard_count", "write_manifest"]

_LIMIT = 1 << 28
_LOG = logging.getLogger(__name__)


class Manifest:
    """All receipts of a complete job; each is checked when it is asked for.

    Args:
        documents: receipts as in JSON, by shard.
        common: what they share.
        where: the file, for messages.
    """

    def __init__(self, documents: list[Any], common: dict[str, Any], where: object) -> None:
        self._documents, self._common, self._where = documents, common, where

    def __len__(self) -> int:
        return len(self._documents)

    def receipt(self, shard: int) -> Receipt:
        """Return the receipt of a shard.

        Args:
            shard: its number.

        Returns:
            The receipt.

        Raises:
            StoreError: it is not what it should be.
        """
        entry = self._documents[shard]
        if not isinstance(entry, dict):
            raise StoreError(f"{self._where}: expected the receipt of shard {shard}, got {type(entry).__name__}")
        return parse_receipt({**self._common, **entry}, shard_stem(shard), self._where, shard)


def shard_count(job: dict[str, Any]) -> int:
    """Return the number of shards of a job.

    Args:
        job: of `read_job`.

    Returns:
        The number of items over the size of a shard, rounded up.
    """
    return -(-int(job["items"]["count"]) // int(job["spec"]["shard_size"]))


def write_manifest(layout: Layout) -> bool:
    """Write ``manifest.json``; all shards have to be committed.

    Args:
        layout: the store.

    Returns:
        False, and there is none, where a receipt was changed meanwhile, or it would be too large to be read.

    Raises:
        StoreError: a shard is missing, a receipt is damaged, or it cannot be written.
    """
    job = read_job(layout)
    state = _state_of_receipts(layout)
    documents = [receipt.to_dict() for receipt in receipts(layout)]
    if [document["shard"] for document in documents] != list(range(shard_count(job))):
        raise StoreError(f"{layout.commits}: expected receipts of {shard_count(job)} shards, got {len(documents)}")
    first = documents[0] if documents else {}
    common = {key: first[key] for key in ("fields", "versions", "more") if key in first}
    short = [
        {key: value for key, value in document.items() if key not in common or value != common[key]}
        for document in documents
    ]
    manifest = {
        "format": FORMAT,
        "fingerprint": job["fingerprint"],
        "state": state,
        "common": common,
        "receipts": short,
    }
    content = dump_json(manifest)
    with layout.folder() as root:
        if len(content) > _LIMIT:
            _LOG.info("no manifest, %d bytes are too many; the receipts are read instead", len(content))
            root.remove(layout.manifest.name)  # an older one
            return False
        root.replace(layout.manifest.name, content)
        if _state_of_receipts(layout) == state:
            return True
        root.remove(layout.manifest.name)
    return False


def manifest_is_current(layout: Layout) -> bool:
    """Tell whether there is a manifest of the receipts that are there; else it should be written.

    Args:
        layout: the store.

    Returns:
        False also where it is damaged.

    Raises:
        StoreError: the job or the folder of the receipts cannot be read.
    """
    job = read_job(layout)
    with suppress(StoreError):
        return read_manifest(layout, job, current=True) is not None
    return False


def read_manifest(layout: Layout, job: dict[str, Any], current: bool = False) -> Manifest | None:
    """Read ``manifest.json``.

    Args:
        layout: the store.
        job: of `read_job`.
        current: take it only where the receipts are still those that it was made of.

    Returns:
        The manifest, or None where the job is not complete.

    Raises:
        StoreError: it is not what it should be, or of another job.
    """
    with layout.folder() as root:
        if not root.exists(layout.manifest.name):
            return None
        document = load_json(root.read(layout.manifest.name, _LIMIT), layout.manifest, _is_manifest)
    if document["fingerprint"] != job["fingerprint"] or len(document["receipts"]) != shard_count(job):
        raise StoreError(f"{layout.manifest}: expected {shard_count(job)} receipts of this job, got those of another")
    if current and document["state"] != _state_of_receipts(layout):
        return None
    return Manifest(document["receipts"], document["common"], layout.manifest)


def _state_of_receipts(layout: Layout) -> str:
    """Return a digest of the names, sizes and times of all receipts; none of them is opened."""
    digest = hashlib.sha256()
    if layout.commits.exists():
        with layout.folder("commits") as commits:
            for name in sorted(filter(RECEIPT_NAME.fullmatch, commits.names())):
                with suppress(FileNotFoundError):  # withdrawn this moment: it is not there
                    found = os.stat(name, dir_fd=commits.fd, follow_symlinks=False)
                    digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _is_manifest(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and document.get("format") == FORMAT
        and isinstance(document.get("fingerprint"), str)
        and is_digest(document.get("state"))
        and isinstance(document.get("common"), dict)
        and isinstance(document.get("receipts"), list)
    )
