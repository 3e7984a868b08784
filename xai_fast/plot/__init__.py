"""Pictures of attributions, and the HTML report."""

from __future__ import annotations

from xai_fast.plot.colormap import colormap
from xai_fast.plot.heatmap import heat, heat_layer, overlay, show_attribution
from xai_fast.plot.report import Card, Fact, Report, render_report, write_report

__all__ = [
    "Card",
    "Fact",
    "Report",
    "colormap",
    "heat",
    "heat_layer",
    "overlay",
    "render_report",
    "show_attribution",
    "write_report",
]
