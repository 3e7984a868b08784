"""The manifest of a complete job: all receipts in one file, so that opening it does not read thousands of them."""

from __future__ import annotations

from typing import Any

from xai_fast.batch.store.folders import dump_json, load_json
from xai_fast.batch.store.layout import FORMAT, Layout, read_job, shard_stem
from xai_fast.batch.store.receipt import Receipt, parse_receipt
from xai_fast.batch.store.receipts import receipts
from xai_fast.errors import StoreError

__all__ = ["Manifest", "read_manifest", "shard_count", "write_manifest"]

_LIMIT = 1 << 28


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


def write_manifest(layout: Layout) -> None:
    """Write ``manifest.json``; all shards have to be committed.

    Args:
        layout: the store.

    Raises:
        StoreError: a shard is missing, a receipt is damaged, or it cannot be written.
    """
    job = read_job(layout)
    documents = [receipt.to_dict() for receipt in receipts(layout)]
    if [document["shard"] for document in documents] != list(range(shard_count(job))):
        raise StoreError(f"{layout.commits}: expected receipts of {shard_count(job)} shards, got {len(documents)}")
    first = documents[0] if documents else {}
    common = {key: first[key] for key in ("fields", "versions", "more") if key in first}
    short = [
        {key: value for key, value in document.items() if key not in common or value != common[key]}
        for document in documents
    ]
    manifest = {"format": FORMAT, "fingerprint": job["fingerprint"], "common": common, "receipts": short}
    with layout.folder() as root:
        root.replace(layout.manifest.name, dump_json(manifest))


def read_manifest(layout: Layout, job: dict[str, Any]) -> Manifest | None:
    """Read ``manifest.json``.

    Args:
        layout: the store.
        job: of `read_job`.

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
    return Manifest(document["receipts"], document["common"], layout.manifest)


def _is_manifest(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and document.get("format") == FORMAT
        and isinstance(document.get("fingerprint"), str)
        and isinstance(document.get("common"), dict)
        and isinstance(document.get("receipts"), list)
    )
