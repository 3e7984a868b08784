"""Which pictures are explained, and what their results are called."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xai_fast.errors import bad_argument
from xai_fast.suites import sample_photos

__all__ = ["SUFFIXES", "Picture", "content_id", "find_pictures", "output_file", "sample_pictures", "shown"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Picture:
    """A file to explain.

    Attributes:
        name: unique in the run, with "/" between folders; results are called after it.
        path: the file.
        label: the true class, or None where nobody knows.
    """

    name: str
    path: Path
    label: int | None = None


def find_pictures(paths: Sequence[Path], *, leave_out: Path) -> list[Picture]:
    """Collect the pictures in folders and their subfolders, sorted, and the files that are named one by one.

    In folders, files are known by their suffix (any case of `SUFFIXES`), and names that begin with a dot are left out.
    A file that is found twice counts once.

    Args:
        paths: folders and files.
        leave_out: the output folder, whose pictures are results of an earlier run.

    Returns:
        The pictures, in the order of the paths and sorted within a folder.

    Raises:
        InputError: a path does not exist, or there is no picture in any of them.
    """
    folders = [path for path in paths if path.is_dir()]
    found: dict[Path, str] = {}
    for path in paths:
        if path.is_dir():
            # With several folders the name says which one.
            prefix = PurePosixPath(path.resolve().name) if len(folders) > 1 else PurePosixPath()
            for file in _walk(path, leave_out.resolve()):
                found.setdefault(file.resolve(), str(prefix / file.relative_to(path).as_posix()))
        elif path.exists():
            found.setdefault(path.resolve(), path.name)
        else:
            raise bad_argument("paths", "folders and pictures that exist", shown(str(path)))
    if not found:
        where = ", ".join(shown(str(path)) for path in paths)
        raise bad_argument("paths", f"at least one picture ({', '.join(SUFFIXES)})", f"none in {where}")
    return [Picture(name, path) for name, path in zip(_unique(list(found.values())), found, strict=True)]


def sample_pictures() -> list[Picture]:
    """Collect the sample photos of installed packages, see `xai_fast.suites.sample_photos`."""
    return [Picture(photo.name, photo.path, photo.label) for photo in sample_photos()]


def content_id(data: bytes) -> int:
    """Give the identity of a picture for the random points: 53 bits of a hash of the file's content.

    So the map of a picture stays the same when the file is renamed or moved, or others are added to its folder. JSON
    readers keep 53 bits exactly.

    Args:
        data: the whole file.

    Returns:
        A number from 0 to 2**53 - 1.
    """
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 11


def output_file(folder: Path, name: str, suffix: str) -> Path:
    """Give the path of a result: the picture's whole name and a suffix, so that ``a.png`` and ``a.jpg`` do not collide.

    Args:
        folder: where results of this kind are.
        name: of the picture.
        suffix: such as ".npz".

    Returns:
        A path in the folder, or in a subfolder of it.
    """
    relative = PurePosixPath(name)
    last = relative.name
    if len(os.fsencode(last)) > _LONGEST_NAME:
        digest = hashlib.blake2b(os.fsencode(last), digest_size=8).hexdigest()
        last = os.fsdecode(os.fsencode(last)[: _LONGEST_NAME // 2]) + "-" + digest
    return folder / relative.parent / (last + suffix)


def shown(text: str) -> str:
    """Give text that any terminal and file can take: bytes of a file name that are no UTF-8 become U+FFFD."""
    return os.fsencode(text).decode("utf-8", "replace")


def _walk(folder: Path, leave_out: Path) -> list[Path]:
    files: list[Path] = []
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        subfolders[:] = [name for name in subfolders if (Path(parent) / name).resolve() != leave_out]
        files += [Path(parent) / n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")]
    return sorted(files, key=lambda file: file.relative_to(folder).parts)


def _unique(names: Sequence[str]) -> list[str]:
    """Number names that are taken already, also where a file system takes different cases or encodings for the same."""
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 1
        while (key := unicodedata.normalize("NFC", candidate).casefold()) in taken:
            number += 1
            path = PurePosixPath(name)
            candidate = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
        taken.add(key)
        result.append(candidate)
    return result
