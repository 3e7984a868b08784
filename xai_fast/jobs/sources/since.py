"""What has become of the files of a source since its job began: looked up in the file system, nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping

from xai_fast.errors import InputError
from xai_fast.jobs.sources.base import FrozenItems
from xai_fast.jobs.sources.images import picture_names

__all__ = ["changes_since"]

_MOST_LISTED = 200_000
"""Pictures that are listed on every run: some tenths of a second."""


def changes_since(described: Mapping[str, object], identity: Mapping[str, object], items: FrozenItems) -> list[str]:
    """Tell how a source differs from what it was. What items look like inside is left to those who read them.

    Args:
        described: the source of the job.
        identity: what `Source.identity` gave when the job began.
        items: the frozen list.

    Returns:
        A sentence for each difference; none where there is nothing to be seen, or no cheap way to look.
    """
    if described["kind"] in ("array", "table"):
        labels = identity.get("labels")
        lines = _of_file(str(described["path"]), identity)
        return lines + (_of_file(str(described.get("labels")), labels) if isinstance(labels, Mapping) else [])
    if described["kind"] != "images" or len(items) > _MOST_LISTED:
        return []
    known = {items.id(index) for index in range(len(items))}
    try:
        found = set(picture_names(described))
    except InputError as error:
        return [str(error)]
    added, removed = len(found - known), len(known - found)
    if not added and not removed:
        return []
    parts = [f"{_files(added)} added"] if added else []
    parts += [f"{removed if added else _files(removed)} removed"] if removed else []
    ending = f"; {'it is' if added == 1 else 'they are'} not part of it" if added else ""
    return [f"{' and '.join(parts)} since this job began{ending}"]


def _of_file(path: str, was: Mapping[str, object]) -> list[str]:
    try:
        status = os.stat(path)
    except OSError as error:
        return [f"{path}, of which this job is, cannot be looked at: {error.strerror}"]
    if was.get("bytes") != status.st_size:
        return [f"{path} had {was.get('bytes')} bytes when this job began, and has {status.st_size} now"]
    return [] if was.get("mtime_ns") == status.st_mtime_ns else [f"{path} was written to since this job began"]


def _files(count: int) -> str:
    return "1 file was" if count == 1 else f"{count} files were"
