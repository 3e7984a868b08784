"""The log-ratio of a class against all others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_integer

__all__ = ["LogRatio"]


class LogRatio(nn.Module):
    """log p / (1 - p) of a class, (B,): the soft minimum -log sum over k of exp(-h_k) of differences h_k = z_c - z_k.

    Explained by `xai_fast.LRP`, rival k has the relevance p_k h_k, with p the softmax of -h.

    Args:
        model: a classifier, from inputs to logits z (B, K), K >= 2.
        target: the class c.
    """

    def __init__(self, model: nn.Module, target: int) -> None:
        super().__init__()
        self.model, self.target = model, target
        self.train(model.training)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Give the log-ratios (B,)."""
        found = self.model(*inputs)
        logits: Tensor = getattr(found, "logits", found)
        own = check_integer("target", self.target, 0, logits.shape[1] - 1)
        rivals = torch.cat([logits[:, :own], logits[:, own + 1 :]], 1) - logits[:, own : own + 1]
        return rivals.log_softmax(1)[:, 0] - rivals[:, 0]  # -logsumexp by a softmax, which LRP knows
