"""NID: interactions read off the weights of a feed-forward network, without data and without derivatives.

Source: Tsang, Cheng and Liu, "Detecting statistical interactions from neural network weights", ICLR 2018. A hidden unit
of the first layer joins the features that it weighs; its influence on the output is bounded by the product of the
absolute weights behind it,

    z = |w_y|^T |W_L| ... |W_2|                                                     (Eq. 6)
    strength of I at unit s = z_s min(|W_1[s, i]| : i in I)                         (Eq. 7 with the minimum)

For pairs the strengths are summed over all units. For any order, each unit proposes its k heaviest features for k = 2,
3, ... (Algorithm 1), and a set's strength is the sum over the units that propose it. For a network with main-effect
networks beside (MLP-M), give the part that interacts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_integer
from xai_fast.engine.checks import check_eval_mode
from xai_fast.errors import ModelError, bad_argument
from xai_fast.interaction.mlp_training import Standardize
from xai_fast.interaction.strengths import Strengths, pair_strengths, ranked, without_redundant_subsets

__all__ = ["NID"]

_PARTS = (
    nn.Linear, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus,
    nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Identity, nn.Flatten, Standardize,
)  # fmt: skip


class NID:
    """Statistical interactions from the weights of a feed-forward network.

    Args:
        model: a chain of `torch.nn.Linear` with activations in between, such as `fit_mlp` trains, or the weights of its
            layers, (out, in) each, the input's first. Strengths are in units of what the first of them reads. Where
            the modules are not all in a `torch.nn.Sequential`, that they are used as a chain is tried on a few points,
            so the model must be in evaluation mode.
        target: the output that is explained, by position; None where there is one.

    Raises:
        ModelError: the model is not such a chain.
        InputError: the target is out of range, or there is more than one output and no target.
    """

    def __init__(self, model: nn.Module | Sequence[Tensor], target: int | None = None) -> None:
        weights = _weights(model)
        outputs = weights[-1].shape[0]
        if target is None and outputs > 1:
            raise bad_argument("target", f"the output to explain, one of {outputs}", "None")
        row = check_integer("target", 0 if target is None else target, 0, outputs - 1)
        influence = weights[-1][row].abs()
        for weight in reversed(weights[1:-1]):
            influence = influence @ weight.abs()
        self._first = weights[0].abs()
        self._influence = influence
        self.features = self._first.shape[1]

    def pairs(self) -> Strengths:
        """Compute the strength of every pair: the sum over the first layer's units.

        Returns:
            All pairs, the strongest first.
        """
        least = torch.minimum(self._first[:, :, None], self._first[:, None, :])
        return pair_strengths(torch.einsum("s,sij->ij", self._influence, least))

    def any_order(self, *, largest: int | None = None, prune: bool = True) -> Strengths:
        """Find interactions of any order with the greedy algorithm.

        Args:
            largest: features a set at most; None for any number.
            prune: leave out sets that a stronger set contains.

        Returns:
            The sets that some unit proposed, the strongest first.
        """
        limit = self.features if largest is None else check_integer("largest", largest, 2)
        weights, order = self._first.sort(dim=1, descending=True, stable=True)
        found: Strengths = {}
        strengths = (weights * self._influence[:, None]).tolist()
        for features, unit in zip(order.tolist(), strengths, strict=True):
            for size in range(2, min(limit, self.features) + 1):
                proposed = tuple(sorted(features[:size]))
                found[proposed] = found.get(proposed, 0.0) + unit[size - 1]
        return without_redundant_subsets(found) if prune else ranked(found)


def _weights(model: nn.Module | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(model, nn.Module):
        steps = _steps(model)
        weights = [step.weight for step in steps if isinstance(step, nn.Linear)]
    else:
        weights = list(model)
    if len(weights) < 2:
        raise ModelError(f"NID needs a hidden layer: two linear layers or more, got {len(weights)}")
    for before, after in itertools.pairwise(weights):
        if before.ndim != 2 or after.ndim != 2 or after.shape[1] != before.shape[0]:
            raise ModelError(
                f"NID reads chains: a layer of {tuple(after.shape)}, (out, in), cannot follow {tuple(before.shape)}"
            )
    if weights[0].shape[1] < 2:
        raise ModelError("NID needs two features or more")
    if isinstance(model, nn.Module) and not _is_sequential(model):
        _check_chain(model, steps, weights[0])
    return [weight.detach().double().cpu() for weight in weights]


def _steps(model: nn.Module) -> list[nn.Module]:
    """List the modules without children in the order in which they were registered."""
    steps: list[nn.Module] = []
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            if not isinstance(module, _PARTS):
                raise ModelError(f"NID reads chains of linear layers and activations; {name!r} is {module}")
            steps.append(module)
    return steps


def _is_sequential(model: nn.Module) -> bool:
    children = list(model.children())
    return not children or (type(model) is nn.Sequential and all(map(_is_sequential, children)))


def _check_chain(model: nn.Module, steps: Sequence[nn.Module], first: Tensor) -> None:
    """Try on a few points whether a module of the user's own applies its parts one after the other, and no more."""
    check_eval_mode(model)
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(5, first.shape[1], generator=generator, dtype=torch.float64).to(first)
    with torch.no_grad():
        wanted = points
        for step in steps:
            wanted = step(wanted)
        got = model(points)
    scale = float(wanted.abs().max())
    if not isinstance(got, Tensor) or got.numel() != wanted.numel():
        raise ModelError(f"NID reads chains; {type(model).__name__} gives something else than its last layer does")
    if not float((got.reshape(wanted.shape) - wanted).abs().max()) <= 1e-4 * max(scale, 1e-30):
        raise ModelError(
            f"NID reads chains; {type(model).__name__} does more with its layers than to apply one after the other, "
            "such as adding a layer's input to its output"
        )
