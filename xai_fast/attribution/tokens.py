"""What methods that explain by attention share: a number per token, and the picture that tokens are patches of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.axes import token_axes
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph import State, run, traced
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.graph.whole import whole
from xai_fast.method import Method
from xai_fast.relevance.attention import AttentionMaps

__all__ = ["TokenMethod"]


class TokenMethod(Method[Explanation]):
    """A method that gives each token a number.

    Args:
        model: see the methods, like all that follow.
        score: see there.
        token: see there.
        grid: see there.
        skip_tokens: see there.
        embeddings: see there.
    """

    def __init__(
        self,
        model: Callable[..., object],
        score: str,
        token: int | None,
        grid: Sequence[int] | None,
        skip_tokens: int | None,
        embeddings: Layer | None,
    ) -> None:
        super().__init__(model)
        self.score = check_choice("score", score, SCORES)
        self.token = None if token is None else check_integer("token", token, -(2**31), 2**31)
        self.grid = None if grid is None else tuple(check_integer("grid", side, 1) for side in grid)
        self.skip_tokens = None if skip_tokens is None else check_integer("skip_tokens", skip_tokens, 0)
        self.embeddings = embedding_layer(model, embeddings)

    @abstractmethod
    def _tokens(self, attention: AttentionMaps, state: State) -> Tensor:
        """Compute (B, n) from the values of a graph."""

    @override
    def _explain(self, call: Call) -> Explanation:
        with torch.autocast(call.device.type, enabled=False):
            return Explanation.cat([self._chunk(call, chunk) for chunk in call.chunks()])

    def _chunk(self, call: Call, chunk: range) -> Explanation:
        function, scores = whole(call, chunk)
        x = call.take(chunk)[0]
        graph = traced(function, x)
        attention = graph.derived(AttentionMaps)
        n = attention.tokens
        if self.token is not None and not -n <= self.token < n:
            raise bad_argument("token", f"None, or a position among {n} tokens", str(self.token))
        found = self._tokens(attention, run(graph.graph, x, function.inputs))
        picture = x.shape[2:] if x.ndim == 4 else None
        axes = token_axes(n, grid=self.grid, skip_tokens=self.skip_tokens, picture=picture)
        return Explanation(
            attributions=axes.tokens(found.unsqueeze(2)).reshape(-1, *axes.grid),
            scores=scores,
            targets=function.classes,
            evaluations=torch.ones(len(chunk), dtype=torch.int64, device=call.device),
        )
