"""The site, built once for all tests of this folder, with the examples executed unless XAI_FAST_EXAMPLES=0.

XAI_FAST_SITE names a folder that has it already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import browser as browser  # a fixture, for the tests here

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def site() -> Path:
    if built := os.environ.get("XAI_FAST_SITE"):
        return Path(built).resolve()
    for package in ("sphinx", "pydata_sphinx_theme", "myst_parser", "sphinx_gallery", "sphinx_copybutton"):
        pytest.importorskip(package, reason="needs what requirements/docs.txt lists")
    out = ROOT / "build" / "docs"
    options = ["-W", "--keep-going", "-n", "-q", "-E", "-D", "sphinx_gallery_conf.run_stale_examples=1"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "-d", str(out / "doctrees"), "docs", str(out / "html")],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": "agg"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    return out / "html"
