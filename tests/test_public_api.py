"""The public names, and what importing the package loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

import xai_fast
import xai_fast.attribution
import xai_fast.axioms
import xai_fast.datasets
import xai_fast.graph
import xai_fast.interaction
import xai_fast.jobs
import xai_fast.kernels
import xai_fast.metrics
import xai_fast.models
import xai_fast.plot
import xai_fast.taylor


def test_importing_loads_neither_triton_nor_the_native_module_nor_pictures_and_jobs_no_ray() -> None:
    program = (
        "import sys, torch; before = set(sys.modules); import xai_fast; "
        "print(sorted({'triton', 'xai_fast._native', 'matplotlib', 'PIL'} & (set(sys.modules) - before))); "
        "from xai_fast import jobs; jobs.run; "
        "print([name for name in sys.modules if name.partition('.')[0] in ('ray', 'yaml', 'PIL')])"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


@pytest.mark.parametrize(
    "module",
    [
        xai_fast,
        xai_fast.attribution,
        xai_fast.axioms,
        xai_fast.jobs,
        xai_fast.graph,
        xai_fast.interaction,
        xai_fast.kernels,
        xai_fast.metrics,
        xai_fast.plot,
        xai_fast.datasets,
        xai_fast.models,
        sys.modules["xai_fast.neuralize"],  # the name in the package is the function's
        xai_fast.taylor,
    ],
    ids=lambda module: module.__name__,
)
def test_public_names_exist_and_are_documented(module: object) -> None:
    names = module.__all__
    assert len(set(names)) == len(names) > 0
    for name in names:
        value = getattr(module, name)
        if callable(value):
            assert value.__doc__, name


def test_operators_are_registered() -> None:
    import torch

    for kernel in xai_fast.kernels.__all__:
        assert hasattr(torch.ops.xai_fast, kernel)
