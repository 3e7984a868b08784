"""The part of a model behind a layer is what the model does with that layer's output."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from taylor_networks import made, numbers
from torch import Tensor, nn

from xai_fast.errors import InputError, ModelError, UnsupportedOperation
from xai_fast.graph.cut import Downstream
from xai_fast.interaction.taylor_cam import TaylorCAM
from xai_fast.taylor import hessian, prepare


class Around(nn.Module):
    """A residual connection around the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((x + self.layer(x)).tanh().mean(1))

    def behind(self, y: Tensor, x: Tensor, run: int) -> Tensor:
        return self.last((x + y).tanh().mean(1))


class Twice(Around):
    """The layer runs twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.layer(self.layer(x).sin()).tanh().mean(1))

    def behind(self, y: Tensor, x: Tensor, run: int) -> Tensor:
        y = self.layer(y.sin()) if run == 1 else y
        return self.last(y.tanh().mean(1))


class InPlace(Around):
    """A ReLU in place changes the layer's output."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return self.last(torch.relu_(y).exp().mean(1) + y.mean(1))

    def behind(self, y: Tensor, x: Tensor, run: int) -> Tensor:
        y = y.relu()
        return self.last(y.exp().mean(1) + y.mean(1))


class Pair(nn.Module):
    """Gives its result and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return self.inner(x), 7


class Tuple(Around):
    """The layer gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Pair()

    def forward(self, x: Tensor) -> Tensor:
        y, seven = self.layer(x)
        return self.last((y * seven).tanh().mean(1))

    def behind(self, y: Tensor, x: Tensor, run: int) -> Tensor:
        return self.last((y * 7).tanh().mean(1))


CASES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "residual": (Around, "layer"),
    "first of two": (Twice, "layer#1"),
    "second of two": (Twice, "layer#2"),
    "in place": (InPlace, "layer"),
    "tuple": (Tuple, "layer"),
}


@pytest.mark.parametrize("name", CASES)
def test_behind_the_layer_is_the_rest_of_the_model(name: str) -> None:
    build, layer = CASES[name]
    model, x = made(build), numbers(2, 4, 3)
    downstream = Downstream(model, layer)
    with torch.no_grad():
        output, outputs = downstream.split(x)
        torch.testing.assert_close(outputs, model(x))
        torch.testing.assert_close(downstream(output, x), model(x))
        other = output + 0.3
        run = int(layer.partition("#")[2] or 1)
        torch.testing.assert_close(downstream(other, x), model.behind(other, x, run))
    expected = hessian(lambda y, given: model.behind(y, given, run).softmax(1)[:, 0], output, additional_forward_args=x)
    got = hessian(lambda y, given: downstream(y, given).softmax(1)[:, 0], output, additional_forward_args=x)
    torch.testing.assert_close(got, expected)
    assert float(TaylorCAM(model, layer).explain(x).attributions.sum()) > 0
    assert not any(m._forward_hooks for m in model.modules())


def test_a_layer_that_runs_twice_has_to_be_named_with_its_run() -> None:
    model, x = made(Twice), numbers(2, 4, 3)
    with pytest.raises(InputError, match='"layer#1" to "layer#2" name one'):
        TaylorCAM(model, "layer").attribute(x)
    with pytest.raises(InputError, match="layer"):
        TaylorCAM(model, "layer#3").attribute(x)
    for wrong in ("layer#0", "layer#two", "layer#"):
        with pytest.raises(InputError, match="layer"):
            Downstream(model, wrong)


def test_a_detached_output_stays_detached() -> None:
    class Detached(Around):
        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            return self.last((y.detach() * y).mean(1))

    model, x = made(Detached), numbers(2, 4, 3)
    got = hessian(lambda y: (y.detach() * y**2).sum(1), numbers(2, 3))
    torch.testing.assert_close(got, torch.diag_embed(2 * numbers(2, 3)))
    with pytest.raises(ModelError):  # bent nowhere: the factor is constant
        TaylorCAM(model, "layer", score="logit").attribute(x)


def test_data_dependent_control_flow_is_refused_with_the_way_out() -> None:
    class Branching(Around):
        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            return self.last((y * y if float(y.detach().sum()) > 0 else y).mean(1))

    with pytest.raises(UnsupportedOperation, match=r'method="hvp"'):
        TaylorCAM(made(Branching), "layer", method="forward").attribute(numbers(2, 4, 3))


def test_a_function_is_traced_once_for_each_shape() -> None:
    runs = []

    def score(x: Tensor) -> Tensor:
        runs.append(tuple(x.shape))
        return (x**3).sum(1)

    function = prepare(score, numbers(2, 3))
    for batch in (2, 5):
        hessian(function, numbers(batch, 3))
    assert len(runs) == 1
    hessian(function, numbers(2, 4))
    assert len(runs) == 2
