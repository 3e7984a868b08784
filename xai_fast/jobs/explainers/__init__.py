"""Methods as jobs run them: a chunk of items in, a row an item in each of their fields out."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from torch import nn

from xai_fast.errors import bad_argument
from xai_fast.jobs.explainers.base import BatchExplainer, Chunk, Explained
from xai_fast.jobs.explainers.named import PARAMETERS, ExplainerSpec

__all__ = ["PARAMETERS", "BatchExplainer", "Chunk", "Explained", "ExplainerSpec", "make_explainer"]

_CLASSES = {
    "neflag": ("neflag", "BatchNeFLAG"),
    "gradcam": ("cams", "BatchGradCAM"),
    "gradcam++": ("cams", "BatchGradCAMPlusPlus"),
    "taylor_cam": ("taylor_cam", "BatchTaylorCAM"),
}


def make_explainer(
    spec: ExplainerSpec, model: nn.Module | None, seed: int, columns: Sequence[str] | None = None
) -> BatchExplainer:
    """Make an explainer.

    Args:
        spec: which, with its parameters.
        model: in evaluation mode, on its device; None for a class that needs none.
        seed: of the job.
        columns: names of the features, where the source has them.

    Returns:
        The explainer.

    Raises:
        InputError: a parameter is out of range, or the class cannot be made.
    """
    if ":" in spec.name:
        from xai_fast.jobs.explainers.custom import BatchCustom

        return BatchCustom(spec.name, model, spec.parameters, seed)
    if model is None:
        raise bad_argument("model", f'ModelRef("package.module:factory") for {spec.name}', "None")
    if spec.name == "tnid":
        from xai_fast.jobs.explainers.tnid import BatchTNID

        return BatchTNID(model, spec.parameters, seed, columns)
    module, name = _CLASSES[spec.name]
    made: BatchExplainer = getattr(importlib.import_module(f"xai_fast.jobs.explainers.{module}"), name)(
        model, spec.parameters, seed
    )
    return made
