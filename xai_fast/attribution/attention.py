"""Methods that explain a transformer by its attention, which is found in the traced graph.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020. Qiang, Pan, Li, Li, Jang and Zhu, "AttCAT:
Explaining Transformers via Attentive Class Activation Tokens", NeurIPS 2022. Chefer, Gur and Wolf, "Transformer
Interpretability Beyond Attention Visualization", CVPR 2021, and "Generic Attention-model Explainability for
Interpreting Bi-Modal and Encoder-Decoder Transformers", ICCV 2021.
"""

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
from xai_fast.graph.embeddings import embedding_layer
from xai_fast.graph.whole import Values, WholeModel
from xai_fast.method import Method
from xai_fast.relevance.attention import AttentionMaps, row_of_product
from xai_fast.relevance.composite import Composite
from xai_fast.relevance.rules import ZPlus
from xai_fast.relevance.walk import Layers, Walk

__all__ = ["AttCAT", "AttentionRollout", "TokenMethod", "TransformerAttribution"]


class TokenMethod(Method[Explanation]):
    """A method that gives each token a number.

    Attributions are (B, h, w) where tokens are patches of a picture, else (B, n).

    Args:
        model: a module in evaluation mode, whose attention is that of n tokens among themselves in each layer, written
            in any way: see `xai_fast.relevance.attention.AttentionMaps`.
        token: the position of the token for which others are looked up, such as the class token; None for the mean of
            all.
        score: see `xai_fast.engine.objective.SCORES`: by default the target's output.
        grid: (h, w) of tokens that stand for the cells of a picture; None to find out from its patches.
        skip_tokens: tokens at the beginning that are left out, such as a class token; None to find out: those that the
            model puts in front of the patches of a picture, or of a sequence (B, n, d).
        embeddings: the layer whose output (B, n, d) takes the place of inputs that are token ids: a submodule or its
            dotted name.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        token: int | None = 0,
        score: str = "output",
        grid: Sequence[int] | None = None,
        skip_tokens: int | None = None,
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model)
        self.token = None if token is None else check_integer("token", token, -(2**31), 2**31)
        self.score = check_choice("score", score, SCORES)
        self.grid = None if grid is None else tuple(check_integer("grid", side, 1) for side in grid)
        self.skip_tokens = None if skip_tokens is None else check_integer("skip_tokens", skip_tokens, 0)
        self.embeddings = embedding_layer(model, embeddings)
        self._whole = WholeModel(model, ("layer_norm",))

    @abstractmethod
    def _tokens(self, attention: AttentionMaps, values: Values) -> Tensor:
        """Compute (B, n) from the values of a graph."""

    @override
    def _explain(self, call: Call) -> Explanation:
        with torch.autocast(call.device.type, enabled=False):
            return Explanation.cat([self._chunk(call, chunk) for chunk in call.chunks()])

    def _chunk(self, call: Call, chunk: range) -> Explanation:
        values = self._whole.values(call, chunk)
        attention = values.traced.derived(AttentionMaps)
        n = attention.tokens
        if self.token is not None and not -n <= self.token < n:
            raise bad_argument("token", f"None, or a position among {n} tokens", str(self.token))
        found = self._tokens(attention, values)
        picture = next((value.shape[2:] for value in call.values if value.ndim == 4), None)
        given = next((value.shape[1] for value in call.values if value.ndim == 3), None)
        axes = token_axes(n, grid=self.grid, skip_tokens=self.skip_tokens, picture=picture, given=given)
        return Explanation(
            attributions=axes.tokens(found.unsqueeze(2)).reshape(-1, *axes.grid),
            scores=values.scores,
            targets=values.targets,
            evaluations=torch.ones(len(chunk), dtype=torch.int64, device=call.device),
        )


class AttentionRollout(TokenMethod):
    """How much of each token arrives at a token of the last layer: the attention of all layers, multiplied.

    With W_l the mean over the heads of the attention of layer l, and A_l = 0.5 W_l + 0.5 I for the residual connection
    (Eq. 1), the rollout is A_L ... A_1 (Section 3), and the attribution one row of it. A row sums to 1. Arguments as
    for `TokenMethod`.

    Cost: ``1`` evaluation per item.
    Limits: the same for all targets, and without sign; values and feed-forward layers do not count.
    """

    @override
    def _tokens(self, attention: AttentionMaps, values: Values) -> Tensor:
        maps = [one.of(values.state.tensor(one.node)).mean(1) for one in attention.maps]
        eye = torch.eye(attention.tokens, dtype=maps[0].dtype, device=maps[0].device)
        return row_of_product([0.5 * weights + 0.5 * eye for weights in maps], self.token)


class AttCAT(TokenMethod):
    """Attentive class activation tokens: gradient times hidden states, weighted by attention.

    With h_i the hidden states of token i that go into a layer, y the score and a_i the attention that the token gets
    there, on average over the heads, the attribution of the token is the sum over the layers of a_i * sum over channels
    of dy/dh_i * h_i. Its sign tells for or against the target.

    Arguments as for `TokenMethod`.

    Cost: ``1`` gradient per item.
    Limits: layers count alike, so that values do not add up to the score; near zero where it is saturated.

    Args:
        token: the position of the token whose attention counts; None for the mean over all.
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
        options = {"grid": grid, "skip_tokens": skip_tokens, "embeddings": embeddings}
        super().__init__(model, token=token, score=score, **options)  # type: ignore[arg-type]  # one type for all

    @override
    def _tokens(self, attention: AttentionMaps, values: Values) -> Tensor:
        state = values.state
        gradients = attention.program.adjoints(state, [one.hidden for one in attention.maps])
        total = values.scores.new_zeros(())
        for one in attention.maps:
            activation = one.of_hidden(state.tensor(one.hidden) * gradients[one.hidden][0]).sum(2)
            weights = one.of(state.tensor(one.node)).mean(1)
            received = weights.mean(1) if self.token is None else weights[:, self.token]
            total = total + received * activation
        return total


