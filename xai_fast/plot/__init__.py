"""Pictures of attributions, and the HTML report."""

from __future__ import annotations

from xai_fast.plot.colormap import colormap
from xai_fast.plot.heatmap import heat, heat_layer, overlay, show_attribution
from xai_fast.plot.interaction_report import (
    InteractionReport,
    InteractionView,
    render_interaction_report,
    write_interaction_report,
)
from xai_fast.plot.interactions import (
    PAIR_COLORS,
    show_interaction_matrix,
    show_interactions,
    show_marginal,
    show_partners,
)
from xai_fast.plot.ranking_report import Fit, RankingReport, render_ranking_report, write_ranking_report
from xai_fast.plot.rankings import ORDER_COLORS, show_interaction_network, show_pair_heatmap, show_ranking
from xai_fast.plot.report import Card, Fact, Report, render_report, write_report

__all__ = [
    "ORDER_COLORS",
    "PAIR_COLORS",
    "Card",
    "Fact",
    "Fit",
    "InteractionReport",
    "InteractionView",
    "RankingReport",
    "Report",
    "colormap",
    "heat",
    "heat_layer",
    "overlay",
    "render_interaction_report",
    "render_ranking_report",
    "render_report",
    "show_attribution",
    "show_interaction_matrix",
    "show_interaction_network",
    "show_interactions",
    "show_marginal",
    "show_pair_heatmap",
    "show_partners",
    "show_ranking",
    "write_interaction_report",
    "write_ranking_report",
    "write_report",
]
