"""
Coming from captum
==================

The calls are nearly the same: options go to the constructor, ``attribute(inputs,
target)`` gives a tensor. This recipe makes the same call in both and compares the
results. What differs is the default score.

Needs ``pip install 'xai-fast[images]' captum``.
"""

# %%
# The same call in both
# ---------------------
# captum explains the model's output. Gradients and paths explain the probability of the
# class here, as long as ``score="output"`` does not say otherwise.

from captum import attr
from matplotlib import pyplot as plt

import xai_fast
from xai_fast.datasets.yield_or_go import image_batch, road_scene
from xai_fast.models.yield_or_go import yield_or_go
from xai_fast.plot import heat

model = yield_or_go()
images = image_batch([road_scene(index) for index in range(4)])
target = model(images).argmax(1)

given = images.clone().requires_grad_()
theirs = {
    "IntegratedGradients": attr.IntegratedGradients(model).attribute(
        given, target=target
    ),
    "Saliency": attr.Saliency(model).attribute(given, target=target),
    "LayerGradCam": attr.LayerGradCam(model, model.features).attribute(
        given, target, relu_attributions=True
    )[:, 0],
    "Occlusion": attr.Occlusion(model).attribute(
        images, (3, 16, 16), strides=(3, 16, 16), target=target
    ),
}
ours = {
    "IntegratedGradients": xai_fast.IntegratedGradients(
        model, score="output"
    ).attribute(images, target),
    "Saliency": xai_fast.Saliency(model, score="output").attribute(images, target),
    "LayerGradCam": xai_fast.GradCAM(model, "features").attribute(images, target),
    "Occlusion": xai_fast.Occlusion(
        model, window=16, stride=16, score="output"
    ).attribute(images, target),
}

# %%
# The largest difference, as a share of the largest value
# -------------------------------------------------------

for name, expected in theirs.items():
    difference = (
        ours[name] - expected.detach()
    ).abs().max() / expected.detach().abs().max()
    print(f"{name:20} {tuple(expected.shape)}  {float(difference):.0e}")

figure, axes = plt.subplots(2, len(theirs), figsize=(9, 4.8), layout="constrained")
for column, name in enumerate(theirs):
    for ax, found, owner in zip(
        axes[:, column], (theirs[name], ours[name]), ("captum", "xai_fast"), strict=True
    ):
        ax.imshow(heat(found[0]), cmap="inferno")
        ax.set_title(f"{owner}\n{name}")
        ax.axis("off")
plt.show()

# %%
# They are the same but for rounding. What is new: ``explain`` in the place of
# ``attribute`` also gives the scores, the targets and what has to be known of each
# item, such as what integrated gradients lack to be complete:

result = xai_fast.IntegratedGradients(model, score="output").explain(images)
print("scores:", [f"{score:.2f}" for score in result.scores.tolist()])
print("lacking:", [f"{gap:.2g}" for gap in result.delta.tolist()])

# %%
# The page :doc:`/coming-from` has every explainer of captum beside the call here, also
# those where something differs.
