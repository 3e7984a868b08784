from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from rankings import effects_of
from torch import Tensor, nn

from xai_fast import NID, InputError, ModelError, XaiFastError, fit_mlp

# Three features, two hidden layers of two units, two outputs.
WEIGHTS = [
    torch.tensor([[1.0, -3.0, 2.0], [-4.0, 0.0, 5.0]]),
    torch.tensor([[1.0, -1.0], [2.0, 0.0]]),
    torch.tensor([[-1.0, 0.5], [0.0, 1.0]]),
]


def literal_pairs(weights: list[Tensor], target: int) -> dict[tuple[int, int], float]:
    """Eq. 6 and 7 in plain loops."""
    units, features = weights[0].shape
    influence = []
    for unit in range(units):
        reach = [1.0 if s == unit else 0.0 for s in range(units)]
        for weight in weights[1:]:
            reach = [
                sum(abs(float(weight[o, i])) * reach[i] for i in range(weight.shape[1])) for o in range(len(weight))
            ]
        influence.append(reach[target])
    return {
        (i, j): sum(
            z * min(abs(float(weights[0][s, i])), abs(float(weights[0][s, j]))) for s, z in enumerate(influence)
        )
        for i, j in itertools.combinations(range(features), 2)
    }


def of_weights(weights: list[Tensor]) -> nn.Sequential:
    network = chain((weights[0].shape[1], *(len(weight) for weight in weights)))
    with torch.no_grad():
        for layer, weight in zip((m for m in network if isinstance(m, nn.Linear)), weights, strict=True):
            layer.weight.copy_(weight)
    return network


def pairs_of(network: nn.Module, features: int, target: int | None = None) -> dict[tuple[int, ...], float]:
    return effects_of(NID(network).detect(torch.zeros(1, features), target))


def chain(sizes: tuple[int, ...], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1]).eval()


def test_pairs_by_hand() -> None:
    # Output 0: influence of the first layer's units |-1| |1| + |.5| |2| = 2, and |-1| |-1| + 0 = 1.
    network = of_weights(WEIGHTS)
    assert pairs_of(network, 3, target=0) == {(0, 2): 2 * 1 + 4.0, (1, 2): 2 * 2 + 0.0, (0, 1): 2 * 1 + 0.0}
    # Output 1: 2 and 0.
    assert pairs_of(network, 3, target=1) == {(1, 2): 4.0, (0, 1): 2.0, (0, 2): 2.0}


def test_any_order_by_hand() -> None:
    # Unit 0 proposes {1, 2} with min(3, 2) and {0, 1, 2} with 1, unit 1 {0, 2} with 4 and {0, 1, 2} with 0.
    for order in (None, 3, 4):
        found = NID(of_weights(WEIGHTS), order=order).detect(torch.zeros(1, 3), target=0)
        assert effects_of(found) == {(0, 2): 4.0, (1, 2): 4.0, (0, 1, 2): 2.0}
    heavy = of_weights([torch.tensor([[1.0, 1.0, 1.0, 0.1], [0.0, 0.5, 0.4, 0.0]]), torch.ones(1, 2)])
    found = NID(heavy, order=None).detect(torch.zeros(1, 4))
    assert found[0, 1, 2].effect == found[0, 1].effect == 1.0
    assert not found.order(2).exhaustive
    assert {one.indices for one in found.prune_redundant()} == {(0, 1), (0, 1, 2), (0, 1, 2, 3)}
    assert NID(heavy, order=3).detect(torch.zeros(1, 4)).max_order == 3


@pytest.mark.parametrize("sizes", [(2, 1, 1), (4, 7, 1), (5, 3, 6, 4, 3)])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh])
def test_a_network_gives_the_formula(sizes: tuple[int, ...], activation: type[nn.Module]) -> None:
    torch.manual_seed(sum(sizes))
    network = chain(sizes, activation)
    weights = [module.weight.detach() for module in network if isinstance(module, nn.Linear)]
    for target in range(sizes[-1]):
        got = pairs_of(network, sizes[0], target)
        assert list(got.values()) == sorted(got.values(), reverse=True)
        assert got == pytest.approx(literal_pairs(weights, target), rel=1e-6)


def test_a_feature_without_weights_interacts_with_nothing() -> None:
    network = chain((4, 6, 1))
    with torch.no_grad():
        network[0].weight[:, 2] = 0
    for pair, strength in pairs_of(network, 4).items():
        assert (strength == 0) == (2 in pair)


class Wrapped(nn.Module):
    """The user's own module: a chain, or one that adds a hidden layer to its input."""

    def __init__(self, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.first, self.hidden, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = y + self.hidden(y) if self.residual else self.hidden(y)
        return self.last(y)


def test_a_module_that_is_used_as_a_chain_is_read_as_one() -> None:
    plain = Wrapped(residual=False).eval()
    weights = [plain.first.weight, plain.hidden.weight, plain.last.weight]
    assert pairs_of(plain, 4) == pairs_of(of_weights(weights), 4)


def test_what_fit_mlp_trains_is_read() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=generator)
    fitted = fit_mlp(x, x[:, 0] * x[:, 1], hidden=(6, 4), epochs=2)
    weights = [module.weight for module in fitted.model.modules() if isinstance(module, nn.Linear)]
    assert pairs_of(fitted.model, 3) == pairs_of(of_weights(weights), 3)


class Convolution(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv1d(1, 1, 1), nn.Linear(4, 1))


NOT_FINITE = of_weights([torch.full((3, 2), torch.nan), torch.ones(1, 3)])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pairs_of(of_weights(WEIGHTS), 3), InputError, "target: expected the output"),
        (lambda: pairs_of(of_weights(WEIGHTS), 3, target=2), InputError, "target: expected an integer"),
        (lambda: pairs_of(of_weights(WEIGHTS), 4, target=1), InputError, "rows: expected 3 columns"),
        (lambda: pairs_of(nn.Linear(3, 1).eval(), 3), ModelError, "needs a hidden layer"),
        (lambda: pairs_of(Convolution().eval(), 4), ModelError, "Conv1d"),
        (lambda: pairs_of(Wrapped(residual=True).eval(), 4), ModelError, "does more with its layers"),
        (lambda: pairs_of(nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 1)).eval(), 3), ModelError, "cannot follow"),
        (lambda: pairs_of(NOT_FINITE, 2), ModelError, "x0, x1 is nan"),
        (lambda: NID(chain((3, 2, 1)), order=1), InputError, "order: expected an integer"),
        (lambda: NID(WEIGHTS), InputError, "model: expected a module"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], object], error: type[XaiFastError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
