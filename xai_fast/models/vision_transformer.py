"""A small vision transformer (ViT) that reads the handwritten digits of `xai_fast.datasets.digits`."""

from __future__ import annotations

from torch import Tensor, nn

from xai_fast.models.pretrained import with_weights
from xai_fast.models.transformer_encoder import TransformerEncoder

__all__ = ["VisionTransformer", "vision_transformer"]


class VisionTransformer(nn.Module):
    """Dosovitskiy et al., "An image is worth 16 x 16 words", ICLR 2021, with 7 x 7 patches of 4 x 4 pixels.

    Grad-CAM takes ``patches``, whose output is a map of 7 x 7 cells; Taylor-CAM takes a norm before an attention, such
    as ``encoder.blocks.1.attention_norm``, whose output is (B, 50, 40): the class token, then the patches row by row.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 40, kernel_size=4, stride=4)
        self.encoder = TransformerEncoder(length=7 * 7, width=40, depth=4, heads=4)
        self.head = nn.Linear(40, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        """Compute logits (B, 10) of the digits 0 to 9 from pictures (B, 1, 28, 28), ``grey / 127.5 - 1``."""
        logits: Tensor = self.head(self.encoder(self.patches(pictures).flatten(2).transpose(1, 2)))
        return logits


def vision_transformer(*, pretrained: bool = True) -> VisionTransformer:
    """Build the network in evaluation mode, on the CPU, with the weights of the package or else with random ones."""
    return with_weights(VisionTransformer(), "digits", pretrained)
