"""Interactions between the cells of feature maps, of second and higher order."""

from __future__ import annotations

from xai_fast.interaction.geometry import AxisGeometry, CellGeometry
from xai_fast.interaction.interaction_map import Interaction, InteractionMap
from xai_fast.interaction.receptive_field import cell_geometry
from xai_fast.interaction.taylor_cam import TaylorCAM

__all__ = ["AxisGeometry", "CellGeometry", "Interaction", "InteractionMap", "TaylorCAM", "cell_geometry"]
