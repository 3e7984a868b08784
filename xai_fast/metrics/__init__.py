"""How good an attribution is: insertion and deletion, pixel flipping, the pointing game."""

from xai_fast.engine.masked import gaussian_blur
from xai_fast.metrics.insertion_deletion import InsertionDeletion, insertion_deletion
from xai_fast.metrics.interaction_auc import area_under_roc, interaction_auc, interaction_auc_on_union, r_precision
from xai_fast.metrics.pixel_flipping import PixelFlipping, pixel_flipping
from xai_fast.metrics.pointing_game import PointingGame, pointing_game
from xai_fast.metrics.ranking import RANKINGS, rank_pixels

__all__ = [
    "RANKINGS",
    "InsertionDeletion",
    "PixelFlipping",
    "PointingGame",
    "area_under_roc",
    "gaussian_blur",
    "insertion_deletion",
    "interaction_auc",
    "interaction_auc_on_union",
    "pixel_flipping",
    "pointing_game",
    "r_precision",
    "rank_pixels",
]
