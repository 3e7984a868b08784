"""
A CNN and a layer: which places, and which act together?
========================================================

A car must stop at a crossing if there is a yield sign and another car comes; either
alone means go. Maps of the Grad-CAM family show the places of a layer that speak for
"stop"; `xai_fast.RemovalInteractions` and `xai_fast.TaylorCAM` show which of them act
together.

Needs ``pip install 'xai-fast[images]'``.
"""

# %%
# A network for which the truth is known
# --------------------------------------
# The scenes are drawn by rule, so that the boxes of the sign and of the cars are known.
# The network's ``features`` are a map of 7 x 7 cells. Any CNN will do in its place: a
# layer is given by its module or dotted name, such as ``"layer4"`` of a ResNet.

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from xai_fast import (
    AblationCAM,
    EigenCAM,
    GradCAM,
    HiResCAM,
    LayerCAM,
    RemovalInteractions,
    TaylorCAM,
)
from xai_fast.datasets.yield_or_go import ANSWERS, image_batch, road_scene
from xai_fast.models.yield_or_go import yield_or_go
from xai_fast.plot import PAIR_COLORS, overlay

model = yield_or_go()
scenes = [road_scene(index) for index in range(20)]
scenes = [scene for scene in scenes if ANSWERS[scene.answer] == "stop"][:3]
images = image_batch(scenes)
stop = ANSWERS.index("stop")
print("probability of stop:", model(images).softmax(1)[:, stop].tolist())

# %%
# Which places
# ------------
# ``upsample=True`` gives maps of the size of the image.

kinds = (GradCAM, HiResCAM, LayerCAM, AblationCAM, EigenCAM)
figure, axes = plt.subplots(
    len(scenes), 1 + len(kinds), figsize=(11, 6), layout="constrained"
)
for row, scene in zip(axes, scenes, strict=True):
    row[0].imshow(scene.image)
for column, kind in enumerate(kinds, start=1):
    maps = kind(model, "features", upsample=True).attribute(images, stop)
    axes[0, column].set_title(kind.__name__)
    for ax, scene, found in zip(axes[:, column], scenes, maps, strict=True):
        ax.imshow(overlay(np.asarray(scene.image), found))
for ax in axes.flat:
    ax.axis("off")
plt.show()

# %%
# Four of five have the sign, and all but Grad-CAM some of the cars, each by itself.
# Eigen-CAM knows no class: it has the strongest pattern of the layer. That sign or car
# alone is not enough, no such map can tell.
#
# Which places act together
# -------------------------
# ``RemovalInteractions`` removes one cell, the other, and both: a pair interacts if the
# effect of both is not the sum. ``TaylorCAM`` has the second derivatives of the score
# between all cells. ``boxes(k)`` gives the strongest k pairs of each item as boxes in
# pixels of the image; ``of="field"`` makes them as large as what a cell sees.

pairs = {
    "RemovalInteractions": RemovalInteractions(model, "features").explain(images, stop),
    "TaylorCAM": TaylorCAM(model, "features").explain(images, stop),
}
figure, axes = plt.subplots(
    len(pairs), len(scenes), figsize=(8, 5.6), layout="constrained"
)
for row, (name, found) in zip(axes, pairs.items(), strict=True):
    for ax, scene, boxes in zip(row, scenes, found.boxes(2, of="field"), strict=True):
        ax.imshow(scene.image)
        ax.set_title(name)
        ax.axis("off")
        for color, pair in zip(PAIR_COLORS, boxes, strict=False):
            for left, top, right, bottom in pair:
                size = (right - left, bottom - top)
                ax.add_patch(
                    Rectangle((left, top), *size, fill=False, color=color, lw=3)
                )
plt.show()

# %%
# The two boxes are a pair, one at the sign and one at a car: neither decides alone.
# Weaker pairs would have other colours; there are none here, as the network hands on
# only the strongest evidence of each kind. The pair's cells, as (row, column), and its
# strength:

for name, found in pairs.items():
    print(name, found.top_k(1)[0][0])
