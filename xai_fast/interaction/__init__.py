"""Interactions: between the cells of feature maps, and between the features of tables, of second and higher order."""

from __future__ import annotations

from xai_fast.interaction.fit_mlp import FittedMLP, fit_mlp
from xai_fast.interaction.geometry import AxisGeometry, CellGeometry
from xai_fast.interaction.interaction_map import Interaction, InteractionMap
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.order_ranking import FeatureInteraction, OrderRanking
from xai_fast.interaction.receptive_field import cell_geometry
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.interaction.tnid import TNID

__all__ = [
    "TNID",
    "AxisGeometry",
    "CellGeometry",
    "FeatureInteraction",
    "FittedMLP",
    "Interaction",
    "InteractionMap",
    "InteractionRanking",
    "OrderRanking",
    "TaylorCAM",
    "cell_geometry",
    "fit_mlp",
]
