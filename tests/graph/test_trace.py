"""The traced graph does what the function does, item by item, whatever is written in place or constant."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # as everybody calls it
from taylor_networks import numbers
from torch import Tensor, nn

from xai_fast.errors import ModelError, UnsupportedOperation
from xai_fast.graph.trace import trace
from xai_fast.taylor.program import Program


def wraps_around(x: Tensor) -> Tensor:
    return F.pad(x, (1, 2), mode="circular").tanh().flatten(1).cumsum(1)[:, 5]


def writes(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 0] *= 2.0
    y[:, :, 1:].add_(y[:, :, :-1].clone())
    return (y**2).sum((1, 2))


def buffers(x: Tensor) -> Tensor:
    out = torch.zeros(len(x), 3, dtype=x.dtype)
    for i in range(3):
        out[:, i] = x[:, 0, i] * x[:, 1, i]
    return out.prod(1)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "circular padding": wraps_around,
    "in place": writes,
    "filled buffer": buffers,
    "constants": lambda x: (x * torch.arange(4.0, dtype=x.dtype).exp().softmax(0)).sum((1, 2)),
    "unused branch": lambda x: (x.sin(), x.cos())[0].sum((1, 2)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_of_any_batch_from_a_trace_of_one_item(name: str) -> None:
    x = numbers(5, 2, 4)
    graph = trace(FUNCTIONS[name], x[:1])
    assert not any("_." in str(node.target) for node in graph.nodes)  # nothing writes in place
    program = Program(graph)
    for batch in (x, x[:1], x[:0] if name == "constants" else x[:2]):
        torch.testing.assert_close(program.scores(program.run(batch)), FUNCTIONS[name](batch))


def test_what_is_written_into_a_copy_of_a_parameter_is_refused_and_changes_nothing() -> None:
    weight = nn.Parameter(numbers(4))
    before = weight.detach().clone()
    with pytest.raises(UnsupportedOperation, match="in place"):
        trace(lambda x: (x * weight.detach().clone().add_(1.0)).sum((1, 2)), numbers(1, 2, 4))
    assert torch.equal(weight.detach(), before)


def test_what_does_not_depend_on_the_item_is_computed_once() -> None:
    weight = numbers(4, 4)
    graph = trace(lambda x: (x @ (weight @ weight.T).softmax(0)).tanh().sum((1, 2)), numbers(1, 2, 4))
    per_item = [node.name for node in graph.nodes if node.per_item]
    assert len(graph.nodes) - len(per_item) == 1
    assert "x_1" in per_item[0] or "arg" in per_item[0]


def test_indices_and_comparisons_are_not_differentiated() -> None:
    graph = trace(lambda x: (x * (x > 0)).sum((1, 2)) + x.argmax(2).sum(1), numbers(1, 2, 4))
    inactive = {str(node.target) for node in graph.nodes if node.per_item and not node.active}
    assert {"aten.gt.Scalar", "aten.argmax.default"} <= inactive


def test_extras_belong_to_the_item_and_are_not_differentiated() -> None:
    x, q = numbers(3, 4), numbers(3, 4, seed=6)
    graph = trace(lambda y, e: (y * e.exp()).sum(1), x[:1], (q[:1],))
    assert graph.extras == 1
    assert [node.active for node in graph.nodes[:2]] == [True, False]
    program = Program(graph)
    torch.testing.assert_close(program.scores(program.run(x, (q,))), (x * q.exp()).sum(1))


REFUSED = {
    r"one score per item, \(B,\), got \(1, 4\)": lambda x: x,
    "one score per item": lambda x: (x.sum(1), x),
    "shapes that do not depend on the values": lambda x: x[x > 0].sum()[None],
    "shapes that do not depend": lambda x: x.nonzero().sum(0)[:1] * x.sum(1),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_no_score_is_refused(message: str) -> None:
    with pytest.raises(ModelError, match=message):
        trace(REFUSED[message], numbers(1, 4))
