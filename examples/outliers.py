"""
scikit-learn: what makes a row an outlier?
==========================================

`xai_fast.Neuralize` rewrites an estimator of scikit-learn as a network of two layers
with the same value, and sends relevance back through it: a number for each column. Here
a density, and a one-class model of pictures.

Needs ``pip install 'xai-fast[images]' scikit-learn``.
"""

# %%
# A density
# ---------
# Rows of six columns, and one whose third is far off. The score is minus the
# log-density: the less likely a row is, the higher. Pipelines with a scaler or a PCA in
# front are understood.

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from xai_fast import Neuralize
from xai_fast.plot import overlay

columns = ["weight", "length", "pressure", "voltage", "speed", "noise"]
draw = np.random.default_rng(0)
usual = draw.normal(size=(500, 6))
odd = draw.normal(size=(1, 6)) + 6 * np.eye(6)[2]
density = make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.5)).fit(usual)

result = Neuralize(density).explain(odd)
print(f"minus log-density: {float(result.scores[0]):.1f}")
print(f"mean of the usual rows: {-density.score_samples(usual).mean():.1f}")

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.bar(columns, result.attributions[0].tolist())
ax.set_ylabel("share of minus log-density")
plt.show()

# %%
# It is the pressure. The bars add up to the score but for a constant that no column
# has.
#
# Pixels of a one-class model
# ---------------------------
# A one-class SVM learns what zeros look like. A dot in a corner, a missing stroke, or
# another digit are outliers; the attributions have the shape of the pictures.

digits = load_digits()
zeros = digits.images[digits.target == 0] / 16
model = OneClassSVM(nu=0.1).fit(zeros[:150].reshape(-1, 64))
pictures = zeros[[150, 151, 152, 153]].copy()
pictures[1, 0, 0] = 1.0
pictures[2, 2:6, 5:7] = 0.0
pictures[3] = digits.images[digits.target == 4][0] / 16

result = Neuralize(model).explain(pictures)
figure, axes = plt.subplots(2, 4, figsize=(8, 4.4), layout="constrained")
for (above, below), picture, found, score in zip(
    axes.T, pictures, result.attributions, result.scores, strict=True
):
    above.imshow(picture, cmap="gray")
    above.set_title(f"outlierness {float(score):.2f}")
    below.imshow(
        overlay(
            np.stack([255 * picture] * 3, axis=-1).astype(np.uint8),
            found,
            clip=(50.0, 99.0),
        )
    )
for ax in axes.flat:
    ax.axis("off")
plt.show()

# %%
# The first picture is a usual zero, and its score is negative. What is there and should
# not be, the dot, and what should be there and is not, the stroke on the right, are
# brightest.
