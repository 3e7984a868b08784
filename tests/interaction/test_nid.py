from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xai_fast import fit_mlp
from xai_fast.errors import InputError, ModelError, XaiFastError
from xai_fast.interaction.nid import NID

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


def chain(sizes: tuple[int, ...], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1]).eval()


def test_pairs_by_hand() -> None:
    # Output 0: influence of the first layer's units |-1| |1| + |.5| |2| = 2, and |-1| |-1| + 0 = 1.
    assert NID(WEIGHTS, target=0).pairs() == {(0, 2): 2 * 1 + 4.0, (1, 2): 2 * 2 + 0.0, (0, 1): 2 * 1 + 0.0}
    # Output 1: 2 and 0.
    assert NID(WEIGHTS, target=1).pairs() == {(1, 2): 4.0, (0, 1): 2.0, (0, 2): 2.0}


def test_any_order_by_hand() -> None:
    # Unit 0 proposes {1, 2} with min(3, 2) and {0, 1, 2} with 1, unit 1 {0, 2} with 4 and {0, 1, 2} with 0.
    method = NID(WEIGHTS, target=0)
    assert method.any_order(prune=False) == {(0, 2): 4.0, (1, 2): 4.0, (0, 1, 2): 2.0}
    assert method.any_order() == {(0, 2): 4.0, (1, 2): 4.0, (0, 1, 2): 2.0}  # what is in front has no superset yet
    assert method.any_order(largest=2) == {(0, 2): 4.0, (1, 2): 4.0}


@pytest.mark.parametrize("sizes", [(2, 1, 1), (4, 7, 1), (5, 3, 6, 4, 3)])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh])
def test_a_network_and_its_weights_give_the_formula(sizes: tuple[int, ...], activation: type[nn.Module]) -> None:
    torch.manual_seed(sum(sizes))
    network = chain(sizes, activation)
    weights = [module.weight.detach() for module in network if isinstance(module, nn.Linear)]
    for target in range(sizes[-1]):
        want = literal_pairs(weights, target)
        for method in (NID(network, target), NID(weights, target)):
            got = method.pairs()
            assert list(got.values()) == sorted(got.values(), reverse=True)
            assert got == pytest.approx(want, rel=1e-6)


def test_pruning_leaves_out_what_a_stronger_set_contains() -> None:
    heavy = [torch.tensor([[1.0, 1.0, 1.0, 0.1], [0.0, 0.5, 0.4, 0.0]]), torch.ones(1, 2)]
    unpruned = NID(heavy).any_order(prune=False)
    assert unpruned[0, 1, 2] == 1.0
    assert unpruned[0, 1] == 1.0  # before (0, 1, 2) by the tie rule, so it stays
    assert (1, 2) in unpruned
    assert set(NID(heavy).any_order()) == {(0, 1), (0, 1, 2), (0, 1, 2, 3)}


def test_a_feature_without_weights_interacts_with_nothing() -> None:
    network = chain((4, 6, 1))
    with torch.no_grad():
        network[0].weight[:, 2] = 0
    for pair, strength in NID(network).pairs().items():
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
    assert NID(plain).pairs() == NID([plain.first.weight, plain.hidden.weight, plain.last.weight]).pairs()


def test_what_fit_mlp_trains_is_read() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=generator)
    fitted = fit_mlp(x, x[:, 0] * x[:, 1], hidden=(6, 4), epochs=2)
    linear = [module.weight for module in fitted.model.modules() if isinstance(module, nn.Linear)]
    assert NID(fitted.model).pairs() == NID(linear).pairs()


class Convolution(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv1d(1, 1, 1), nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: NID(WEIGHTS), InputError, "target: expected the output"),
        (lambda: NID(WEIGHTS, target=2), InputError, "target: expected an integer"),
        (lambda: NID(nn.Linear(3, 1)), ModelError, "needs a hidden layer"),
        (lambda: NID(Convolution()), ModelError, "Conv1d"),
        (lambda: NID(Wrapped(residual=True).eval()), ModelError, "does more with its layers"),
        (lambda: NID(Wrapped(residual=False).train()), ModelError, "evaluation mode"),
        (lambda: NID([torch.ones(3, 2), torch.ones(1, 4)]), ModelError, "cannot follow"),
        (lambda: NID([torch.ones(3, 1), torch.ones(1, 3)]), ModelError, "two features"),
        (lambda: NID([torch.full((3, 2), torch.nan), torch.ones(1, 3)]).pairs(), ModelError, "NaN"),
        (lambda: NID(WEIGHTS, target=0).any_order(largest=1), InputError, "largest: expected an integer"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], object], error: type[XaiFastError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
