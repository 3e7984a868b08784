"""Attention rollout: how much of each token arrives at a token of the last layer.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.tokens import TokenMethod
from xai_fast.engine.layers import Layer
from xai_fast.graph import State
from xai_fast.relevance.attention import AttentionMaps, row_of_product

__all__ = ["AttentionRollout"]


class AttentionRollout(TokenMethod):
    """Attention of all layers, multiplied.

    With W_l the mean over the heads of the attention of layer l, and A_l = 0.5 W_l + 0.5 I for the residual connection
    (Eq. 1), the rollout is A_L ... A_1 (Section 3), and the attribution one row of it. It takes a pass forward, and is
    the same for all classes. Attention is found in the traced graph, however the model computes it.

    Attributions are (B, h, w) where tokens are patches of a picture, else (B, n); those of a row sum to 1.

    Args:
        model: a module in evaluation mode, whose attention is that of n tokens among themselves in each layer.
        token: the position of the token whose row is given, such as that of the class token; None for the mean of all.
        grid: (h, w) of tokens that stand for the cells of a picture; None to find out from its patches.
        skip_tokens: tokens at the beginning that are left out, such as a class token; None to find out: none unless
            they are in front of the patches of a picture.
        embeddings: the layer whose output (B, n, d) takes the place of the inputs where these are token ids: a
            submodule or its dotted name.

    Raises:
        InputError: an option is out of range.
    """

    name = "attention_rollout"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        token: int | None = 0,
        grid: Sequence[int] | None = None,
        skip_tokens: int | None = None,
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model, "output", token, grid, skip_tokens, embeddings)

    @override
    def _tokens(self, attention: AttentionMaps, state: State) -> Tensor:
        eye = torch.eye(attention.tokens, dtype=state.tensor(0).dtype, device=state.tensor(0).device)
        maps = [one.of(state.tensor(one.node)).mean(1) for one in attention.maps]
        return row_of_product([0.5 * weights + 0.5 * eye for weights in maps], self.token)
