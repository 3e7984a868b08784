"""Models are explained as their owners run them: cases in which an engine that changes the environment goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import xai_fast
from xai_fast import GradCAM, ModelError, NeFLAG, TaylorCAM
from xai_fast.attribution.neflag_reference import neflag_reference
from xai_fast.metrics import insertion_deletion

RADIUS = {"radius": 0.05, "points": 3}


class Viewing(nn.Module):
    """A CNN that says ``view`` after a convolution, which takes the strides of the contiguous format for granted."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(400, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.convolution(x).view(-1, 400))


class Reading(nn.Module):
    """A CNN that reads its memory in the order of its strides, so another format gives other numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(400, 5)

    def forward(self, x: Tensor) -> Tensor:
        a = self.convolution(x)
        return self.head(a.as_strided((len(a), 400), (400, 1)))


@pytest.mark.parametrize("kind", [Viewing, Reading])
def test_another_memory_format_only_where_it_works_and_gives_the_same(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model, x = kind().double().eval(), torch.rand(3, 3, 12, 12).double()
    found = NeFLAG(model, **RADIUS).explain(x)
    maps, _, _ = neflag_reference(model, x, **RADIUS)
    torch.testing.assert_close(found.attributions, maps)
    assert torch.equal(found.scores, model(x).softmax(1).amax(1).detach())
    assert GradCAM(model, "convolution").attribute(x).shape == (3, 10, 10)
    curve = insertion_deletion(model, x, found.attributions, steps=3, baselines=("black",)).deletion_curves
    assert torch.equal(curve[:, 0], found.scores)


class Encoder(nn.Module):
    """Tokens with padding, pooled by their mean."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.head(self.encoder(x, src_key_padding_mask=padding).mean(1))


