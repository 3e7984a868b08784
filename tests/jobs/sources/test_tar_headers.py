"""The quick reader of tar headers against the standard library's."""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xai_fast.jobs.sources import tar_headers
from xai_fast.jobs.sources.tar_headers import PlainFile, plain_files

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
TYPES = [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE]
TYPES += [tarfile.FIFOTYPE, tarfile.CHRTYPE]

MEMBERS = st.lists(
    st.tuples(
        st.one_of(st.text("ab/.ü", min_size=1, max_size=12), st.integers(90, 300).map(lambda n: "d/" * (n // 2) + "x")),
        st.binary(max_size=1200),
        st.sampled_from(TYPES + [tarfile.REGTYPE] * 8),
        st.sampled_from([0, 1.25, 2**34]),
    ),
    max_size=6,
)


def write(path: Path, members: list[tuple[str, bytes, bytes, float]], form: int, **options: object) -> None:
    with tarfile.open(path, "w", format=form, **options) as archive:  # type: ignore[call-overload]
        for name, data, kind, changed in members:
            member = tarfile.TarInfo(name)
            member.type, member.mtime = kind, changed
            member.linkname = "target" * 30 if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            member.size = len(data) if kind in tarfile.REGULAR_TYPES else 0
            try:
                archive.addfile(member, io.BytesIO(data))
            except ValueError:  # this format has no room for the name
                return


def literal(path: Path) -> list[PlainFile]:
    with tarfile.open(path, "r:") as archive:
        return [PlainFile(m.name, m.offset_data, m.size) for m in archive if m.isreg() and not m.issparse()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(members=MEMBERS, form=st.sampled_from(FORMATS))
def test_both_find_the_same_files(members: list[tuple[str, bytes, bytes, float]], form: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write(path, members, form)
    assert list(plain_files(str(path))) == literal(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(data=st.data(), members=MEMBERS, form=st.sampled_from(FORMATS))
def test_damaged_files_are_read_within_their_bounds_or_refused(
    data: st.DataObject, members: list[tuple[str, bytes, bytes, float]], form: int, tmp_path: Path
) -> None:
    path = tmp_path / "x.tar"
    write(path, members, form)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 4000) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    try:
        found = list(plain_files(str(path)))
    except tarfile.ReadError:
        return
    assert all(f.size >= 0 and f.offset >= 512 for f in found)


def test_global_records_and_large_numbers_are_left_to_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ("a.png", b"12345", tarfile.REGTYPE, 0.0)
    write(tmp_path / "x.tar", [one] * 3, tarfile.PAX_FORMAT, pax_headers={"comment": "of all"})
    assert list(plain_files(str(tmp_path / "x.tar"))) == literal(tmp_path / "x.tar")
    # Also in the middle: what was read before is not given twice.
    write(tmp_path / "y.tar", [one] * 3, tarfile.GNU_FORMAT)
    content = (tmp_path / "y.tar").read_bytes()
    x = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "z.tar").write_bytes(content[:2048] + x)
    assert len(list(plain_files(str(tmp_path / "z.tar")))) == 5
    assert list(plain_files(str(tmp_path / "z.tar"))) == literal(tmp_path / "z.tar")
    monkeypatch.setattr(tar_headers, "_thoroughly", lambda path: pytest.fail("not needed"))
    write(tmp_path / "w.tar", [("d/" * 70 + "é.png", b"1", tarfile.REGTYPE, 1.5)] * 2, tarfile.PAX_FORMAT)
    assert list(plain_files(str(tmp_path / "w.tar"))) == literal(tmp_path / "w.tar")


@pytest.mark.parametrize("length", [1, 100, 511, 513, 700, 1023])
def test_a_file_that_was_cut_off_is_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write(path, [("a.png", b"1" * 600, tarfile.REGTYPE, 0.0)], tarfile.USTAR_FORMAT)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(tarfile.ReadError):
        list(plain_files(str(path)))


def header(name: str, size: bytes, kind: bytes) -> bytes:
    """A header whose size may say anything."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT)[:512])
    block[124:136], block[148:156], block[156:157] = size.ljust(12, b"\0"), b" " * 8, kind
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("kind", [b"0", b"L", b"x", b"g", b"S", b"1", b"D"])
@pytest.mark.parametrize("size", [b"-1000", b"-2000", b"-3000", b"+10", b"1_0", b"0o10", b"\xff" * 10 + b"\xf8\x00"])
def test_sizes_that_are_no_octal_numbers_end(size: bytes, kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(header("a.jpg", b"0", b"0") + header("b.jpg", size, kind) + bytes(4096))
    try:
        found = list(itertools.islice(plain_files(str(path)), 50))
    except (tarfile.ReadError, OSError):  # the library may look before the beginning of the file
        return
    assert len(found) <= 2
