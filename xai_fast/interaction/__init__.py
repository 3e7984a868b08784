"""Interactions: between the cells of feature maps, and between the features of tables, of second and higher order."""

from __future__ import annotations

from xai_fast.interaction.anova import ANOVA
from xai_fast.interaction.bilrp import BiLRP
from xai_fast.interaction.detector import Detector
from xai_fast.interaction.fast import FAST
from xai_fast.interaction.fit_mlp import FittedMLP, fit_mlp
from xai_fast.interaction.geometry import AxisGeometry, CellGeometry
from xai_fast.interaction.glider import GLIDER
from xai_fast.interaction.h_statistic import HStatistic
from xai_fast.interaction.hierarchical_lasso import HierarchicalLasso
from xai_fast.interaction.integrated_hessians import IntegratedHessians
from xai_fast.interaction.interaction_map import Interaction, InteractionMap
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.nid import NID
from xai_fast.interaction.order_ranking import FeatureInteraction, OrderRanking
from xai_fast.interaction.pair_relevance import Pair, PairRelevance
from xai_fast.interaction.receptive_field import cell_geometry
from xai_fast.interaction.removal import RemovalInteractions
from xai_fast.interaction.rulefit import RuleFit
from xai_fast.interaction.shapley import ShapleyInteractions
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.interaction.tnid import TNID
from xai_fast.interaction.tnid_rows import TNIDRows

__all__ = [
    "ANOVA",
    "FAST",
    "GLIDER",
    "NID",
    "TNID",
    "AxisGeometry",
    "BiLRP",
    "CellGeometry",
    "Detector",
    "FeatureInteraction",
    "FittedMLP",
    "HStatistic",
    "HierarchicalLasso",
    "IntegratedHessians",
    "Interaction",
    "InteractionMap",
    "InteractionRanking",
    "OrderRanking",
    "Pair",
    "PairRelevance",
    "RemovalInteractions",
    "RuleFit",
    "ShapleyInteractions",
    "TNIDRows",
    "TaylorCAM",
    "cell_geometry",
    "fit_mlp",
]
