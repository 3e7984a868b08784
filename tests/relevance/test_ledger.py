"""The ledger: what arrives at the input is the seed less all that was kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from architectures import ARCHITECTURES
from literal_relevance import RULES, SeenLRP, joined, literal
from torch import Tensor, nn

from xai_fast.attribution.lrp import LRP
from xai_fast.interaction.bilrp import BiLRP

BIASES = ("absorb", "zero", "keep")
NAMES = ("tutorial", "resnet", "densenet", "mobilenet", "efficientnet", "unet", "encoder", "vit", "bert", "in place")


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def stabilisers(method: SeenLRP) -> Tensor:
    """Bound what the stabilisers of sums and pools take, (B,): they have no rows."""
    values, total = method.seen, torch.zeros(())
    for index, relevance in literal(method).items():
        operation = getattr(values.graph.nodes[index].target, "overloadpacket", None)
        if getattr(operation, "__name__", "") in ("add", "sub", "mean", "sum", "avg_pool2d"):
            y = values.state.tensor(index)
            total = total + (relevance.abs() * 1e-6 / (y.abs() + 1e-6)).flatten(1).sum(1)
    return total + torch.zeros(values.state.items)


CASES = [(name, list(RULES)[(at + i) % len(RULES)]) for at, name in enumerate(NAMES) for i in range(0, len(RULES), 3)]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_the_seed_is_what_arrives_and_what_is_kept(name: str, rule: str) -> None:
    row = ARCHITECTURES[name]
    torch.manual_seed(0)
    model, inputs, extra = row.make().eval(), row.inputs(), row.extra()
    bias = BIASES[(NAMES.index(name) + len(rule)) % 3]
    method = SeenLRP(model, composite=RULES[rule], bias=bias, start="one", embeddings=row.embeddings)
    found = method.explain(inputs, additional_forward_args=extra)
    missing = (joined(found).sum(1) + found.ledger[..., 1:].sum((1, 2)) - 1).abs()
    assert bool((missing <= 1e-6 * found.ledger.abs().amax((1, 2)) + stabilisers(method)).all())


@pytest.mark.parametrize("rule", ["deep_taylor", "epsilon_gamma_box", "epsilon_alpha2_beta1_flat"])
def test_what_padding_before_the_first_layer_takes(rule: str) -> None:
    model = nn.Sequential(
        nn.ZeroPad2d(2),
        nn.MaxPool2d(2),
        nn.ZeroPad2d(1),
        nn.Conv2d(2, 3, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(147, 2),
    ).eval()
    found = LRP(model, composite=rule, start="one").explain(torch.randn(3, 2, 8, 8))
    kept = found.ledger[..., 1:].sum((1, 2))
    torch.testing.assert_close(found.attributions.sum((1, 2, 3)) + kept, torch.ones(3), atol=1e-6, rtol=0)
    assert "2 constant_pad_nd" in found.operations


@pytest.mark.parametrize("rule", ["epsilon", "epsilon_gamma_box", "epsilon_alpha2_beta1"])
def test_large_maps_keep_the_balance_of_each_item(rule: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 2, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(2, 2, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * 64 * 64, 2),
    ).eval()
    method = LRP(model, composite=rule, bias="keep", start="one", classes=[1, 0])
    found = method.explain(torch.randn(3, 2, 64, 64))
    kept = found.ledger[..., 1:].sum((2, 3))
    size = found.ledger.abs().amax((2, 3))
    torch.testing.assert_close((found.attributions.sum((2, 3, 4)) + kept) / size, 1 / size, atol=1e-9, rtol=0)


@pytest.mark.parametrize("rule", RULES)
def test_without_biases_the_bias_takes_nothing(rule: str) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False), nn.GELU(), nn.Flatten(),
        nn.Linear(16, 4, bias=False),
    ).eval()  # fmt: skip
    found = LRP(model, composite=RULES[rule]).explain(torch.randn(3, 3, 6, 6))
    assert not found.ledger[..., 1].any()
    assert bool(found.ledger[..., 0].any())


def test_inputs_outside_the_bounds_are_named() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)).eval()
    x = torch.rand(4, 3, 6, 6)
    x[1, 2, 0, 0], x[2, 0, 5, 5], x[3, 1, 2, 2] = -0.01, 1.6, 1 + 1e-7
    for high, expected in ((1.0, [False, True, True, False]), ([2.0, 1.0, 1.0], [False, True, False, False])):
        for method in (LRP(model, low=0.0, high=high), BiLRP(model, low=0.0, high=high, cells=(2, 2))):
            inputs = (x, x) if method.pairs else x
            assert method.explain(inputs).facts["outside_bounds"].tolist() == expected
    assert "outside_bounds" not in LRP(model).explain(x).facts


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("rule", RULES)
def test_a_dead_network_is_named(rule: str, bias: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)).eval()
    with torch.no_grad():
        model[0].weight.copy_(-model[0].weight.abs())
        model[0].bias.fill_(-1)
    alive = torch.rand(1, 3, 6, 6) * -100
    found = LRP(model, composite=RULES[rule], bias=bias).explain(torch.cat([torch.rand(2, 3, 6, 6), alive]))
    assert found.facts["no_relevance"].tolist() == [True, True, False]
    assert not found.attributions[:2].any()
    assert bool(found.ledger.isfinite().all())


@pytest.mark.parametrize("rule", RULES)
def test_a_score_of_zero_has_no_relevance(rule: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4)).eval()
    nn.init.zeros_(model[3].weight)
    nn.init.zeros_(model[3].bias)
    for start in ("one", "score"):
        found = LRP(model, composite=RULES[rule], start=start).explain(torch.rand(2, 3, 6, 6))
        assert found.facts["no_relevance"].all()
        assert not found.attributions.any()
