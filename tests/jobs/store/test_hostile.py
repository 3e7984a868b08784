"""Stores that somebody made to do harm: only StoreError comes out, nothing outside is opened, little is allocated."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from batch_stores import begin, commit, complete, copy, opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs import JobSpec, clean, repair, status, verify
from xai_fast.jobs import open as open_store
from xai_fast.jobs.store.job_file import read_job
from xai_fast.jobs.store.shards import content_hash, load_tensors

pytestmark = pytest.mark.usefixtures("quick_disk")
_opened: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | bytes | os.PathLike):
        _opened.append(os.fsdecode(arguments[0]))


sys.addaudithook(_watch)  # it cannot be removed again, so it is there once and mostly asleep


@contextmanager
def _guarded(root: Path) -> Iterator[None]:
    """Half a gigabyte at most, and no file but those of the store."""
    global _opened
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (512 << 20), limits[1]))
    _opened = []
    try:
        yield
    finally:
        opened, _opened = _opened, None
        resource.setrlimit(resource.RLIMIT_AS, limits)
    # Beside the root itself, all that is opened are names within a folder that was opened before.
    own = [name for name in opened if name != str(root) and not name.startswith("/dev/fd/")]
    strange = [name for name in own if "/" in name or name in ("", ".", "..")]
    assert not strange


def _use(root: Path) -> int:
    """Read everything in every way; returns how many things were refused."""
    refused = 0

    def attempt(action: Callable[[], Any]) -> Any:
        nonlocal refused
        try:
            return action()
        except StoreError as error:
            assert str(error)  # noqa: PT017 - it says what is wrong
            refused += 1
            return None

    with _guarded(root):
        read = attempt(lambda: open_store(root))
        if read is not None:
            attempt(lambda: [result for _, result in read])
            for i in range(min(len(read), 12)):
                attempt(lambda i=i: read[i])  # type: ignore[misc]
            attempt(lambda: read[:3])
            attempt(lambda: read[[len(read) - 1, 0]] if len(read) else None)
            attempt(lambda: list(read.failures()))
            attempt(lambda: read.columns(0, min(len(read), 12)))
            attempt(lambda: _explanation(read))
            attempt(lambda: repr(read))
        for deep in (False, True):
            refused += len(attempt(lambda deep=deep: verify(root, deep)) or ())  # type: ignore[misc]
        attempt(lambda: status(root))
        with suppress(InputError):  # it has nothing of a store to be wrong
            attempt(lambda: JobSpec.from_dict(read_job(root)["spec"]))
    return refused + _change(root, attempt)


def _explanation(read: Any) -> None:
    for method in read.methods:
        with suppress(InputError):  # of another class, or with other fields
            read.explanation(method, [0])


def _change(root: Path, attempt: Callable[[Callable[[], Any]], Any]) -> int:
    """What writes to a store, on a copy where it can be copied: a pipe or a file of a terabyte cannot."""
    found = [path for path in root.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    if found or any(path.stat().st_size > 1 << 30 for path in root.rglob("*")):
        return 0
    copied = copy(root, root.parent / f"changed-{len(list(root.parent.iterdir()))}")
    with _guarded(copied):
        before = len(attempt(lambda: repair(copied)) or ())
        attempt(lambda: clean(copied, force=True))
    shutil.rmtree(copied)
    return before


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A job that is done, and one in the middle of it."""
    folder = tmp_path_factory.mktemp("stores")
    running = begin(folder / "running", dtype="int8_scaled")
    commit(running, 0)
    return [complete(folder / "done"), running]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "job"


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _fresh(template: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    return copy(template, place)


def test_the_stores_are_sound(templates: list[Path], place: Path) -> None:
    assert _use(_fresh(templates[0], place)) == 0
    assert _use(_fresh(templates[1], place)) == 7  # items that are not done: 6, and the last with the first


_FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
_EDIT = st.tuples(
    st.sampled_from(["flip", "overwrite", "cut", "insert", "delete"]),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(
        [b"\0" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x7f", b'"' * 4, b"[" * 5000, b"9" * 30, b"../../x", b"\n"]
    ),
)


def _mutate(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, content in edits:
        at = int(where * len(data))
        if kind == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (1 << len(content) % 8)]) + data[at + 1 :]
        elif kind == "overwrite":
            data = data[:at] + content + data[at + len(content) :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "insert":
            data = data[:at] + content + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(content) :]
    return data


def _header(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _write(path: Path, header: object, data: bytes) -> None:
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _sign(path: Path) -> None:
    """Make the header of a shard agree with its content, as somebody who means it would."""
    with suppress(Exception):
        _, shards, _ = opened(path.parents[2])
        folder = shards._folder()
        assert folder is not None
        tensors = load_tensors(folder.folder(path.parent.name), path.name)[1]
        header, data = _header(path)
        about = json.loads(header["__metadata__"]["xai_fast"])
        about["sha256"] = content_hash(about, tensors)
        header["__metadata__"]["xai_fast"] = json.dumps(about)
        _write(path, header, data)


@pytest.mark.slow
@_FUZZ
@given(data=st.data(), edits=st.lists(_EDIT, min_size=1, max_size=3), sign=st.booleans())
def test_mutated_bytes(
    templates: list[Path], place: Path, data: st.DataObject, edits: list[tuple[str, float, bytes]], sign: bool
) -> None:
    root = _fresh(data.draw(st.sampled_from(templates)), place)
    path = data.draw(st.sampled_from(_files(root)))
    path.write_bytes(_mutate(path.read_bytes(), edits))
    if sign and path.parent.parent.name == "shards":
        _sign(path)
    _use(root)


HOSTILE = [
    -1, 0, 1, 2**31, 2**48, 2**63, 2**64 - 1, 10**40, 1.5, -0.0, 1e308, True, False, None, "", "0", "..", "/etc/passwd",
    "../../etc/passwd", "items-0", "a" * 5000, "\ud800", "\0", "float64",
    "int8_scaled", [], [0], [2**62, 0], [2**40], [1] * 40, [[[]]], {}, {"a": 1},
    {"dtype": "float32", "shape": [2**40], "codec": "float32"},
]  # fmt: skip


SPEC = {
    "source": {"kind": "images", "path": "/photos", "labels": "folders"},
    "method": [{"name": "gradcam", "options": {"layer": "features"}, "as": "maps"}, "neflag"],
    "model": {"reference": "package.module:model", "arguments": {"a": 1}, "weights_sha256": "0" * 64},
    "target": [1, 2],
}


@_FUZZ
@given(data=st.data(), value=st.sampled_from([*HOSTILE, float("nan"), float("inf")]))
def test_mutated_descriptions(data: st.DataObject, value: object) -> None:
    document: Any = JobSpec.from_dict(SPEC).to_dict()
    for _ in range(data.draw(st.integers(1, 2))):
        document = _replace(document, data.draw(st.sampled_from(list(_paths(document)))), value)
    with suppress(InputError):
        again = JobSpec.from_dict(document)
        assert JobSpec.from_dict(json.loads(json.dumps(again.to_dict()))) == again


def _paths(document: object, path: tuple = ()) -> Iterator[tuple]:
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield from _paths(value, (*path, key))


def _replace(document: Any, path: tuple, value: object) -> Any:
    if not path:
        return value
    changed = dict(document) if isinstance(document, dict) else list(document)
    changed[path[0]] = _replace(document[path[0]], path[1:], value)
    return changed


@_FUZZ
@given(data=st.data(), value=st.sampled_from(HOSTILE))
def test_mutated_json(templates: list[Path], place: Path, data: st.DataObject, value: object) -> None:
    root = _fresh(data.draw(st.sampled_from(templates)), place)
    path = data.draw(st.sampled_from([path for path in _files(root) if path.suffix == ".json"]))
    document = json.loads(path.read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        document = _replace(document, data.draw(st.sampled_from(list(_paths(document)))), value)
    path.write_text(json.dumps(document))
    _use(root)


@_FUZZ
@given(data=st.data(), value=st.sampled_from(HOSTILE), sign=st.booleans())
def test_mutated_headers(templates: list[Path], place: Path, data: st.DataObject, value: object, sign: bool) -> None:
    root = _fresh(templates[0], place)
    path = next(root.glob("shards/*/*1.safetensors"))
    header, content = _header(path)
    about = json.loads(header["__metadata__"]["xai_fast"])
    if data.draw(st.booleans()):
        changed = _replace(about, data.draw(st.sampled_from([one for one in _paths(about) if one])), value)
        header["__metadata__"]["xai_fast"] = json.dumps(changed)
    else:
        header = _replace(header, data.draw(st.sampled_from([one for one in _paths(header) if one])), value)
    _write(path, header, content)
    if sign:
        _sign(path)
    _use(root)


def _link(target: str) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        if path.is_dir():
            shutil.move(path, path.parent.parent / "elsewhere")
        else:
            path.unlink()
        path.symlink_to(target.format(elsewhere=path.parent.parent / "elsewhere"))

    return replace


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _sparse(path: Path) -> None:
    os.truncate(path, 1 << 40)


REPLACEMENTS = [
    *[(folder, _link("{elsewhere}")) for folder in ("shards", "shards/000000", "items-*")],
    *[
        (file, change)
        for file in ("job.json", "items-*/*", "shards/000000/*")
        for change in (_link("/etc/passwd"), _link("/dev/zero"), _link("nowhere"), _pipe, _folder, _sparse)
    ],
]


@pytest.mark.parametrize(("name", "change"), REPLACEMENTS)
def test_links_pipes_folders_and_huge_files(
    templates: list[Path], place: Path, name: str, change: Callable[[Path], None]
) -> None:
    root = _fresh(templates[0], place)
    change(sorted(root.glob(name))[0])
    assert _use(root)


@pytest.mark.parametrize("folder", ["shards", "shards/000000"])
def test_cleaning_and_writing_do_not_leave_the_store(templates: list[Path], place: Path, folder: str) -> None:
    """Folders that are links to elsewhere: nothing there is removed, and nothing is written there."""
    root = _fresh(templates[0], place)
    elsewhere = place.parent / "elsewhere"
    elsewhere.mkdir()
    for name in (".tmp-0123", "000000000.safetensors", "000000"):
        (elsewhere / name).write_text("precious")
    shutil.rmtree(root / folder)
    (root / folder).symlink_to(elsewhere)
    actions: list[Callable[[], object]] = [
        lambda: clean(root, force=True),
        lambda: repair(root),
        lambda: commit(root, 0),
        lambda: commit(root, 0, replace=True),
        lambda: opened(root)[1].remove(0),
    ]
    for act in actions:
        with suppress(StoreError):
            act()
    assert len(list(elsewhere.iterdir())) == 3
    assert {path.read_text() for path in elsewhere.iterdir()} == {"precious"}


def test_nothing_is_unpickled(templates: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pickle.loads", lambda *arguments: pytest.fail("unpickled"))
    monkeypatch.setattr("pickle.load", lambda *arguments: pytest.fail("unpickled"))
    assert _use(_fresh(templates[0], place)) == 0
