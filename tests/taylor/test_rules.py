"""The derivatives of every operation equal nested forward-mode differentiation, to order four."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # as everybody calls it
from oracle import WrittenOut, mixed_derivative, mixed_derivatives
from taylor_modules import MODULES
from taylor_operations import PRODUCTS_AND_ELEMENTS, Case, constant
from torch import Tensor, nn

from xai_fast import taylor
from xai_fast.errors import ModelError, UnsupportedOperation

# Together they take minutes; they run once, with the compiled kernels.
pytestmark = pytest.mark.slow

CASES = {case.name: case for case in [*PRODUCTS_AND_ELEMENTS, *MODULES]}
SETS = [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]  # of directions: what `mixed_derivatives` gives
ITEMS = 2


def inside(case: Case) -> tuple[object, Tensor]:
    """A score (B,) in which the operation has bent functions before and behind it, and where to differentiate it."""
    operation = case.operation()
    x = constant(ITEMS, *case.shape)
    x = x.abs() + 0.2 if case.positive else x

    def before(y: Tensor) -> Tensor:
        return torch.addcmul(y, y, y, value=0.1)

    scale = 1.0 / (0.5 + operation(before(x)).detach().abs().max())

    def score(y: Tensor) -> Tensor:
        z = operation(before(y)).flatten(1) * scale
        return torch.tanh(z) @ torch.arange(1.0, z.shape[1] + 1, dtype=z.dtype).sin()

    return score, x


def test_the_names_of_the_cases_are_unique() -> None:
    assert len(CASES) == len(PRODUCTS_AND_ELEMENTS) + len(MODULES)


@pytest.mark.parametrize("name", CASES)
def test_mixed_derivatives_equal_nested_forward_mode(name: str) -> None:
    score, x = inside(CASES[name])
    directions = constant(4, *x.shape[1:])
    found = mixed_derivatives(score, x, [direction.expand_as(x) for direction in directions])
    expected = [derivative.detach() for derivative in found[1:]]
    function = taylor.prepare(score, x)
    program = taylor.differentiable(function, x).program
    with torch.no_grad():
        torch.testing.assert_close(program.scores(program.run(x)), score(x), rtol=1e-12, atol=1e-13)
    for largest in range(1, 5):
        got = taylor.cross_derivatives(function, x, directions, SETS[:largest])
        for column, reference in zip(got.unbind(1), expected, strict=False):
            error = (column - reference).abs().max() / reference.abs().max()
            assert float(error) < 1e-10, (largest, float(error))


# Fused operations of which PyTorch's own nested forward mode does not hold at this order.
WRONG_IN_TORCH = {
    "layer_norm": (lambda x: F.layer_norm(x, (4,)), 2),
    "instance_norm": (lambda x: F.instance_norm(x.unsqueeze(0)).squeeze(0), 2),
}


@pytest.mark.parametrize("name", WRONG_IN_TORCH)
def test_the_oracle_writes_out_what_torch_gets_wrong(name: str) -> None:
    operation, order = WRONG_IN_TORCH[name]
    x, direction = constant(2, 4), constant(2, 4)

    def score(y: Tensor) -> Tensor:
        return (operation(y) ** 3).sum()

    def at(t: float, order: int) -> Tensor:
        return mixed_derivative(score, x + t * direction, [direction] * order)

    nested = score
    for _ in range(order):
        nested = lambda y, f=nested: torch.func.jvp(f, (y,), (direction,))[1]  # noqa: E731 a chain of functions
    step = 1e-5
    differences = (at(step, order - 1) - at(-step, order - 1)) / (2 * step)
    torch.testing.assert_close(at(0.0, order), differences, rtol=1e-5, atol=1e-5)
    # Where this fails, PyTorch was mended and the oracle need not write the operation out any more.
    assert not torch.allclose(nested(x), differences, rtol=1e-2)


@pytest.mark.parametrize("name", ["glu", "hardsigmoid", "celu", "instance_norm1d", "layer_norm_two"])
def test_what_the_oracle_writes_out_has_the_same_values(name: str) -> None:
    operation = CASES[name].operation()
    x = constant(2, *CASES[name].shape)
    expected = operation(x)
    with WrittenOut():
        torch.testing.assert_close(operation(x), expected)


class Recurrent(nn.Module):
    """A recurrent network's outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)[0].flatten(1)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks_are_unrolled(kind: type[nn.Module]) -> None:
    model = Recurrent(kind(3, 4, num_layers=2, batch_first=True)).eval()
    x = constant(2, 3, 3)

    def score(y: Tensor) -> Tensor:
        return (model(y) ** 2).sum(1)

    got = taylor.hessian(score, x)
    for item in range(2):
        expected = torch.autograd.functional.hessian(lambda y: score(y[None])[0], x[item]).reshape(9, 9)
        torch.testing.assert_close(got[item], expected, rtol=1e-9, atol=1e-12)


NO_RULE = {
    "aten.atan.default": torch.atan,
    "aten.asinh.default": torch.asinh,
    "aten.lgamma.default": torch.lgamma,
    "aten._cdist_forward.default": lambda x: torch.cdist(x.unsqueeze(1), x.unsqueeze(1) + 1),
    "aten.pow.Tensor_Tensor": lambda x: x**x,
    "aten.convolution.default": lambda x: F.conv1d(x.unsqueeze(1), x[:1, None, :2]),
    "aten._fft_r2c.default": lambda x: torch.fft.rfft(x).abs(),
}


@pytest.mark.parametrize("operation", NO_RULE)
def test_an_operation_without_a_rule_is_named_with_the_way_out(operation: str) -> None:
    function = NO_RULE[operation]
    with pytest.raises(UnsupportedOperation) as caught:
        taylor.hessian(lambda x: function(x).flatten(1).sum(1), constant(2, 3).abs())
    assert operation in str(caught.value)
    assert 'method="hvp"' in str(caught.value)


@pytest.mark.parametrize("operation", ["aten.atan.default", "aten.asinh.default", "aten.pow.Tensor_Tensor"])
def test_the_way_out_works(operation: str) -> None:
    x = constant(2, 3).abs() + 0.1

    def score(y: Tensor) -> Tensor:
        return NO_RULE[operation](y).flatten(1).sum(1)

    got = taylor.hessian(score, x, method="hvp")
    for item in range(2):
        expected = torch.autograd.functional.hessian(lambda y: score(y[None])[0], x[item])
        torch.testing.assert_close(got[item], expected, rtol=1e-9, atol=1e-12)


REFUSED = {
    "statistics of the batch": lambda x: F.batch_norm(x.unsqueeze(2).expand(-1, -1, 2), None, None, training=True).sum(
        2
    ),
    "deterministic": lambda x: x * torch.rand_like(x),
    "torch.fx can trace": lambda x: x * 2 if float(x.detach().sum()) > 0 else x,
    "deterministic forward": lambda x: F.dropout(x, 0.5, training=True),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_explained_is_refused_with_the_reason(reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        taylor.hessian(lambda x: (REFUSED[reason](x) ** 2).sum(1), constant(2, 3))
