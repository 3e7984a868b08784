"""V^T H U equals the Hessian of autograd between V and U, by every route, under every limit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from all_pairs import all_pairs
from taylor_networks import NETWORKS, network, numbers
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from xai_fast import taylor
from xai_fast.errors import InputError, ModelError, UnsupportedOperation, ZeroCurvatureError
from xai_fast.taylor.differentiable import differentiable
from xai_fast.taylor.program import Program

METHODS = ("auto", "forward", "reverse", "hvp")


def autograd_hessian(model: nn.Module, x: Tensor, extra: Tensor | None, targets: Tensor, score: str) -> Tensor:
    """(B, N, N) by nested autograd, an item at a time."""
    results = []
    for item in range(len(x)):

        def value(y: Tensor, item: int = item) -> Tensor:
            arguments = () if extra is None else (extra[item : item + 1],)
            logits = model(y[None], *arguments)
            kinds = {"probability": logits.softmax(1), "log_probability": logits.log_softmax(1), "logit": logits}
            return kinds[score][0, targets[item]]

        with sdpa_kernel(SDPBackend.MATH):
            found = torch.autograd.functional.hessian(value, x[item])
        results.append(found.reshape(x[item].numel(), x[item].numel()))
    return torch.stack(results)


def relative(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def predicted(model: nn.Module, x: Tensor, extra: Tensor | None) -> Tensor:
    with torch.no_grad():
        return model(x, *(() if extra is None else (extra,))).argmax(1)


@pytest.mark.parametrize(("name", "score", "method"), all_pairs(NETWORKS, ["probability", "log_probability"], METHODS))
def test_hessian_equals_autograd(name: str, score: str, method: str) -> None:
    model, x, extra = network(name)
    expected = autograd_hessian(model, x, extra, predicted(model, x, extra), score)
    got = taylor.hessian(model, x, score=score, additional_forward_args=extra, method=method)
    assert relative(got, expected) < 1e-9
    assert relative(got, got.transpose(1, 2)) < 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_bilinear_form_equals_the_hessian_between_the_directions(name: str, method: str) -> None:
    model, x, extra = network(name)
    V, U = numbers(3, 4, *x.shape[1:], seed=8), numbers(3, 2, *x.shape[1:], seed=9)
    H = autograd_hessian(model, x, extra, torch.tensor([0, 2, 1]), "probability")
    expected = V.flatten(2) @ H @ U.flatten(2).transpose(1, 2)
    got = taylor.bilinear_form(model, x, V, U, target=[0, 2, 1], additional_forward_args=extra, method=method)
    assert relative(got, expected) < 1e-9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETWORKS)
def test_float32_is_near(name: str, method: str) -> None:
    model, x, extra = network(name)
    expected = taylor.hessian(model, x, target=1, additional_forward_args=extra)
    single = None if extra is None else extra.float()
    got = taylor.hessian(model.float(), x.float(), target=1, additional_forward_args=single, method=method)
    assert got.dtype == torch.float32
    assert relative(got.double(), expected) < 2e-5


TARGETS = {
    "int": 2,
    "list": [2, 2, 2],
    "tensor": torch.tensor([2, 2, 2]),
    "callable": lambda logits: logits.softmax(1)[:, 2],
}


@pytest.mark.parametrize("kind", TARGETS)
def test_targets_of_every_kind(kind: str) -> None:
    model, x, _ = network("conv_head_gelu")
    expected = autograd_hessian(model, x, None, torch.tensor([2, 2, 2]), "probability")
    assert relative(taylor.hessian(model, x, target=TARGETS[kind]), expected) < 1e-9


@pytest.mark.parametrize("method", ["forward", "reverse"])
@pytest.mark.parametrize("two_sides", [True, False])
def test_a_small_memory_limit_gives_the_same(two_sides: bool, method: str) -> None:
    model, x, _ = network("conv_head_relu", batch=2)
    function = taylor.prepare(model, x, target=0)
    V = numbers(2, 4, *x.shape[1:], seed=8)
    U = numbers(2, 3, *x.shape[1:], seed=9) if two_sides else None
    expected = taylor.bilinear_form(function, x, V, U, method=method)
    least = taylor.plan_bilinear_form(function, x, 4, 0 if U is None else 3, method=method).least_bytes
    for limit in (least, 2 * least, 5 * least):
        got = taylor.bilinear_form(function, x, V, U, method=method, memory_limit=limit)
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)
    with pytest.raises(InputError, match=f"memory_limit: expected at least {least} bytes"):
        taylor.bilinear_form(function, x, V, U, method=method, memory_limit=least - 1)


def test_running_out_of_memory_halves_the_rows_and_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, _ = network("residual")
    V = numbers(3, 6, *x.shape[1:], seed=8)
    expected = taylor.bilinear_form(model, x, V, target=0, method="hvp")
    function = taylor.prepare(model, x, target=0)
    original, tried = Program.tangents, []

    def small(self: Program, state: object, rows: dict[int, Tensor], *rest: object, **more: object) -> object:
        tried.append(max(r.shape[0] * r.shape[1] for r in rows.values()))
        if tried[-1] > 4:
            raise torch.OutOfMemoryError("pretended")
        return original(self, state, rows, *rest, **more)

    monkeypatch.setattr(Program, "tangents", small)
    got = taylor.bilinear_form(function, x, V, method="forward")
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)
    assert max(tried) > 4
    tried.clear()
    got = taylor.bilinear_form(function, x, V, method="forward")
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)
    assert max(tried, default=0) <= 4


def test_an_item_does_not_depend_on_its_batch() -> None:
    model, x, extra = network("relation", batch=5)
    whole = taylor.hessian(model, x, target=1, additional_forward_args=extra)
    for item in range(5):
        rows = slice(item, item + 1)
        alone = taylor.hessian(model, x[rows], target=1, additional_forward_args=extra[rows])
        torch.testing.assert_close(alone, whole[rows], rtol=1e-10, atol=1e-14)


def test_shapes_at_the_edge() -> None:
    model, x, _ = network("conv_head_gelu")
    V = numbers(3, 4, *x.shape[1:])
    assert taylor.bilinear_form(model, x[:0], V[:0], target=0).shape == (0, 4, 4)
    assert taylor.bilinear_form(model, x, V[:, :0], V, target=0).shape == (3, 0, 4)
    assert taylor.bilinear_form(model, x, V, V[:, :0], target=0).shape == (3, 4, 0)
    assert taylor.hessian(model, x[:0], target=0).shape[0] == 0
    one = taylor.hessian(lambda y: y[:, 0] ** 3, x[:, 0, 0, :1].contiguous())
    torch.testing.assert_close(one.flatten(), 6 * x[:, 0, 0, 0])


def test_inputs_that_are_not_contiguous() -> None:
    model, x, _ = network("residual")
    V = numbers(3, 3, 3, 3, 4, seed=8)
    strided, turned = x.transpose(2, 3), V[..., ::2][..., [0, 1, 1]].transpose(3, 4)
    got = taylor.bilinear_form(model, strided, turned, target=0)
    expected = taylor.bilinear_form(model, strided.contiguous(), turned.contiguous(), target=0)
    torch.testing.assert_close(got, expected)
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(taylor.hessian(model, last, target=0), taylor.hessian(model, x, target=0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_item(value: float) -> None:
    model, x, _ = network("conv_head_gelu")
    broken = x.clone()
    broken[1, 0, 0, 0] = value
    got = taylor.hessian(model, broken, target=0)
    expected = taylor.hessian(model, x, target=0)
    assert not torch.isfinite(got[1]).all()
    torch.testing.assert_close(got[[0, 2]], expected[[0, 2]])


def test_huge_values_saturate_without_nan() -> None:
    model, x, _ = network("conv_head_gelu")
    got = taylor.hessian(model, 1e6 * x, target=0)
    assert torch.isfinite(got).all()


def test_the_model_is_left_as_it_was_found() -> None:
    model, x, _ = network("residual")
    next(model.parameters()).requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def broken(logits: Tensor) -> Tensor:
        raise RuntimeError("by the user")

    taylor.hessian(model, x, target=0)
    taylor.hessian(model, x, target=0, method="hvp")
    with pytest.raises(RuntimeError, match="by the user"):
        taylor.hessian(model, x, target=broken)
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m.training for m in model.modules())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert not x.requires_grad


def test_a_piecewise_linear_score_raises_and_its_remedies_work() -> None:
    model, x, _ = network("conv_head_relu")
    with pytest.raises(ZeroCurvatureError) as caught:
        taylor.hessian(model, x, target=0, score="logit")
    for remedy in ('score="probability"', "log_probability", 'smooth="gelu"', "softplus"):
        assert remedy in str(caught.value)
    for score in ("probability", "log_probability"):
        assert float(taylor.hessian(model, x, target=0, score=score).abs().sum()) > 0


ERRORS = {
    "x: expected a float32 or float64 tensor": lambda m, x, V: taylor.bilinear_form(m, x.half(), V),
    "x: expected": lambda m, x, V: taylor.bilinear_form(m, [1.0], V),
    "V: expected": lambda m, x, V: taylor.bilinear_form(m, x, V[:, 0]),
    "V: expected .*float64": lambda m, x, V: taylor.bilinear_form(m, x, V.float()),
    "U: expected": lambda m, x, V: taylor.bilinear_form(m, x, V, V[:2]),
    "method: expected one of": lambda m, x, V: taylor.bilinear_form(m, x, V, method="magic"),
    "memory_limit: expected a positive": lambda m, x, V: taylor.bilinear_form(m, x, V, memory_limit=0),
    "target: expected classes from 0 to 4": lambda m, x, V: taylor.bilinear_form(m, x, V, target=7),
    "target: expected one class per item": lambda m, x, V: taylor.bilinear_form(m, x, V, target=[1, 2]),
    "fn: expected": lambda m, x, V: taylor.bilinear_form("model", x, V),
    "fn: expected a function from": lambda m, x, V: taylor.bilinear_form(lambda y: y, x, V),
    "additional_forward_args: expected": lambda m, x, V: taylor.bilinear_form(m, x, V, additional_forward_args=[x]),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_name_the_argument(message: str) -> None:
    model, x, _ = network("conv_head_gelu")
    with pytest.raises(InputError, match=message):
        ERRORS[message](model, x, numbers(3, 2, *x.shape[1:]))


def test_training_mode_is_refused() -> None:
    model, x, _ = network("conv_head_gelu")
    model.body[1].train()
    with pytest.raises(ModelError, match=r"training mode in body\.1"):
        taylor.hessian(model, x)


def test_items_that_depend_on_each_other_are_seen_one_by_one() -> None:
    # Documented: items must not. The trace of one item cannot mix them, so the result is that of each item alone.
    x = numbers(3, 4)
    got = taylor.hessian(lambda y: ((y - y.mean(0)) ** 2).sum(1) + (y**3).sum(1), x)
    torch.testing.assert_close(got, torch.diag_embed(6 * x))


def test_a_score_without_a_gradient_path_is_refused() -> None:
    with pytest.raises(ModelError, match="without a gradient path"):
        taylor.hessian(lambda y: (y.detach() ** 2).sum(1), numbers(2, 3))


def test_the_plan_says_what_will_be_done() -> None:
    model, x, _ = network("conv_head_relu")
    plan = taylor.plan_bilinear_form(model, x, 16, 16, target=0)
    assert plan.route in ("forward", "reverse")
    assert plan.least_bytes <= plan.bytes <= plan.memory_limit
    assert plan.operations > 0
    with pytest.raises(UnsupportedOperation):
        taylor.plan_bilinear_form(lambda y: torch.atan(y).sum(1), numbers(2, 3), 2)


def _normalised(exponentials: Tensor) -> Tensor:
    return exponentials / exponentials.sum(1, keepdim=True)


# A score of (B, 4, 3), and its curved operations where each softmax is one.
SOFTMAX: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "last dimension": (lambda x: x.softmax(2)[:, 1, 2], 1),
    "first dimension": (lambda x: x.softmax(1)[:, 1, 2], 1),
    "written out": (lambda x: _normalised(x.exp())[:, 1, 2], 1),
    "of another softmax": (lambda x: x.softmax(2).softmax(1)[:, 1, 2], 2),
    "under a product": (lambda x: (x.softmax(2) * x).sum((1, 2)), 2),
    "exponentials that are read again": (lambda x: (lambda e: (_normalised(e) + e)[:, 1, 2])(x.exp()), 3),
    "attention": (lambda x: ((x @ x.mT).softmax(2) @ x)[:, 1, 2], 3),
    "masked": (lambda x: x.masked_fill(x > 0.5, -torch.inf).softmax(2)[:, 1, 2], 1),
}


@pytest.mark.parametrize("two_sides", [False, True])
@pytest.mark.parametrize("case", SOFTMAX)
def test_a_softmax_is_one_operation_where_nothing_else_reads_its_parts(case: str, two_sides: bool) -> None:
    score, curved = SOFTMAX[case]
    x, V, U = numbers(3, 4, 3), numbers(3, 5, 4, 3, seed=8), numbers(3, 2, 4, 3, seed=9)
    expected = taylor.bilinear_form(score, x, V, U if two_sides else V, method="hvp")
    for method in ("forward", "reverse"):
        got = taylor.bilinear_form(score, x, V, U if two_sides else None, method=method)
        assert relative(got, expected) < 1e-12
    assert len(differentiable(taylor.prepare(score, x), x).second_order.curved) == curved
