"""Interactions: between the cells of feature maps, and between the features of tables, of second and higher order."""

from __future__ import annotations

from xai_fast.interaction.anova import PairTests, anova_pairs
from xai_fast.interaction.fast_pairs import fast_pairs
from xai_fast.interaction.fit_mlp import FittedMLP, fit_mlp
from xai_fast.interaction.geometry import AxisGeometry, CellGeometry
from xai_fast.interaction.glider import GLIDER
from xai_fast.interaction.h_statistic import h_statistic
from xai_fast.interaction.hierarchical_lasso import HierarchicalLasso, hierarchical_lasso
from xai_fast.interaction.integrated_hessians import IntegratedHessians
from xai_fast.interaction.interaction_map import Interaction, InteractionMap
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.nid import NID
from xai_fast.interaction.order_ranking import FeatureInteraction, OrderRanking
from xai_fast.interaction.receptive_field import cell_geometry
from xai_fast.interaction.rulefit import RuleFit, rulefit_pairs
from xai_fast.interaction.shapley import shapley_interactions
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.interaction.tnid import TNID

__all__ = [
    "GLIDER",
    "NID",
    "TNID",
    "AxisGeometry",
    "CellGeometry",
    "FeatureInteraction",
    "FittedMLP",
    "HierarchicalLasso",
    "IntegratedHessians",
    "Interaction",
    "InteractionMap",
    "InteractionRanking",
    "OrderRanking",
    "PairTests",
    "RuleFit",
    "TaylorCAM",
    "anova_pairs",
    "cell_geometry",
    "fast_pairs",
    "fit_mlp",
    "h_statistic",
    "hierarchical_lasso",
    "rulefit_pairs",
    "shapley_interactions",
]
