"""Pictures of explanations, and one report about them: a page with filters, sorting, a large view, and the keyboard."""

from __future__ import annotations

from xai_fast.plot.colormap import PAIR_COLORS, colormap
from xai_fast.plot.comparison import write_comparison
from xai_fast.plot.drawing import Look
from xai_fast.plot.heatmap import heat, heat_layer, overlay
from xai_fast.plot.items import Front, Item, ItemList, StoreItems, items_of
from xai_fast.plot.markup import Markup
from xai_fast.plot.ranking_page import Fit
from xai_fast.plot.report import report
from xai_fast.plot.similarity import similarity_svg
from xai_fast.plot.viewer import View
from xai_fast.plot.walks import walks_svg
from xai_fast.plot.words import coloured_words

__all__ = [
    "PAIR_COLORS",
    "Fit",
    "Front",
    "Item",
    "ItemList",
    "Look",
    "Markup",
    "StoreItems",
    "View",
    "colormap",
    "coloured_words",
    "heat",
    "heat_layer",
    "items_of",
    "overlay",
    "report",
    "similarity_svg",
    "walks_svg",
    "write_comparison",
]
