"""Taylor-CAM of transformers, recurrent networks and maps of any layout equals nested differentiation."""

from __future__ import annotations

import copy
import itertools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn.attention import SDPBackend, sdpa_kernel

from xai_fast.errors import UnsupportedOperation
from xai_fast.interaction.taylor_cam import TaylorCAM

IDS = torch.tensor([[5, 6, 7, 8], [4, 3, 2, 0]])
MASK = {"attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])}


def filled(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Random weights that are far from those of a fresh model, which hardly bend."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.4 * torch.randn(parameter.shape, generator=generator)
    return model.to(dtype).eval()


def numbers(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def nested(model: nn.Module, layer: str, inputs: Tensor, extra: Mapping[str, Tensor], places: Sequence[int]) -> Tensor:
    """S of class 1, (B, n, n), from the Hessian of the model as it is with the layer's output put in.

    ``places`` are the axes of positions in the layer's output without the batch.
    """
    found = []
    for item in range(len(inputs)):
        row = {name: value[item : item + 1] for name, value in extra.items()}
        at = [numbers(1)]  # the layer's output, once it is seen

        def hook(_module: nn.Module, _inputs: object, output: Any, at: list[Tensor] = at) -> Any:
            first = output[0] if isinstance(output, tuple) else output
            put = first if at[0].shape == (1,) else at[0]
            at[0] = first.detach() if at[0].shape == (1,) else at[0]
            return (put, *output[1:]) if isinstance(output, tuple) else put

        def score(value: Tensor, at: list[Tensor] = at, item: int = item, row: dict[str, Tensor] = row) -> Tensor:
            at[0] = value
            out = model(inputs[item : item + 1], **row)
            return getattr(out, "logits", out).softmax(1)[0, 1]

        handle = model.get_submodule(layer).register_forward_hook(hook)
        with sdpa_kernel(SDPBackend.MATH):
            model(inputs[item : item + 1], **row)
            x = at[0]
            full = torch.autograd.functional.hessian(score, x)[0]  # (..., 1, ...)
        handle.remove()
        axes = [1 + place for place in places] + [a for a in range(1, x.ndim) if a - 1 not in places]
        d = x.shape[axes[-1]]
        x = x.permute(0, *axes).reshape(-1, d)
        full = full.squeeze(full.ndim // 2)  # the batch of the second
        one = [axis - 1 for axis in axes]
        full = full.permute(*one, *(len(axes) + axis for axis in one)).reshape(len(x), d, len(x), d)
        sums = torch.einsum("ip,ipjm->ij", x, full)
        found.append(sums * (1 - torch.eye(len(x), dtype=sums.dtype)))
    return torch.stack(found)


def assert_same(found: Tensor, expected: Tensor, error: float = 1e-8) -> None:
    largest = float(expected.abs().amax((1, 2)).min())
    assert largest > 1e-7
    torch.testing.assert_close(found.double(), expected, rtol=error, atol=1e-3 * error * largest)


def hugging_face(name: str, attention: str | None = None) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    text = {"vocab_size": 10, "pad_token_id": 0, "num_labels": 3}
    blocks = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}
    sizes: dict[str, dict[str, Any]] = {
        "BertForSequenceClassification": {**text, **blocks, "max_position_embeddings": 8},
        "GPT2ForSequenceClassification": {**text, "n_embd": 4, "n_layer": 1, "n_head": 2, "n_positions": 8},
        "ViTForImageClassification": {**blocks, "image_size": 8, "patch_size": 4, "num_labels": 3},
        "ConvNextForImageClassification": {
            "hidden_sizes": [4, 6], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "num_labels": 3,
        },
        "SwinForImageClassification": {
            "image_size": 8, "patch_size": 2, "embed_dim": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2,
            "num_labels": 3,
        },
    }  # fmt: skip
    kind = getattr(transformers, name)
    given = {} if attention is None else {"attn_implementation": attention}
    return kind(kind.config_class(**sizes[name], **given))


BERT, GPT2 = "BertForSequenceClassification", "GPT2ForSequenceClassification"
PICTURES = numbers(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("name", "attention", "layer", "inputs", "extra", "places"),
    [
        (BERT, None, "bert.embeddings", IDS, MASK, [0]),
        (BERT, "eager", "bert.embeddings", IDS, MASK, [0]),
        (GPT2, None, "transformer.h.0.ln_1", IDS, {}, [0]),
        (GPT2, "eager", "transformer.h.0.ln_1", IDS, MASK, [0]),
        ("ConvNextForImageClassification", None, "convnext.embeddings", PICTURES, {}, [1, 2]),
        ("SwinForImageClassification", None, "swin.embeddings", PICTURES, {}, [0]),
    ],
)
def test_models_of_hugging_face(
    name: str, attention: str | None, layer: str, inputs: Tensor, extra: dict[str, Tensor], places: list[int]
) -> None:
    model = filled(hugging_face(name, attention))
    expected = nested(model, layer, inputs, extra, places)
    for method in ("forward", "hvp"):
        found = TaylorCAM(model, layer, method=method).explain(inputs, 1, additional_forward_args=extra or None)
        assert_same(found.sums, expected)


@pytest.mark.parametrize("options", [{"grid": (2, 2), "skip_tokens": 1}, {}, {"skip_tokens": 0}])
@pytest.mark.parametrize(("attention", "error"), [(None, 1e-8), ("eager", 1e-3)])  # "eager" has a softmax in float32
def test_tokens_of_a_picture_with_a_class_token(attention: str | None, error: float, options: dict[str, Any]) -> None:
    model, layer = filled(hugging_face("ViTForImageClassification", attention)), "vit.layers.0.layernorm_before"
    found = TaylorCAM(model, layer, method="forward", **options).explain(PICTURES, 1)
    skipped = options.get("skip_tokens", 1)
    assert found.grid == ((2, 2) if skipped else (5,))
    assert_same(found.sums, nested(model, layer, PICTURES, {}, [0])[:, skipped:, skipped:], error)


class Recurrent(nn.Module):
    """A recurrent layer behind a linear one."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 2)
        self.layer = kind(2, 3, batch_first=True, bidirectional=kind is nn.GRU)
        self.head = nn.Linear(6 if kind is nn.GRU else 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x).tanh())[0][:, -1])


@pytest.mark.parametrize("method", ["forward", "hvp"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_layer_before_a_recurrent_one(kind: type[nn.RNNBase], method: str) -> None:
    model = filled(Recurrent(kind), torch.float32)
    x = numbers(2, 3, 3, dtype=torch.float32)
    expected = nested(copy.deepcopy(model).double(), "embed", x.double(), {}, [0])
    assert_same(TaylorCAM(model, "embed", method=method).explain(x, 1).sums, expected, 1e-3)


class Permuted(nn.Module):
    """A function that gives its input's axes another order."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


def chain(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.GELU(), nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize(
    ("make", "layer", "shape", "places", "grid"),
    [
        (lambda: chain(nn.Conv1d(2, 4, 2), nn.Conv1d(4, 2, 2)), "0", (2, 5), [1], (4,)),
        (lambda: chain(nn.Conv3d(1, 2, 2), nn.Conv3d(2, 3, 2)), "0", (1, 3, 4, 3), [1, 2, 3], (2, 3, 2)),
        (
            lambda: chain(nn.Conv2d(1, 3, 1), Permuted(0, 2, 3, 1), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)),
            "2", (1, 3, 2), [0, 1], (3, 2),
        ),
        (  # as torchvision's ConvNeXt has it
            lambda: chain(
                nn.Conv2d(1, 3, 2), Permuted(0, 2, 3, 1), nn.LayerNorm(3), nn.Linear(3, 3), nn.GELU(),
                nn.Linear(3, 3), Permuted(0, 3, 1, 2), nn.AdaptiveAvgPool2d(1),
            ),
            "3", (1, 3, 4), [0, 1], (2, 3),
        ),
    ],
)  # fmt: skip
def test_maps_of_one_to_three_dimensions_with_channels_anywhere(
    make: Callable[[], nn.Module], layer: str, shape: tuple[int, ...], places: list[int], grid: tuple[int, ...]
) -> None:
    model, x = make().double(), numbers(2, *shape)
    model(x)
    filled(model)
    found = TaylorCAM(model, layer, method="forward").explain(x, 1)
    assert found.grid == grid
    assert_same(found.sums, nested(model, layer, x, {}, places))


def pre_norm() -> nn.Module:
    """A pre-norm block between linear layers; the mean of the tokens is classified."""
    block = nn.TransformerEncoderLayer(6, 2, 8, 0.0, "gelu", 1e-5, batch_first=True, norm_first=True)
    pool = (Permuted(0, 2, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    return nn.Sequential(nn.Linear(3, 6), block, nn.LayerNorm(6), *pool, nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("dtype", "layers", "options"),
    [
        (torch.float64, ("0", "1", "1.self_attn", "1.linear2"), {"method": "hvp"}),
        (torch.float64, ("0",), {"method": "reverse"}),
        (torch.float64, ("0",), {"scope": "global"}),
        (torch.float64, ("0",), {"order": 3}),
        (torch.float32, ("0",), {}),
        (torch.float32, ("0",), {"method": "hvp"}),
    ],
)
def test_on_a_stream_that_only_layer_norms_read_all_sums_are_zero(
    caplog: pytest.LogCaptureFixture, dtype: torch.dtype, layers: Sequence[str], options: dict[str, Any]
) -> None:
    model, x = filled(pre_norm(), dtype), numbers(2, 3, 3, dtype=dtype)
    for layer in layers:
        check_flat(caplog, TaylorCAM(model, layer, **options), x, "a LayerNorm takes .*the norm before an attention")


def check_flat(caplog: pytest.LogCaptureFixture, cam: TaylorCAM, x: Tensor, why: str) -> None:
    """All items have no interactions, which is said once, with the reason."""
    caplog.clear()
    for size in (2, 1):
        found = cam.explain(x, 1, internal_batch_size=size)
        assert not found.sums.any()
        assert found.facts["zero_curvature"].all()
    (said,) = (one for one in caplog.messages if "zero_curvature" in one)
    assert re.search(f"got {cam.layer}, .*{why}", said)


class Routed(nn.Module):
    """The class is told from the tokens of some items, and from their LayerNorm of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(3, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        return self.head(torch.where(x[:, :1, :1] > 0, tokens, self.norm(tokens)).mean(1))


@pytest.mark.parametrize("method", ["auto", "hvp"])
@pytest.mark.parametrize("flat", [[0, 1, 4], [0, 1, 2, 3, 4, 5], list(range(7))])
def test_an_item_without_interactions_has_zeros_whatever_batch_it_comes_in(
    caplog: pytest.LogCaptureFixture, flat: list[int], method: str
) -> None:
    model, x = filled(Routed()), numbers(7, 4, 3)
    x[:, 0, 0] = torch.tensor([-1.0 if i in flat else 1.0 for i in range(7)])
    expected = nested(model, "embed", x, {}, [0])
    expected[flat] = 0
    cam = TaylorCAM(model, "embed", method=method)
    orders = [[0, 1, 2, 3, 4, 5, 6], [6, 4, 2, 0, 5, 3, 1], *([i] for i in range(7))]
    for items, size in itertools.product(orders, (1, 2, 3, None)):
        found = cam.explain(x[items], 1, internal_batch_size=size)
        torch.testing.assert_close(found.sums, expected[items], rtol=1e-8, atol=1e-14)
        assert found.facts["zero_curvature"].tolist() == [i in flat for i in items]
    assert sum("a LayerNorm takes" in message for message in caplog.messages) == 1


@pytest.mark.parametrize("layer", ["1.norm1", "1.linear1"])
def test_layers_that_are_named_instead_work(layer: str) -> None:
    model, x = filled(pre_norm()), numbers(2, 3, 3)
    expected = nested(model, layer, x, {}, [0])
    for method in ("auto", "hvp"):
        assert_same(TaylorCAM(model, layer, method=method).explain(x, 1).sums, expected)


@pytest.mark.parametrize("method", ["auto", "hvp"])
def test_a_norm_that_divides_by_the_size_of_a_cell(caplog: pytest.LogCaptureFixture, method: str) -> None:
    tokens = (Permuted(0, 2, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3))
    model = filled(nn.Sequential(nn.Linear(3, 6), nn.RMSNorm(6, eps=0.0), nn.Linear(6, 6), nn.GELU(), *tokens))
    x = numbers(2, 3, 3)
    check_flat(caplog, TaylorCAM(model, "0", method=method), x, "a norm divides by what a cell is multiplied by")
    assert_same(TaylorCAM(model, "1", method=method).explain(x, 1).sums, nested(model, "1", x, {}, [0]))


class Pooled(nn.Module):
    """The first token reads the others through an RMSNorm, and its own stream."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(3, 6), nn.RMSNorm(6, eps=0.0), nn.Linear(6, 3)
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.embed(x)
        normed = self.norm(stream)
        return self.head(stream[:, 0] + self.attend(normed[:, :1], normed, normed, need_weights=False)[0][:, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["auto", "hvp"])
def test_rounding_beside_real_sums_is_zero(method: str, dtype: torch.dtype) -> None:
    model, x = filled(Pooled(), dtype), numbers(2, 4, 3, dtype=dtype)
    found = TaylorCAM(model, "embed", method=method, symmetric=False).explain(x, 1)
    expected = nested(copy.deepcopy(model).double(), "embed", x.double(), {}, [0])
    expected[:, 1:] = 0  # scaling another token than the first changes nothing
    assert_same(found.sums, expected, 1e-3 if dtype is torch.float32 else 1e-8)
    assert not found.saliency[:, 1:].any()


@pytest.mark.parametrize("method", ["auto", "hvp"])
def test_where_one_cell_reaches_the_score_a_layer_before_attention_is_named(
    caplog: pytest.LogCaptureFixture, method: str
) -> None:
    block = nn.TransformerEncoderLayer(6, 2, 8, 0.0, "gelu", 1e-5, batch_first=True, norm_first=True)
    first = Function(lambda tokens: tokens[:, 0])
    model = filled(nn.Sequential(nn.Linear(3, 6), block, nn.LayerNorm(6), first, nn.Linear(6, 3)))
    check_flat(caplog, TaylorCAM(model, "1", method=method), numbers(2, 3, 3), "explain a layer before the last att")


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Cube(torch.autograd.Function):
    """Neither traced nor differentiated forward, but differentiated twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


class Once(Cube):
    """Differentiated once."""

    backward = staticmethod(torch.autograd.function.once_differentiable(Cube.backward))


def behind(function: Callable[[Tensor], Tensor]) -> nn.Module:
    return filled(nn.Sequential(nn.Linear(3, 2), Function(function), nn.Flatten(), nn.Linear(6, 3)))


@pytest.mark.parametrize("function", [torch.special.i0e, Cube.apply, lambda x: x**3 if bool(x.sum() > -100) else x])
def test_what_has_no_rule_falls_back_and_says_so_once(
    function: Callable[[Tensor], Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    model, x = behind(function), numbers(2, 3, 3)
    expected = nested(model, "0", x, {}, [0])
    cam = TaylorCAM(model, "0")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_same(cam.explain(x, 1).sums, expected)
    assert [record.getMessage().count('method="hvp" need no') for record in caplog.records] == [1]
    for options in ({"method": "forward"}, {"order": 3}):
        with pytest.raises(UnsupportedOperation, match=r'method="hvp" .*\(behind 0\)'):
            TaylorCAM(model, "0", **options).explain(x, 1)


@pytest.mark.parametrize("method", ["auto", "hvp"])
@pytest.mark.parametrize(
    ("function", "operation"),
    [(lambda x: torch.cdist(x, x.sin(), p=3.0)[..., :2], "_cdist_backward"), (Once.apply, "not .* used in the graph")],
)
def test_what_autograd_cannot_differentiate_twice_is_named(
    function: Callable[[Tensor], Tensor], operation: str, method: str
) -> None:
    with pytest.raises(UnsupportedOperation, match=rf"differentiate twice, got .*{operation}.* \(behind 0\)"):
        TaylorCAM(behind(function), "0", method=method).explain(numbers(2, 3, 3), 1)


def test_sums_in_another_dtype() -> None:
    model, x = behind(lambda x: x.sin() * x.float().mean(1, keepdim=True, dtype=torch.float64)), numbers(2, 3, 3)
    assert_same(TaylorCAM(model, "0", method="forward").explain(x, 1).sums, nested(model, "0", x, {}, [0]), 1e-4)


def test_a_recurrent_model_is_traced_once() -> None:
    model, x, traces = filled(Recurrent(nn.LSTM)), numbers(2, 2, 3), []
    model.register_forward_pre_hook(lambda *_: traces.append(1) if get_proxy_mode() is not None else None)
    cam = TaylorCAM(model, "embed")
    cam.explain(x[:1], 1)
    once = len(traces)
    cam.explain(x, 1)
    assert len(traces) == once > 0
