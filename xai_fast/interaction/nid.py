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
from xai_fast.engine.checks import wrong_model
from xai_fast.errors import ModelError, bad_argument
from xai_fast.interaction.detector import Detector, Effects, Groups, pair_effects
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.mlp_training import Standardize
from xai_fast.interaction.table import Table

__all__ = ["NID"]

_PARTS = (
    nn.Linear, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus,
    nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Identity, nn.Flatten, Standardize,
)  # fmt: skip


class NID(Detector):
    """Statistical interactions from the weights of a feed-forward network.

    Of the rows, `detect` uses the names and the number of the columns only. The target is an output, by position.
    `InteractionRanking.prune_redundant` leaves out the sets that a stronger set contains, as the paper does.

    Cost: no passes; products of the weights.
    Limits: knows no data: columns need one scale. Anything but a chain of linear layers and activations is refused.

    Args:
        model: a chain of `torch.nn.Linear` with activations in between, such as `fit_mlp` trains. Effects are in units
            of what the first of them reads. Where the modules are not all in a `torch.nn.Sequential`, that they are
            used as a chain is tried on a few points.
        order: 2 for all pairs; more for the sets of up to so many features that some unit proposes; None for those of
            any number.

    Raises:
        InputError: the model is no module, or the order is out of range.
    """

    def __init__(self, model: nn.Module, *, order: int | None = 2) -> None:
        if not isinstance(model, nn.Module):
            raise wrong_model("a module, whose weights are read", model)
        super().__init__(model)
        self.order = None if order is None else check_integer("order", order, 2)

    def _rank(self, table: Table, target: int | None, groups: Groups) -> InteractionRanking:
        first, *hidden, last = (weight.detach().double().cpu().abs() for weight in _weights(self.model))
        if first.shape[1] != len(table.names):
            raise bad_argument("rows", f"{first.shape[1]} columns, as the model has", len(table.names))
        if target is None and len(last) > 1:
            raise bad_argument("target", f"the output to explain, one of {len(last)}", "None")
        influence = last[check_integer("target", target or 0, 0, len(last) - 1)]
        for weight in reversed(hidden):
            influence = influence @ weight
        if self.order == 2:
            least = torch.minimum(first[:, :, None], first[:, None, :])
            effects = pair_effects(torch.einsum("s,sij->ij", influence, least))
        else:
            effects = _proposed(first, influence, min(self.order or first.shape[1], first.shape[1]))
        return InteractionRanking.from_effects(table.names, effects)


def _proposed(first: Tensor, influence: Tensor, largest: int) -> Effects:
    """Find interactions of any order with the greedy algorithm."""
    weights, order = first.sort(dim=1, descending=True, stable=True)
    found: Effects = {}
    for features, unit in zip(order.tolist(), (weights * influence[:, None]).tolist(), strict=True):
        for size in range(2, largest + 1):
            proposed = tuple(sorted(features[:size]))
            found[proposed] = found.get(proposed, 0.0) + unit[size - 1]
    return found


def _weights(model: nn.Module) -> list[Tensor]:
    steps = _steps(model)
    weights = [step.weight for step in steps if isinstance(step, nn.Linear)]
    if len(weights) < 2:
        raise ModelError(f"NID needs a hidden layer: two linear layers or more, got {len(weights)}")
    for before, after in itertools.pairwise(weights):
        if after.shape[1] != before.shape[0]:
            raise ModelError(
                f"NID reads chains: a layer of {tuple(after.shape)}, (out, in), cannot follow {tuple(before.shape)}"
            )
    if not _is_sequential(model):
        _check_chain(model, steps, weights[0])
    return weights


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
