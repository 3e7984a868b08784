"""The command line: ``xai-fast`` with ``neflag``, ``taylor-cam``, ``t-nid``, ``demo`` or ``doctor``."""

from __future__ import annotations

from xai_fast.cli.entry import main

__all__ = ["main"]
