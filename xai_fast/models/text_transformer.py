"""A small transformer that tells whether a review of `xai_fast.datasets.reviews` is positive."""

from __future__ import annotations

from torch import Tensor, nn

from xai_fast.datasets.reviews import ANSWERS, LONGEST, VOCABULARY
from xai_fast.errors import bad_argument
from xai_fast.models.pretrained import with_weights
from xai_fast.models.transformer_encoder import TransformerEncoder

__all__ = ["TextTransformer", "text_transformer"]


class TextTransformer(nn.Module):
    """Embeddings of words, two blocks of attention, and the answer from a class token.

    Explanations take ``words``, whose output is the embeddings (B, n, 32): ``embeddings="words"``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), 32)
        nn.init.normal_(self.words.weight, std=0.02)  # as the positions, so that both count from the start
        self.encoder = TransformerEncoder(length=LONGEST, width=32, depth=2, heads=4)
        self.head = nn.Linear(32, len(ANSWERS))

    def forward(self, ids: Tensor) -> Tensor:
        """Compute logits (B, 2) of `ANSWERS` from token ids (B, n) int64, n at most `LONGEST`; 0 is padding."""
        if ids.ndim != 2 or ids.shape[1] > LONGEST:
            raise bad_argument("ids", f"shape (B, n), n at most {LONGEST}", str(tuple(ids.shape)))
        logits: Tensor = self.head(self.encoder(self.words(ids), ids != 0))
        return logits


def text_transformer(*, pretrained: bool = True) -> TextTransformer:
    """Build the network in evaluation mode, on the CPU, with the weights of the package or else with random ones."""
    return with_weights(TextTransformer(), "reviews", pretrained)
