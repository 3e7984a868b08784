"""Maps of one generated road scene by every method that explains pictures, drawn while the pages are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from xai_fast import InteractionMap
from xai_fast.cli.gallery import OPTIONS
from xai_fast.datasets import yield_or_go
from xai_fast.errors import XaiFastError
from xai_fast.models.yield_or_go import yield_or_go as network
from xai_fast.plot import overlay
from xai_fast.registry import methods

SCENE = 4
SCALE = 3
BEST = {
    "neflag": {"radius": 0.03, "points": 20},
    "occlusion": {"window": 14, "stride": 7},
    "rise": {"masks": 600, "score": "auto"},
    "ablation_cam": {},
    "lime": {"samples": 600},
    "kernel_shap": {"samples": 600},
    "shapley_sampling": {"permutations": 10},
    "deepshap": {"baselines": [0.0, 0.5, 1.0]},
    "quantitative_input_influence": {"baseline": [[[[0.0]]], [[[0.5]]], [[[1.0]]]], "permutations": 6},
    "removal_interactions": {},
}
"""Options that suit the scene, where those of the demo's gallery do not."""


def draw(folder: Path) -> dict[str, str]:
    """Draw the maps.

    Args:
        folder: where the pictures are written, in a folder beside those of the pages.

    Returns:
        Method to its figure, in reStructuredText.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = network()
    scene = yield_or_go.road_scene(SCENE, split="test")
    x = yield_or_go.image_batch([scene])
    photo = np.asarray(scene.image)
    figures = {}
    for name, method in methods().items():
        known = method.options()
        shared = {"features": 8, "score": "output", "upsample": True, "low": 0.0, "high": 1.0, "layer": "features"}
        options = {
            key: value for key, value in shared.items() if key in known and not (key == "layer" and name == "lrp")
        }
        options |= BEST.get(name, OPTIONS.get(name, {}))
        try:
            found = method(model, **options).explain(x)
        except XaiFastError:
            continue  # it explains no pictures, or no such network
        if isinstance(found, InteractionMap):
            continue
        file = folder / f"{name}.png"
        relevance = found.attributions[0]
        signed = bool(relevance.min() < 0)
        picture = overlay(photo, relevance, smooth=1.0, signed=signed)
        both = np.concatenate([photo, np.full((photo.shape[0], 4, 3), 255, np.uint8), np.asarray(picture)], 1)
        image = Image.fromarray(both)
        image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.NEAREST).save(file, optimize=True)
        settings = "".join(f", {key}={value!r}" for key, value in options.items())
        what = f"{method.__name__}(model{settings})"
        answer = yield_or_go.ANSWERS[int(found.targets[0])]
        signs = "Red speaks for it, blue against." if signed else "Bright places count most."
        figures[name] = (
            f".. figure:: ../pictures/{file.name}\n"
            f"   :alt: A drawn crossing with a yield sign and two cars, and beside it the map of {method.__name__}\n"
            f"   :width: {image.width * SCALE}px\n\n"
            f'   ``{what}``, for the answer "{answer}" of a small CNN that looks for the yield sign and the cars;\n'
            f"   evaluations: {int(found.evaluations[0])}. {signs}\n\n"
        )
    return figures