@pytest.fixture
def encoder() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model, x = Encoder().eval(), torch.randn(16, 6, 8)
    padding = torch.arange(6) >= torch.randint(2, 6, (16, 1))
    return model, x, padding


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_attention_with_padding_is_the_same_function_with_and_without_gradients(
    encoder: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, x, padding = encoder
    own = model(x, padding).detach()
    found = NeFLAG(model, **RADIUS).explain(x, additional_forward_args=padding, internal_batch_size=16)
    assert torch.equal(found.targets, own.argmax(1))
    assert torch.equal(found.scores, own.softmax(1).amax(1))
    for method in (GradCAM(model, "encoder.layers.0"), TaylorCAM(model, "encoder.layers.0")):
        explanation = method.explain(x, additional_forward_args=padding)
        assert torch.equal(explanation.targets, own.argmax(1))
        assert torch.isfinite(explanation.attributions).all()
    assert torch.backends.mha.get_fastpath_enabled()


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        outputs = self.body(x)
        return outputs.mean(1) if outputs.ndim == 3 else outputs


def test_a_model_that_changes_its_input_gets_copies() -> None:
    model, x = InPlace().eval(), torch.rand(4, 6)
    kept = x.clone()
    found = NeFLAG(model, **RADIUS).explain(x)
    same = NeFLAG(nn.Sequential(_Shift(), model.body).eval(), **RADIUS).explain(x)
    torch.testing.assert_close(found.attributions, same.attributions)
    insertion_deletion(model, x, found.attributions, steps=2, baselines=("black",))
    assert torch.equal(x, kept)


def test_maps_of_a_model_that_changes_its_input() -> None:
    model, x = InPlace().eval(), torch.rand(4, 5, 6)
    kept = x.clone()

    def gentle(v: Tensor) -> Tensor:
        return model.body(v - 0.5).mean(1)

    for method in (GradCAM(model, "body.1"), TaylorCAM(model, "body.1")):
        found = method.explain(x)
        outputs = gentle(x).detach()
        expected = outputs.amax(1) if method.score == "logit" else outputs.softmax(1).amax(1)
        torch.testing.assert_close(found.scores, expected)
        assert torch.equal(method.attribute(x), found.attributions)
        assert found.attributions.shape[:2] == (4, 5)
        assert torch.equal(x, kept)


class _Shift(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - 0.5


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(400, 3)).eval()


METHODS: list[Callable[[nn.Module], xai_fast.Method]] = [
    lambda model: NeFLAG(model, **RADIUS),
    lambda model: GradCAM(model, "1"),
    lambda model: TaylorCAM(model, "1"),
]
methods = pytest.mark.parametrize("made", METHODS, ids=["neflag", "gradcam", "taylor_cam"])


@methods
def test_modes_of_the_caller_change_nothing(made: Callable[[nn.Module], xai_fast.Method]) -> None:
    model, x = small(), torch.rand(2, 3, 12, 12)
    expected = made(model).explain(x)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            found = made(model).explain(x)
            inside = made(model).explain(x.clone())
        assert torch.equal(found.attributions, expected.attributions)
        assert torch.equal(inside.attributions, expected.attributions)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert made(model).explain(x).attributions.dtype == torch.float32
    assert all(p.requires_grad for p in model.parameters())


@methods
def test_a_model_made_in_inference_mode_has_a_named_error(made: Callable[[nn.Module], xai_fast.Method]) -> None:
    with torch.inference_mode():
        model = small()
    with pytest.raises(
        ModelError, match=r"model: expected parameters and buffers that gradients can pass through, got 0.weight"
    ):
        made(model).explain(torch.rand(2, 3, 12, 12))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("made", METHODS[:2], ids=["neflag", "gradcam"])
def test_models_in_half_precision(made: Callable[[nn.Module], xai_fast.Method], dtype: torch.dtype) -> None:
    model, x = small().to(dtype), torch.rand(2, 3, 12, 12)
    found = made(model).explain(x)
    assert found.attributions.dtype == torch.float32
    assert torch.equal(found.targets, model(x.to(dtype)).argmax(1))
    torch.testing.assert_close(made(model).explain(x.to(dtype)).scores, found.scores)
    exact = made(model.float()).explain(x.to(dtype).float())
    cosine = torch.cosine_similarity(found.attributions.flatten(1), exact.attributions.flatten(1))
    assert float(cosine.min()) > 0.9


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Conv2d(3, 4, 3)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3))
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.block(x) if self.reentrant is None else checkpoint(self.block, x, use_reentrant=self.reentrant)
        return self.head(x.flatten(1))


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints(reentrant: bool) -> None:
    torch.manual_seed(0)
    plain, x = Checkpointed(None).eval(), torch.rand(2, 3, 12, 12)
    model = Checkpointed(reentrant).eval()
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(NeFLAG(model, **RADIUS).attribute(x), NeFLAG(plain, **RADIUS).attribute(x))
    for layer in ("block.1", "block", "stem"):
        torch.testing.assert_close(GradCAM(model, layer).attribute(x), GradCAM(plain, layer).attribute(x))
    assert all(p.grad is None for p in model.parameters())


