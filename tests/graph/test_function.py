"""A score is traced once per model and shape, and again once anything that the trace has read was changed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from taylor_networks import numbers
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from xai_fast import taylor
from xai_fast.graph import ScoreFunction, run, traced
from xai_fast.graph.smooth import smoothed


class Network(nn.Module):
    """Counts how often it is traced."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.scale = 1.0
        self.traces = [0]
        self.double().eval()

    def forward(self, x: Tensor, shift: Tensor | float = 0.0) -> Tensor:
        self.traces[0] += get_proxy_mode() is not None
        return self.last(torch.relu(self.first(x)) ** 2 * self.scale + shift)


X, V = numbers(4, 6), numbers(4, 2, 6, seed=3)


def pairs(model: Callable[..., object], x: Tensor = X, **given: object) -> Tensor:
    return taylor.bilinear_form(model, x, V[: len(x)].to(x.dtype), **given)


@pytest.mark.parametrize(
    "given", [{}, {"target": 1}, {"target": [0, 1, 2, 0]}, {"score": "logit", "target": 2}], ids=str
)
def test_a_second_call_does_not_trace(given: dict[str, object]) -> None:
    model = Network()
    first = pairs(model, **given)
    for call in (
        lambda: pairs(model, **given),
        lambda: taylor.hessian(model, X, **given),
        lambda: pairs(model, X, **given),
    ):
        torch.testing.assert_close(pairs(model, **given), first)
        call()
    taylor.cross_derivatives(model, X[:2], V[0], [(0, 1)], **given | ({"target": [1, 1]} if "target" in given else {}))
    assert model.traces[0] == 1


def test_other_items_classes_and_arguments_do_not_trace() -> None:
    model = Network()
    shifts = numbers(4, 8, seed=4)
    got = pairs(model, target=[0, 1, 2, 0], additional_forward_args=shifts)
    again = pairs(model, X[2:], target=[2, 0], additional_forward_args=shifts[2:])
    assert model.traces[0] == 1
    expected = taylor.bilinear_form(Network(), X[2:], V[2:], target=[2, 0], additional_forward_args=shifts[2:])
    torch.testing.assert_close(
        taylor.bilinear_form(model, X[2:], V[2:], target=[2, 0], additional_forward_args=shifts[2:]), expected
    )
    assert again.shape == (2, 2, 2)
    assert got.shape == (4, 2, 2)


def first_output(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


def test_functions_and_methods_are_found_again() -> None:
    model = Network()

    def score(x: Tensor) -> Tensor:
        return model(x)[:, 0]

    pairs(score)
    pairs(score)
    assert model.traces[0] == 1
    for _ in range(2):  # a new object each time it is asked for
        pairs(model.forward, target=first_output)
    assert model.traces[0] == 2


def _in_place(model: Network) -> None:
    with torch.no_grad():
        model.first.weight.mul_(1.5)


def _replaced(model: Network) -> None:
    model.first.weight = nn.Parameter(1.5 * model.first.weight.detach())


def _assigned(model: Network) -> None:
    model.load_state_dict({k: 1.5 * v for k, v in model.state_dict().items()}, assign=True)


def _submodule(model: Network) -> None:
    model.last = nn.Linear(8, 3).double().eval()


def _data(model: Network) -> None:
    model.first.weight.data = 1.5 * model.first.weight.data


def _number(model: Network) -> None:
    model.scale = 2.0


def _tensor(model: Network) -> None:
    model.scale = torch.arange(1.0, 9.0, dtype=torch.float64)


def _hook(model: Network) -> None:
    model.first.register_forward_hook(lambda module, inputs, output: 2 * output)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("change", [_in_place, _replaced, _assigned, _submodule, _data, _number, _tensor, _hook])
def test_what_was_changed_is_noticed(change: Callable[[Network], None], wrapped: bool) -> None:
    model = Network()
    function = (lambda x: model(x).softmax(1)[:, 0]) if wrapped else model
    given: dict[str, object] = {} if wrapped else {"target": 0}
    before = pairs(function, **given)
    change(model)
    after = pairs(function, **given)
    assert model.traces[0] == 2
    torch.testing.assert_close(after, pairs(function, method="hvp", **given))
    assert not torch.allclose(after, before)


def test_what_a_closure_holds_is_noticed() -> None:
    scale, weight = 2.0, numbers(6)

    def score(x: Tensor) -> Tensor:
        return (scale * (x * weight).sum(1)).sin()

    before = pairs(score)
    scale = 3.0
    torch.testing.assert_close(pairs(score), pairs(score, method="hvp"))
    weight.mul_(2)
    torch.testing.assert_close(pairs(score), pairs(score, method="hvp"))
    weight = numbers(6, seed=9)
    torch.testing.assert_close(pairs(score), pairs(score, method="hvp"))
    assert not torch.allclose(pairs(score), before)


def test_constants_and_callable_targets_are_told_apart() -> None:
    model = Network()
    for shift in (0.5, 1.5, 0.5):
        got = pairs(model, target=0, additional_forward_args=shift)
        torch.testing.assert_close(got, pairs(model, target=0, additional_forward_args=shift, method="hvp"))
    for column in (0, 1):
        target = lambda outputs, column=column: outputs[:, column].sin()  # noqa: E731 a target for each column
        torch.testing.assert_close(pairs(model, target=target), pairs(model, target=target, method="hvp"))


def test_smooth_activations_are_another_function() -> None:
    model = Network()
    plain = pairs(model, target=0)
    with smoothed("gelu"):
        bent = pairs(model, target=0)
        torch.testing.assert_close(bent, pairs(model, target=0, method="hvp"))
    assert not torch.allclose(bent, plain)
    torch.testing.assert_close(pairs(model, target=0), plain)
    assert model.traces[0] == 2


def test_dtypes_and_shapes_are_traces_of_their_own() -> None:
    def score(x: Tensor) -> Tensor:
        return x.flatten(1).sin().prod(1)

    for x in (X, X.float(), X[:, :3].contiguous()):
        along = torch.ones(4, 1, *x.shape[1:], dtype=x.dtype)
        expected = taylor.bilinear_form(score, x, along, method="hvp")
        torch.testing.assert_close(taylor.bilinear_form(score, x, along), expected)


def test_models_are_not_kept_alive() -> None:
    model = Network()
    pairs(model, target=0)
    weak = weakref.ref(model)
    del model
    gc.collect()
    assert weak() is None


def test_a_function_that_cannot_be_remembered_is_traced_each_time() -> None:
    class Score:
        __slots__ = ()

        def __call__(self, x: Tensor) -> Tensor:
            return x.sin().prod(1)

    score = Score()
    torch.testing.assert_close(pairs(score), pairs(score, method="hvp"))


def test_a_graph_takes_the_items_their_arguments_and_classes_with_each_call() -> None:
    model = Network()
    function = taylor.prepare(model, X, target=[0, 1, 2, 0])
    graph = traced(function, X).graph
    state = run(graph, X, function.inputs)
    torch.testing.assert_close(state.tensor(graph.output)[:, 0], function(X, *function.inputs))
    other = ScoreFunction(model, function.objective, classes=torch.tensor([2]))
    assert traced(other, X[:1]).graph is graph
