"""FullGrad: the gradient times the input, and the gradient times the bias of each layer, as one map.

Srinivas and Fleuret, "Full-Gradient Representation for Neural Network Visualization", NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.arguments import check_choice
from xai_fast.engine.call import Call
from xai_fast.engine.objective import SCORES
from xai_fast.engine.places import resized
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.graph.whole import WholeModel
from xai_fast.method import Method
from xai_fast.relevance.biases import Biases

__all__ = ["FullGrad", "FullGradient"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FullGradient(Explanation):
    """The full gradient of B items: its map, and the decomposition of the score that this is made of.

    Attributes:
        attributions: (B, ...) with the spatial shape of the inputs, not negative.
        input_terms: (B, C, ...) the gradient times the input.
        bias_terms: (B, L) the gradient times the bias, summed over each of the ``operations``.
        delta: (B,) the sum of all these terms less the score.
        operations: L names, from the input to the score: the module that an operation belongs to, and what it is.
    """

    input_terms: Tensor
    bias_terms: Tensor
    delta: Tensor
    operations: tuple[str, ...] = ()

    not_stored = frozenset({"input_terms"})

    @classmethod
    @override
    def _from_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {n: tuple(v) if n == "operations" else v for n, v in values.items()}


class FullGrad(Method[FullGradient]):
    """The input and the biases of all layers with a map, each by its gradient: psi(x * df/dx) + sum psi(b * df/db).

    psi takes absolute values, scales them to [0, 1] over all channels of a layer, sums over these, and resizes to the
    input, linearly, with the corners of the pictures in the same place. The map is not negative and has no unit.
    Layers are found in the traced graph, so that functional calls count, and one that runs twice counts twice. What
    counts are convolutions, batch norms (implicit biases; one with the convolution before it), added constants of each
    channel, and activations, whose implicit bias is s(z) - s'(z) z: zero for ReLU.

    The terms themselves are in ``input_terms`` and ``bias_terms``. With the biases of layers without a map, and what
    products and other curved operations leave, they add up to the score for any network: ``delta``.

    Cost: ``1`` gradient per item.
    Limits: neither sign nor unit; needs spatial dimensions, convolutions, and a model that can be traced.

    Args:
        model: a module in evaluation mode, with convolutions; inputs (B, C, ...) have one to three spatial dimensions.
        score: f, see `xai_fast.engine.objective.SCORES`; by default the target's output.

    Raises:
        InputError: the score is unknown; when it explains: the inputs have no places, or the model no convolutions.
    """

    name = "fullgrad"

    def __init__(self, model: Callable[..., object], *, score: str = "output") -> None:
        super().__init__(model)
        self.score = check_choice("score", score, SCORES)
        self._whole = WholeModel(model)

    def _explain(self, call: Call) -> FullGradient:
        shapes = [tuple(value.shape) for value in call.values]
        if call.several or len(shapes[0]) not in (3, 4, 5):
            raise bad_argument("inputs", "one tensor (B, C, ...) with one to three spatial dimensions", str(shapes))
        with torch.autocast(call.device.type, enabled=False):
            return FullGradient.cat([self._of_chunk(call, chunk) for chunk in call.chunks()])

    def _of_chunk(self, call: Call, chunk: range) -> FullGradient:
        values = self._whole.values(call, chunk)
        biases = values.traced.derived(Biases)
        if not biases.has_maps:
            raise bad_argument("model", "a model with convolutions that give maps", "one without")
        x = values.state.tensor(0)[:, 0]
        maps = torch.zeros_like(x[:, 0])

        def add(terms: Tensor) -> None:
            maps.add_(_psi(terms, x.shape[2:]))

        gradient, bias_terms = biases.back(values.state, add)
        terms = x * gradient
        add(terms)
        total = terms.flatten(1).sum(1, dtype=torch.float64) + bias_terms.sum(1, dtype=torch.float64)
        return FullGradient(
            attributions=maps,
            scores=values.scores,
            targets=values.targets,
            evaluations=torch.ones(len(chunk), dtype=torch.int64, device=call.device),
            input_terms=terms,
            bias_terms=bias_terms,
            delta=(total - values.scores).to(x.dtype),
            operations=biases.names,
        )


def _psi(terms: Tensor, size: Sequence[int]) -> Tensor:
    """Scale the magnitudes of terms (B, C, ...) to [0, 1] per item, sum over channels, and resize to (B, *size)."""
    magnitude = terms.abs()
    low, high = (bound.view(-1, *[1] * (terms.ndim - 1)) for bound in magnitude.flatten(1).aminmax(dim=1))
    scaled = torch.where(high > low, (magnitude - low) / (high - low), 0).sum(1)
    return scaled if scaled.shape[1:] == size else resized(scaled, size)
