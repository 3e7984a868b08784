"""A gallery of the items of a long job: as pages in a folder, or on demand from a server for this machine only.

The page loads its data by pieces, so that it stays quick at 100,000 items: numbers of all items once, to filter and
sort by, and pictures for the cards that are seen.
"""

from __future__ import annotations

from xai_fast.jobs.gallery.folder import report
from xai_fast.jobs.gallery.server import View

__all__ = ["View", "report"]
