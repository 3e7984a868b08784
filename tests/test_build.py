"""What an installation leaves out and says, what the packages contain, and how the native module lives with torch."""

from __future__ import annotations

import ctypes.util
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

from benchmarks import install
from xai_fast import backends, native

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="needs the source tree")
needs_native = pytest.mark.skipif(backends.native_missing() is not None, reason="the native module is not there")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def _setup(command: list[str], tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of setup.py in a copy of what an installation reads, with the environment of a user."""
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    if not source.exists():
        names = [name for name in ("csrc", "xai_fast", "tests", "benchmarks") if (ROOT / name).exists()]
        for name in names:
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, source)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("XAI_FAST_") and name != "CXX"}
    return subprocess.run(
        [sys.executable, "setup.py", *command],
        cwd=source,
        env=clean | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


BUILD = ["build_ext", "--build-lib", "library", "--build-temp", "objects"]
NO_COMPILER = {"CXX": "no-such-compiler"}
# what is set; whether it succeeds; what is said
MODES = [
    ({"XAI_FAST_NATIVE": "off"}, True, "left out the native module: XAI_FAST_NATIVE=off"),
    ({"XAI_FAST_NATIVE": "sometimes"}, False, "XAI_FAST_NATIVE: expected one of auto, off, required, got 'sometimes'"),
    ({"XAI_FAST_CUDA": "sometimes"}, False, "XAI_FAST_CUDA: expected one of auto, off, required, got 'sometimes'"),
    ({"XAI_FAST_NATIVE": "off", "XAI_FAST_CUDA": "required"}, False, "XAI_FAST_CUDA=required needs the native module"),
    (NO_COMPILER, True, "left out the native module: there is no C++ compiler (no-such-compiler)"),
    ({"XAI_FAST_NATIVE": "required", **NO_COMPILER}, False, "required, but there is no C++ compiler"),
    ({"XAI_FAST_CUDA": "required", **NO_COMPILER}, False, "required, but there is no C++ compiler"),
    ({"PATH": ""}, True, "left out the native module: there is no cmake"),
    ({"PATH": "", "XAI_FAST_NATIVE": "required"}, False, "required, but there is no cmake"),
]


@pytest.mark.parametrize(("environment", "succeeds", "message"), MODES)
def test_modes(environment: dict[str, str], succeeds: bool, message: str, tmp_path: Path) -> None:
    if "C++" in message:
        pytest.importorskip("pybind11")
        if shutil.which("cmake") is None:
            pytest.skip("no cmake")
    done = _setup(BUILD, tmp_path, **environment)
    assert (done.returncode == 0) == succeeds, done.stdout
    assert message in done.stdout
    assert not list((tmp_path / "source").glob("library/**/*.so"))


@pytest.mark.parametrize(("mode", "succeeds"), [("auto", True), ("required", False)])
def test_a_compiler_that_fails(mode: str, succeeds: bool, tmp_path: Path) -> None:
    pytest.importorskip("pybind11")
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    compiler = tmp_path / "broken-compiler"
    compiler.write_text("#!/bin/sh\necho this compiler is broken\nexit 1\n")
    compiler.chmod(0o755)
    done = _setup(BUILD, tmp_path, CXX=str(compiler), XAI_FAST_NATIVE=mode)
    assert (done.returncode == 0) == succeeds, done.stdout
    assert "this compiler is broken" in done.stdout
    assert ("left out the native module; the plain PyTorch kernels will run" in done.stdout) == succeeds
    assert not list((tmp_path / "source").glob("library/**/*.so"))


# Says what it is asked for, and "builds" a file of the right name.
CMAKE = """#!/bin/sh
echo "cmake $*"
for argument; do
  case $argument in
    -B*) folder=${argument#-B} ;;
    -DXAI_FAST_EXTENSION=*) name=${argument#*=} ;;
  esac
done
[ "$1" = --build ] && exit
mkdir -p "$folder" && echo "$CXX" > "$folder/$name"
exit ${CONFIGURED:-0}
"""


def _tools(tmp_path: Path, *others: str) -> str:
    """Make a PATH on which cmake is the one above, and the compiler and others do nothing."""
    folder = tmp_path / "tools"
    folder.mkdir(exist_ok=True)
    for name in ("cmake", "c++", "another", *others):
        (folder / name).write_text(CMAKE if name == "cmake" else "#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def _given(done: subprocess.CompletedProcess[str], option: str) -> list[str]:
    # What has failed is printed once more.
    return list(dict.fromkeys(re.findall(rf"^cmake -S.* {option}=?(\S+)", done.stdout, re.MULTILINE)))


# Whether there is a driver; XAI_FAST_CUDA; whether CMake fails; what CMake is told of CUDA in turn
CUDA = [
    (False, "auto", False, ["no_driver"]),
    (False, "auto", True, ["no_driver"]),
    (False, "off", False, ["off"]),
    (False, "required", False, ["required"]),
    (True, "auto", False, ["auto"]),
    (True, "auto", True, ["auto", "off"]),
    (True, "off", False, ["off"]),
    (True, "required", True, ["required"]),
]


@pytest.mark.skipif(os.name != "posix", reason="its tools are shell scripts")
@pytest.mark.parametrize(("driver", "mode", "fails", "told"), CUDA)
def test_cuda_is_compiled_where_it_can_run(
    driver: bool, mode: str, fails: bool, told: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("pybind11")
    if not driver and (ctypes.util.find_library("cuda") or list(Path("/dev").glob("nvidia*"))):
        pytest.skip("this machine has a driver")
    path = _tools(tmp_path, *["nvidia-smi"] * driver)
    done = _setup(BUILD, tmp_path, PATH=path, XAI_FAST_CUDA=mode, CONFIGURED=str(int(fails)))
    assert _given(done, "-DXAI_FAST_CUDA") == told
    assert (done.returncode == 0) == (not fails or mode == "auto"), done.stdout
    source = tmp_path / "source"
    assert len(list(source.glob("library/xai_fast/_native*"))) == (0 if fails else 1)
    assert len(list(source.glob("build/cmake-*"))) == (0 if fails else 1)  # the next one looks for everything anew


# What else the second build is given; whether it goes on where the first one was.
AGAIN = [
    ({}, True),
    ({"CMAKE_BUILD_PARALLEL_LEVEL": "7"}, True),
    ({"CXX": "another"}, False),
    ({"CXXFLAGS": "-O0"}, False),
    ({"XAI_FAST_CUDA": "required"}, False),
    ({"XAI_FAST_SANITIZE": "address"}, False),
]


@pytest.mark.skipif(os.name != "posix", reason="its tools are shell scripts")
@pytest.mark.parametrize(("changed", "same"), AGAIN)
def test_what_was_compiled_is_used_again(changed: dict[str, str], same: bool, tmp_path: Path) -> None:
    pytest.importorskip("pybind11")
    environment = {"PATH": _tools(tmp_path), "CXX": "c++"}
    first = _setup(BUILD, tmp_path, **environment)
    second = _setup(BUILD, tmp_path, **environment | changed)
    assert (first.returncode, second.returncode) == (0, 0), second.stdout
    assert (_given(first, "-B") == _given(second, "-B")) == same
    assert f"--parallel {changed.get('CMAKE_BUILD_PARALLEL_LEVEL', '')}" in second.stdout
    (module,) = (tmp_path / "source").glob("library/xai_fast/_native*")
    assert module.read_text() == f"{(environment | changed)['CXX']}\n"


@pytest.mark.skipif(os.name != "posix", reason="ends a session of processes")
def test_the_times_of_an_installation_end_with_the_first_picture(tmp_path: Path) -> None:
    picture = f"mkdir -p $(dirname {install.PICTURE}); touch {install.PICTURE}; sleep 60"
    steps = {"clone": ["true"], install.TORCH: ["sleep", "0.2"], "first picture": ["sh", "-c", picture]}
    found = install.measure(tmp_path, steps, tmp_path / "kept.json")
    assert found == json.loads((tmp_path / "kept.json").read_text())
    assert list(found["steps"]) == list(steps)
    assert 0.2 <= found["steps"][install.TORCH]["seconds"] < 10
    assert found["steps"]["first picture"]["seconds"] < 10
    seconds = {"clone": 1, install.TORCH: 30, "first picture": 4}
    found["steps"] = {name: {"seconds": value, "cpu_seconds": 2 * value} for name, value in seconds.items()}
    rows = [line for line in install.table(found).splitlines() if line.startswith("| **")]
    assert rows == ["| **all** | 35 s | 70 s |", "| **all but torch** | 5 s | 10 s |"]
    with pytest.raises(subprocess.CalledProcessError):
        install.measure(tmp_path / "..", {"clone": ["false"]}, tmp_path / "kept.json")


@pytest.mark.parametrize("package", ["pybind11", "torch"])
def test_headers_are_those_of_pybind11_or_else_of_torch(package: str, tmp_path: Path) -> None:
    pytest.importorskip("pybind11")
    cmake = tmp_path / "bin" / "cmake"
    cmake.parent.mkdir()
    cmake.write_text('#!/bin/sh\necho "$@"\nexit 1\n')
    cmake.chmod(0o755)
    if package == "torch":  # a pybind11 without its headers
        (tmp_path / "first" / "pybind11").mkdir(parents=True)
        (tmp_path / "first" / "pybind11" / "__init__.py").touch()
    path = os.pathsep.join([str(cmake.parent), os.environ["PATH"]])
    done = _setup(BUILD, tmp_path, PATH=path, PYTHONPATH=str(tmp_path / "first"), XAI_FAST_CUDA="off")
    (headers,) = {word for word in done.stdout.split() if word.startswith("-DXAI_FAST_PYBIND11=")}
    assert headers.endswith(f"/{package}/include")


def test_a_wheel_without_the_native_module_is_pure_and_has_its_data(tmp_path: Path) -> None:
    done = _setup(["-q", "bdist_wheel", "-d", "wheels"], tmp_path, XAI_FAST_NATIVE="off")
    assert done.returncode == 0, done.stdout
    (wheel,) = (tmp_path / "source" / "wheels").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    contents = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "xai_fast").rglob("*")
        if path.suffix in (".py", ".html", ".css", ".js", ".typed", ".safetensors", ".json")
    }
    assert expected <= contents
    assert not [name for name in contents if name.endswith((".so", ".cpp", ".h", ".cu")) or name.startswith("tests")]


def test_a_source_distribution_can_build_the_native_module(tmp_path: Path) -> None:
    done = _setup(["-q", "sdist", "-d", "archives"], tmp_path, XAI_FAST_NATIVE="off")
    assert done.returncode == 0, done.stdout
    (archive,) = (tmp_path / "source" / "archives").iterdir()
    with tarfile.open(archive) as tar:
        contents = {name.partition("/")[2] for name in tar.getnames()}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").rglob("*") if path.is_file()}
    assert {"setup.py", "pyproject.toml", "CMakeLists.txt", "README.md", *sources} <= contents


@needs_native
def test_the_native_module_imports_without_torch_and_without_a_driver() -> None:
    # The module of this environment; that it is built anew where it has to be is what the state "sanitizers" does.
    program = (
        "import importlib.util, sys; "
        "spec = importlib.util.spec_from_file_location('_native', sys.argv[1]); "
        "_native = importlib.util.module_from_spec(spec); spec.loader.exec_module(_native); "
        "assert 'torch' not in sys.modules; "
        "devices = _native.cuda_devices(); print(_native.build_info()['cuda']); "
        "assert devices['names'] or devices['error'], devices; "
        "print(*_native.kernels); "
        "assert _native.isa() == _native.available_isas()[-1]"
    )
    command = [sys.executable, "-c", program, native.module().__file__]
    cuda, kernels = subprocess.run(command, text=True, capture_output=True, check=True).stdout.splitlines()
    assert cuda.startswith(("nvcc ", "left out: "))
    assert kernels.split() == sorted(path.parent.name for path in (ROOT / "csrc" / "kernels").glob("*/bind.cpp"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_the_shared_arithmetic_compiles_for_a_gpu(tmp_path: Path) -> None:
    source = tmp_path / "shared.cu"
    source.write_text(
        """
        #include "normal.h"
        #include "philox.h"
        struct Lane {
          using Scalar = float; using Real = float; using Word = uint32_t; using Int = int32_t;
          static XAI_FAST_HD float convert(int32_t value) { return float(value); }
          static XAI_FAST_HD float real_of(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
          static XAI_FAST_HD uint32_t bits_of(float value) { uint32_t x; memcpy(&x, &value, 4); return x; }
          static XAI_FAST_HD float square_root(float value) { return sqrtf(value); }
        };
        __global__ void normals(float* z) {
          uint32_t counter[1][4] = {{threadIdx.x, 0, 0, 0}};
          xai_fast::philox4x32<xai_fast::ScalarPhilox>(counter, 1, 2);
          xai_fast::box_muller<Lane>(counter[0][0], z[2 * threadIdx.x], z[2 * threadIdx.x + 1]);
        }
        """
    )
    command = [
        "nvcc",
        "-std=c++17",
        "-arch=sm_80",
        "-cubin",
        f"-I{ROOT / 'csrc'}",
        "-o",
        str(tmp_path / "o"),
        str(source),
    ]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout


# Runs torch's threads and the kernels' in turn; prints the OpenMP libraries whose code runs, and the threads.
OPENMP = """
import os, sys
if sys.argv[1] == "native first":
    import xai_fast._native
import torch
torch.set_num_threads(4)
x = torch.rand(1 << 18)
(x + 1).sum()
before = len(os.listdir("/proc/self/task"))
import xai_fast
from xai_fast.kernels import random_points
points = torch.empty(64, 4096)
one = torch.zeros(64, dtype=torch.int64)
arguments = (points, torch.zeros(1, 4096), one, one[:1], torch.arange(64), torch.ones(64, dtype=torch.bool))
with xai_fast.use_backend("native"):
    for _ in range(3):
        random_points(*arguments, radius=1.0, kind="sphere", seed=0)
        (x + 1).sum()
after = len(os.listdir("/proc/self/task"))
assert torch.isfinite(points).all()
print(before, after)
"""


@needs_native
@linux
@pytest.mark.parametrize("order", ["torch first", "native first"])
def test_kernels_and_torch_share_their_threads(order: str) -> None:
    # Two OpenMP runtimes would have two pools of threads, each waiting busily for the other's processors.
    done = subprocess.run([sys.executable, "-c", OPENMP, order], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = (int(number) for number in done.stdout.split())
    assert before >= 4
    assert after == before
