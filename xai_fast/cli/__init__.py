"""The command line: ``xai-fast neflag``, ``xai-fast taylor-cam``, ``xai-fast demo``, ``xai-fast doctor``."""

from __future__ import annotations

from xai_fast.cli.entry import main

__all__ = ["main"]