class TransformerAttribution(TokenMethod):
    """Attention weighted by its gradient and its relevance, multiplied over the layers.

    With A the attention of a layer, R its relevance and dy/dA its gradient, the layer counts as I + the mean over the
    heads of max(dy/dA * R, 0) (Chefer, Gur and Wolf, CVPR 2021, Eq. 13), and the attribution is a row of the product
    over the layers (Eq. 14). By default R is A itself, as the authors have it later (ICCV 2021, Eq. 5 and 6). With
    ``relevance="lrp"`` it comes from a walk that begins with 1 at the score: by the positive contributions (CVPR 2021,
    Eq. 6) through layers with weights, a half to each factor of a product of two (Eq. 9 and 10), by contribution
    through sums. Biases take their share. Softmax and norms, for which the paper has no equation, have the rules of
    `xai_fast.relevance.walk`.

    Arguments as for `TokenMethod`.

    Cost: ``1`` gradient per item, and for "lrp" a walk of relevance that takes as long as two.
    Limits: values are not negative, so that none speaks against the target, and do not add up to the score.

    Args:
        relevance: R: "attention" for the attention itself, or "lrp".
    """

    def __init__(self, model: Callable[..., object], *, relevance: str = "attention", **options: object) -> None:
        super().__init__(model, **options)  # type: ignore[arg-type]  # one type for all
        self.relevance = check_choice("relevance", relevance, ("attention", "lrp"))

    @override
    def _tokens(self, attention: AttentionMaps, values: Values) -> Tensor:
        nodes, state = [one.node for one in attention.maps], values.state
        gradients = attention.program.adjoints(state, nodes)
        if self.relevance == "lrp":
            start = torch.where(values.scores == 0, 0, 1 / values.scores)
            walk = Walk(values.traced.derived(Layers), state, _POSITIVE, keep_ledger=False)
            relevance = walk.back({values.graph.output: start.reshape(1, -1, 1)}, nodes)
        else:
            relevance = {node: state.tensor(node).unsqueeze(0) for node in nodes}
        counts = [one.of((gradients[one.node] * relevance[one.node])[0]) for one in attention.maps]
        eye = torch.eye(attention.tokens, dtype=values.scores.dtype, device=values.scores.device)
        return row_of_product([eye + count.clamp(min=0).mean(1) for count in counts], self.token)


_POSITIVE = Composite({"convolution": ZPlus(), "dense": ZPlus()})
