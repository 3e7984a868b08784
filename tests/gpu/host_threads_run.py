"""Runs cases on the CUDA kernels that g++ compiled, in a process that a sanitizer watches; prints what was right.

    python host_threads_run.py LIBRARY KERNEL CASE [LIBRARY KERNEL CASE ...]

The folders of the tests are on the path.
Tensors have storages of their own, without guards, so that the address sanitizer sees where they end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cuda_builds import HostModule, running_on
from cuda_runs import find_case, right


def main(*arguments: str) -> None:
    """Run the cases."""
    for library, kernel, name in zip(arguments[::3], arguments[1::3], arguments[2::3], strict=True):
        running = running_on(HostModule(Path(library)), pytest.MonkeyPatch())
        good = right(kernel, find_case(kernel, name), running, before=0, after=0)
        print("right" if good else "wrong", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
