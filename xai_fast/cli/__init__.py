"""The command line: ``xai-fast`` with ``explain``, ``run``, ``jobs``, ``t-nid``, ``demo`` and ``doctor``."""

from __future__ import annotations

from xai_fast.cli.entry import main

__all__ = ["main"]
