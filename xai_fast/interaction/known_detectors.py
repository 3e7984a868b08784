"""The detectors by name: those of this package, and those that others add by an entry point."""

from __future__ import annotations

from importlib.metadata import entry_points

from xai_fast.errors import InputError
from xai_fast.interaction.anova import ANOVA
from xai_fast.interaction.detector import Detector
from xai_fast.interaction.fast import FAST
from xai_fast.interaction.glider import GLIDER
from xai_fast.interaction.h_statistic import HStatistic
from xai_fast.interaction.hierarchical_lasso import HierarchicalLasso
from xai_fast.interaction.integrated_hessians import IntegratedHessians
from xai_fast.interaction.nid import NID
from xai_fast.interaction.rulefit import RuleFit
from xai_fast.interaction.shapley import ShapleyInteractions
from xai_fast.interaction.tnid import TNID

__all__ = ["detectors"]

_OWN: tuple[type[Detector], ...] = (
    TNID,
    NID,
    GLIDER,
    IntegratedHessians,
    ShapleyInteractions,
    HStatistic,
    RuleFit,
    FAST,
    HierarchicalLasso,
    ANOVA,
)


def detectors() -> dict[str, type[Detector]]:
    """Map names to detectors.

    Returns:
        Those of this package, then those of the entry-point group ``xai_fast.detectors``.

    Raises:
        InputError: an entry point names something else than a detector.
    """
    found = {detector.name: detector for detector in _OWN}
    for point in entry_points(group="xai_fast.detectors"):
        loaded = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, Detector)):
            raise InputError(f"entry point {point.value}: expected a subclass of xai_fast.interaction.Detector")
        found.setdefault(loaded.name, loaded)
    return found