class WithAdjacency(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.nodes = nn.Linear(2, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor, adjacency: Tensor, *, scale: float = 1.0) -> Tensor:
        return self.head((scale * adjacency @ self.nodes(x).tanh()).mean(-2))


def test_a_shared_argument_is_one_for_all_items(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model, x, adjacency = WithAdjacency().eval(), torch.randn(12, 12, 2), torch.rand(12, 12)
    expected = model(x, adjacency).softmax(1).amax(1).detach()
    method = NeFLAG(model, **RADIUS)
    found = method.explain(x, additional_forward_args=xai_fast.shared(adjacency), internal_batch_size=12)
    assert torch.equal(found.scores, expected)
    assert torch.equal(
        method.attribute(x, None, xai_fast.shared(adjacency), internal_batch_size=5)[:5],
        method.attribute(x[:5], None, adjacency, item_ids=list(range(5)), internal_batch_size=5),
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            method.explain(torch.randn(7, 7, 2), additional_forward_args=torch.rand(7, 7))
    assert [record.message for record in caplog.records if "shared" in record.message] == [
        "additional_forward_args[0]: a tensor (7, 7) is taken as one row per item, since its first dimension is the "
        "batch size; xai_fast.shared(tensor) says that it is one for all"
    ]


@pytest.mark.parametrize("made", [lambda m: NeFLAG(m, **RADIUS), lambda m: GradCAM(m, "nodes")])
def test_keywords(made: Callable[[nn.Module], xai_fast.Method]) -> None:
    model, x, adjacency = WithAdjacency().eval(), torch.randn(3, 4, 2), torch.rand(4, 4)
    found = made(model).explain(x, 0, {"adjacency": adjacency, "scale": 2.0})
    torch.testing.assert_close(found.attributions, made(model).attribute(x, 0, 2.0 * adjacency))
    each = made(model).explain(x, 0, {"scale": 2.0, "adjacency": adjacency.expand(3, 4, 4)}, internal_batch_size=2)
    torch.testing.assert_close(each.attributions, found.attributions)


def test_an_output_with_logits_is_understood() -> None:
    model, x = small(), torch.rand(2, 3, 12, 12)
    expected = NeFLAG(model, **RADIUS).attribute(x)
    found = NeFLAG(lambda v: SimpleNamespace(logits=model(v)), **RADIUS).attribute(x)
    torch.testing.assert_close(found, expected)


def test_a_regression_is_explained_as_it_is_and_a_single_logit_has_two_classes() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).eval(), torch.randn(5, 4)
    plain = NeFLAG(model, **RADIUS).explain(x)
    assert torch.equal(plain.scores, model(x)[:, 0].detach())
    assert plain.targets is None
    assert "saturated" not in plain.facts
    one, zero = (NeFLAG(model, score="probability", **RADIUS).explain(x, target) for target in (1, 0))
    torch.testing.assert_close(one.scores, model(x)[:, 0].detach().sigmoid())
    torch.testing.assert_close(zero.scores, 1 - one.scores)


def test_probabilities_under_a_softmax_are_noticed_once(caplog: pytest.LogCaptureFixture) -> None:
    model, x = nn.Sequential(small(), nn.Softmax(1)).eval(), torch.rand(2, 3, 12, 12)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            NeFLAG(model, **RADIUS).explain(x)
        NeFLAG(model, score="output", **RADIUS).explain(x)
        NeFLAG(small(), **RADIUS).explain(x)
    (said,) = [record.message for record in caplog.records if "probabilities" in record.message]
    assert 'score="output" explains the probabilities themselves' in said


def test_training_mode_is_refused_only_where_it_matters() -> None:
    x = torch.rand(2, 3, 12, 12)
    harmless = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Dropout(0.0), nn.Linear(400, 3))
    found = NeFLAG(harmless.train(), **RADIUS).explain(x)
    assert torch.equal(found.attributions, NeFLAG(harmless.eval(), **RADIUS).attribute(x))
    recurrent = nn.GRU(3, 4, 2, dropout=0.1)
    for part in (nn.Dropout(0.1), nn.BatchNorm2d(3), nn.RReLU(), recurrent, _Shift()):
        with pytest.raises(ModelError, match="training mode in 1"):
            NeFLAG(nn.Sequential(nn.Identity(), part).train(), **RADIUS).explain(x)


def test_arrays_maps_without_channels_and_tables() -> None:
    model, x = small(), torch.rand(2, 3, 12, 12)
    found = NeFLAG(model, **RADIUS).attribute(x)
    assert torch.equal(NeFLAG(model, **RADIUS).attribute(x.numpy()), found)
    score = insertion_deletion(model, x, found, steps=3)
    arrays = insertion_deletion(model, x.numpy(), found.abs().sum(1).numpy(), steps=3)
    assert torch.equal(arrays.difference, score.difference)
    maps = GradCAM(model, "1", upsample=True).attribute(x)
    torch.testing.assert_close(
        insertion_deletion(model, x, maps, steps=3).difference,
        insertion_deletion(model, x, maps[:, None], steps=3).difference,
    )
    table, weights = torch.rand(4, 5), torch.rand(5, 3)
    lines = insertion_deletion(lambda v: v @ weights, table, table, steps=5, baselines=(table.mean(0),))
    assert lines.difference.shape == (4,)
