"""The wheel that the state ``wheel`` has built: its platform, what is in it, and its kernels where nothing compiles."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
WHEEL = Path(os.environ.get("XAI_FAST_WHEEL", "none"))
pytestmark = [
    pytest.mark.wheel,
    pytest.mark.skipif(not WHEEL.is_file(), reason="needs a wheel that is built and repaired, in XAI_FAST_WHEEL"),
]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


def _run(command: list[str], **options: object) -> str:
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_the_wheel_runs_on_other_distributions_of_linux() -> None:
    assert re.search(r"-cp3\d+-cp3\d+-manylinux_2_\d+_\w+\.whl$", WHEEL.name)
    found = json.loads(_run([sys.executable, "-m", "auditwheel", "show", "--json", str(WHEEL)]))
    assert found["sym_tag"] in WHEEL.name
    assert (list(found["external_libs"]), found["unsupported_isa"]) == (["libgomp.so.1"], False)
    with zipfile.ZipFile(WHEEL) as archive:
        names = archive.namelist()
    # A copy of the OpenMP runtime would have threads of its own beside those of torch.
    assert [name for name in names if ".so" in name] == [name for name in names if "/_native" in name]
    licence = [name for name in names if name.endswith("licenses/LICENSE")]
    assert (len(licence), "xai_fast/py.typed" in names) == (1, True)


def test_its_kernels_run_where_there_is_no_compiler(tmp_path: Path) -> None:
    target = tmp_path / "installed"
    _run([*PIP, "install", "--no-deps", "--no-index", "--target", str(target), str(WHEEL)])
    empty = {"PATH": str(tmp_path), "PYTHONPATH": str(target), "HOME": str(tmp_path)}
    assert [name for name in ("cc", "c++", "gcc", "g++", "clang++") if shutil.which(name, path=str(tmp_path))] == []
    program = Path(shutil.copy(Path(__file__).with_name("native_kernels.py"), tmp_path))
    said = _run([sys.executable, str(program)], cwd=tmp_path, env=empty).splitlines()
    assert said[0] == str(target / "xai_fast")
    assert said[1] in ("baseline", "avx2", "avx512")


def test_the_source_distribution_is_complete_and_gave_a_wheel() -> None:
    folder = WHEEL.parent.parent
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    files = {"LICENSE", "CITATION.cff", "SECURITY.md", "CHANGELOG.md", "README.md", "CMakeLists.txt"}
    assert files | {"xai_fast/py.typed", "tests/wheel/native_kernels.py"} <= names
    (of_the_source,) = (folder / "of-the-source").glob("*-py3-none-any.whl")
    with zipfile.ZipFile(of_the_source) as one, zipfile.ZipFile(WHEEL) as other:
        assert _python(one) == _python(other)


def _python(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if re.match(r"xai_fast/.*[^/]$", name) and ".so" not in name}
