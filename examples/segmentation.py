"""
Segmentation: what made it mark these pixels?
=============================================

A segmentation network gives each pixel a score for each class. ``target=(class, mask)``
explains the mean score of a class over the pixels of a mask, so that one object among
several can be asked about. All methods take it.

Needs ``pip install 'xai-fast[images]'``.
"""

# %%
# A network that is trained in seconds
# ------------------------------------
# Pictures with a red disc and a green square on grey noise; the network marks what is
# background (0), disc (1) and square (2).

import torch
from matplotlib import pyplot as plt
from torch import nn

from xai_fast import LRP, IntegratedGradients
from xai_fast.plot import overlay

SIDE = 48


def draw(count, generator):
    """Draw pictures (count, 3, 48, 48) and the class of each pixel (count, 48, 48)."""
    rows, columns = torch.arange(SIDE)[:, None], torch.arange(SIDE)
    y, x, v, u = torch.randint(8, SIDE - 8, (4, count, 1, 1), generator=generator)
    disc = (rows - y) ** 2 + (columns - x) ** 2 <= 49
    square = ((rows - v).abs() <= 6) & ((columns - u).abs() <= 6)
    classes = torch.where(square, 2, torch.where(disc, 1, 0))
    colors = torch.tensor([[0.5, 0.5, 0.5], [0.9, 0.2, 0.2], [0.2, 0.8, 0.2]])
    noise = 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return (colors[classes].permute(0, 3, 1, 2) + noise).clamp(0, 1), classes


torch.manual_seed(0)
generator = torch.Generator().manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 16, 5, padding=2),
    nn.ReLU(),
    nn.Conv2d(16, 16, 5, padding=2),
    nn.ReLU(),
    nn.Conv2d(16, 3, 5, padding=2),
)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(60):
    pictures, classes = draw(16, generator)
    loss = nn.functional.cross_entropy(model(pictures), classes)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()

pictures, classes = draw(3, generator)
predicted = model(pictures).argmax(1)
print(
    f"share of pixels marked right: {float((predicted == classes).float().mean()):.3f}"
)

# %%
# Ask about the disc, and about one pixel
# ---------------------------------------
# The mask may be the prediction, as here, or any region: (H, W), or (B, H, W) for one
# per picture. ``(1, 20, 30)`` would be the score of a single pixel.

disc = LRP(model, low=0.0, high=1.0).explain(pictures, target=(1, predicted == 1))
square = IntegratedGradients(model).explain(pictures, target=(2, predicted == 2))
print(
    "mean score of the disc over its pixels:",
    [f"{score:.2f}" for score in disc.scores.tolist()],
)

figure, axes = plt.subplots(3, 4, figsize=(8, 6.2), layout="constrained")
for i, row in enumerate(axes):
    picture = (255 * pictures[i].permute(1, 2, 0)).byte().numpy()
    row[0].imshow(picture)
    row[1].imshow(predicted[i].numpy(), vmin=0, vmax=2)
    row[2].imshow(overlay(picture, disc.attributions[i], smooth=0.7))
    row[3].imshow(overlay(picture, square.attributions[i], smooth=0.7))
for ax, title in zip(
    axes[0], ("picture", "marked", "disc, by LRP", "square, by IG"), strict=True
):
    ax.set_title(title)
for ax in axes.flat:
    ax.axis("off")
plt.show()

# %%
# Each map stays at its object, although both are in the picture. A pixel's score
# depends on the 13 x 13 pixels around it, so the maps end a few pixels outside.
