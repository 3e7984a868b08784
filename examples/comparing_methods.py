"""
Comparing methods: which map should I trust?
============================================

Five methods explain the same pictures and do not agree. `xai_fast.compare` measures on
each picture how good their maps are, and says which differences are more than chance.

Needs ``pip install 'xai-fast[images]'``.
"""

# %%
# The pictures
# ------------
# The scenes are drawn, so that the boxes of what decides are known: a yield sign and a
# car together mean "stop".

from matplotlib import pyplot as plt

from xai_fast import compare
from xai_fast.datasets.yield_or_go import ANSWERS, image_batch, road_scene
from xai_fast.models.yield_or_go import yield_or_go

model = yield_or_go()
scenes = [road_scene(index) for index in range(80)]
scenes = [scene for scene in scenes if ANSWERS[scene.answer] == "stop"][:20]
images = image_batch(scenes)
objects = [[scene.sign, *scene.cars] for scene in scenes]

# %%
# Methods and metrics
# -------------------
# Both are names with options, or methods as they are constructed. Random numbers and
# the edges of the pictures are always among the methods: a map that is no better than
# these says nothing. `xai_fast.metrics.METRICS` lists all metrics.

comparison = compare(
    model,
    images,
    methods=[
        "saliency",
        "integrated_gradients(steps=20)",
        "neflag(points=10,radius=0.3)",
        "lrp(low=0.0,high=1.0)",
        "layer_cam(layer=features,upsample=true)",
    ],
    metrics=["insertion_deletion(steps=10)", "relevance_mass"],
    boxes=objects,
)
for metric in comparison.scores:
    print(metric, "- best within error:", *comparison.best(metric))

# %%
# The means, and what follows from them
# -------------------------------------
# Each bar is a mean over the pictures, with the standard deviation.

figure, axes = plt.subplots(
    1, len(comparison.scores), figsize=(10, 3.4), layout="constrained", sharey=True
)
for ax, (metric, scores) in zip(axes, comparison.scores.items(), strict=True):
    ax.barh(comparison.methods, scores.mean(1).tolist(), xerr=scores.std(1).tolist())
    ax.set_title(f"{metric}\n({comparison.better[metric]} is better)", fontsize=9)
axes[0].invert_yaxis()
plt.show()

# %%
# What can be concluded, in words:

for sentence in comparison.conclusions():
    print("-", sentence)

# %%
# LRP is best by both, by the first within error of saliency: without the pixels that it
# calls important the score is gone, and most of its map lies on the sign and the cars.
# The command ``xai-fast compare`` makes a page of this.
