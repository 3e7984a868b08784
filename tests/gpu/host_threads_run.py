"""Runs cases on the CUDA kernels that g++ compiled, in a process that a sanitizer watches; prints what was right.

    python host_threads_run.py LIBRARY KERNEL OPERATOR CASE [OPERATOR CASE ...]

The folders of the tests are on the path.
Tensors have storages of their own, without guards, so that the address sanitizer sees where they end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cuda_builds import HostModule, running_on
from cuda_runs import backend_of, find_case, right


def main(library: str, kernel: str, *names: str) -> None:
    """Run the cases."""
    module = HostModule(Path(library))
    for operator, name in zip(names[::2], names[1::2], strict=True):
        running = running_on(module, backend_of(kernel), pytest.MonkeyPatch())
        print(
            "right" if right(operator, find_case(operator, name), running, before=0, after=0) else "wrong", flush=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
