"""How good an attribution is: insertion and deletion, pixel flipping, the pointing game."""

from xai_fast.metrics.insertion_deletion import InsertionDeletion, insertion_deletion
from xai_fast.metrics.perturbation import gaussian_blur
from xai_fast.metrics.pixel_flipping import PixelFlipping, pixel_flipping
from xai_fast.metrics.pointing_game import PointingGame, pointing_game
from xai_fast.metrics.ranking import RANKINGS, rank_pixels

__all__ = [
    "RANKINGS",
    "InsertionDeletion",
    "PixelFlipping",
    "PointingGame",
    "gaussian_blur",
    "insertion_deletion",
    "pixel_flipping",
    "pointing_game",
    "rank_pixels",
]
