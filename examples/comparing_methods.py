"""
Comparing methods: which map should I trust?
============================================

Five methods explain the same pictures and do not agree. Three metrics tell which maps
say what the network really uses: insertion and deletion of pixels, the share of the map
on the object, and what happens to the map when the weights are random.

Needs ``pip install 'xai-fast[images]'``.
"""

# %%
# Methods
# -------
# The scenes are drawn, so that the boxes of what decides are known: a yield sign and a
# car together mean "stop".

from matplotlib import pyplot as plt

from xai_fast import LRP, IntegratedGradients, LayerCAM, NeFLAG, Saliency
from xai_fast.datasets.yield_or_go import ANSWERS, image_batch, road_scene
from xai_fast.metrics import insertion_deletion, localization, parameter_randomization
from xai_fast.models.yield_or_go import yield_or_go

model = yield_or_go()
scenes = [road_scene(index) for index in range(40)]
scenes = [scene for scene in scenes if ANSWERS[scene.answer] == "stop"][:6]
images = image_batch(scenes)
objects = [[scene.sign, *scene.cars] for scene in scenes]

methods = {
    "Saliency": Saliency(model),
    "IntegratedGradients": IntegratedGradients(model, steps=20),
    "NeFLAG": NeFLAG(model, radius=0.3, points=10),
    "LRP": LRP(model, low=0.0, high=1.0),
    "LayerCAM": LayerCAM(model, "features", upsample=True),
}

# %%
# Metrics
# -------
# Each gives a number per picture; `xai_fast.metrics.METRICS` lists them all, with which
# way is better. Metrics that explain again, here with random weights, take the method
# in the place of its maps.

names = ["insertion - deletion", "mass on the objects", "likeness with random weights"]
table = []
for name, method in methods.items():
    maps = method.attribute(images)
    values = (
        insertion_deletion(model, images, maps, steps=20).difference,
        localization(maps, objects).mass,
        parameter_randomization(method, images, only_last=True).last,
    )
    table.append([float(value.mean()) for value in values])
    print(f"{name:20}", *(f"{value:7.2f}" for value in table[-1]))

# %%
# The table as a picture
# ----------------------
# Higher is better for the first two, lower for the third: a map that stays the same
# without the weights does not show what the network has learned.

figure, axes = plt.subplots(
    1, len(names), figsize=(10, 3), layout="constrained", sharey=True
)
for ax, name, values in zip(axes, names, zip(*table, strict=True), strict=True):
    ax.barh(list(methods), values)
    ax.set_title(name)
axes[0].invert_yaxis()
plt.show()

# %%
# LRP and saliency win by insertion and deletion, and LRP by far on the objects. The map
# of the last layer is coarse: it hits the places but not the pixels. Integrated
# gradients carry the picture itself in their map, so a fifth of it remains without any
# weights.
