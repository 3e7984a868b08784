"""AttCAT: the gradient times the hidden states of each layer, weighted by attention.

Qiang, Pan, Li, Li, Jang and Zhu, "AttCAT: Explaining Transformers via Attentive Class Activation Tokens", NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.tokens import TokenMethod
from xai_fast.engine.layers import Layer
from xai_fast.graph import State
from xai_fast.relevance.attention import AttentionMaps

__all__ = ["AttCAT"]


class AttCAT(TokenMethod):
    """Attentive class activation tokens.

    With h_i the hidden states of token i that go into a layer, y the score and a_i the attention that the token gets
    there, on average over the heads, the attribution of the token is the sum over the layers of
    a_i * sum over channels of dy/dh_i * h_i. Its sign tells for or against the target. It takes one gradient.

    Hidden states and attention are found in the traced graph, see `xai_fast.relevance.attention.AttentionMap`.
    Attributions are (B, h, w) where tokens are patches of a picture, else (B, n), in units of the score.

    Args:
        model: a module in evaluation mode, whose attention is that of n tokens among themselves in each layer.
        token: the position of the token whose attention counts, such as the class token; None for the mean over all
            (the authors' code).
        score: y, see `xai_fast.engine.objective.SCORES`: by default the target's output.
        grid: (h, w) of tokens that stand for the cells of a picture; None to find out from its patches.
        skip_tokens: tokens at the beginning that are left out; None to find out, see `xai_fast.AttentionRollout`.
        embeddings: the layer whose output (B, n, d) takes the place of the inputs where these are token ids: a
            submodule or its dotted name.

    Raises:
        InputError: an option is out of range.
    """

    name = "attcat"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        token: int | None = None,
        score: str = "output",
        grid: Sequence[int] | None = None,
        skip_tokens: int | None = None,
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model, score, token, grid, skip_tokens, embeddings)

    @override
    def _tokens(self, attention: AttentionMaps, state: State) -> Tensor:
        gradients = attention.program.adjoints(state, [one.hidden for one in attention.maps])
        total = state.tensor(0).new_zeros(())
        for one in attention.maps:
            activation = one.of_hidden(state.tensor(one.hidden) * gradients[one.hidden][0]).sum(2)
            weights = one.of(state.tensor(one.node)).mean(1)
            received = weights.mean(1) if self.token is None else weights[:, self.token]
            total = total + received * activation
        return total
