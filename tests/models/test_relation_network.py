from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from benchmarks.training.relation import accuracy_by_question
from xai_fast.datasets import sort_of_clevr
from xai_fast.errors import InputError
from xai_fast.models.pretrained import model_card
from xai_fast.models.relation_network import PairwiseRelation, RelationNetwork, TagPositions, relation_network


def concatenated_first_layer(relation: PairwiseRelation) -> nn.Linear:
    """The first layer of g as it is published: one linear layer of [o_i, o_j, q]."""
    blocks = [relation.first_object, relation.second_object, relation.question]
    weight = torch.cat([block.weight.detach() for block in blocks if block is not None], dim=1)
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    layer.load_state_dict({"weight": weight, "bias": relation.first_bias.detach()})
    return layer


def literal_relation(relation: PairwiseRelation, objects: Tensor, questions: Tensor | None) -> Tensor:
    """Eq. 1 of the paper: the sum of g over all ordered pairs, one concatenation after the other."""
    first = concatenated_first_layer(relation)
    rows = []
    for item in range(len(objects)):
        total = torch.zeros(first.out_features, dtype=objects.dtype)
        for one in objects[item]:
            for other in objects[item]:
                parts = [one, other] if questions is None else [one, other, questions[item]]
                total = total + relation.rest(first(torch.cat(parts)))
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
@pytest.mark.parametrize(
    ("batch", "objects", "channels", "bits", "width", "layers"),
    [(2, 25, 26, 11, 16, 4), (3, 7, 5, 2, 9, 1), (1, 1, 4, 3, 8, 2), (2, 6, 3, 0, 7, 3), (0, 5, 3, 2, 4, 2)],
)
def test_factored_first_layer_is_the_concatenation(
    batch: int, objects: int, channels: int, bits: int, width: int, layers: int, activation: type[nn.Module]
) -> None:
    relation = PairwiseRelation(channels, bits, width, layers, activation).double()
    things = torch.randn(batch, objects, channels, dtype=torch.float64)
    questions = torch.randn(batch, bits, dtype=torch.float64) if bits else None
    with torch.no_grad():
        fast = relation(things, questions)
        assert fast.shape == (batch, width)
        if batch:
            torch.testing.assert_close(fast, literal_relation(relation, things, questions), rtol=1e-12, atol=1e-12)


def test_first_layer_is_drawn_as_one_linear_layer_would_be() -> None:
    relation = PairwiseRelation(26, 11)
    layer = concatenated_first_layer(relation)
    assert (layer.in_features, layer.out_features) == (63, 256)
    assert torch.equal(layer.bias, relation.first_bias)
    bound = 63**-0.5
    for values in (layer.weight, layer.bias):
        assert 0.97 * bound < values.abs().max() <= bound


def test_tags_are_row_and_column() -> None:
    features = torch.randn(2, 3, 4, 5)
    objects = TagPositions(4, 5)(features)
    assert objects.shape == (2, 20, 5)
    for row in range(4):
        for column in range(5):
            expected = torch.tensor([2 * row / 3 - 1, 2 * column / 4 - 1])
            torch.testing.assert_close(objects[:, 5 * row + column, 3:], expected.expand(2, 2))
            assert torch.equal(objects[:, 5 * row + column, :3], features[:, :, row, column])


def test_it_is_the_network_of_the_paper_in_pieces() -> None:
    model = RelationNetwork().eval()
    linear = [module for module in model.readout if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in linear] == [256, 256, 10]
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5]
    assert sum(isinstance(module, nn.Linear) for module in model.relation.rest) == 3
    images, questions = torch.rand(2, 3, 75, 75), torch.rand(2, 11)
    shapes = {}
    for name in ("convolutions", "tag"):
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: shapes.__setitem__(name, tuple(output.shape))
        )
    with torch.no_grad():
        logits = model(images, questions)
        again = model.relate(model.objects(images), questions)
    assert shapes == {"convolutions": (2, 24, 5, 5), "tag": (2, 25, 26)}
    assert logits.shape == (2, 10)
    assert torch.equal(logits, again)


def test_relations_do_not_depend_on_the_order_of_objects() -> None:
    model = RelationNetwork().double().eval()
    objects, questions = torch.randn(2, 9, 26, dtype=torch.float64), torch.randn(2, 11, dtype=torch.float64)
    with torch.no_grad():
        permuted = model.relate(objects[:, torch.randperm(9)], questions)
        torch.testing.assert_close(permuted, model.relate(objects, questions), rtol=1e-10, atol=1e-12)


def test_it_traces_to_plain_operations() -> None:
    model = RelationNetwork().eval()
    traced = make_fx(lambda things, asked: model.relate(things, asked))(torch.randn(2, 25, 26), torch.randn(2, 11))
    names = {str(node.target) for node in traced.graph.nodes if node.op == "call_function"}
    assert not {name for name in names if name.split(".")[1].endswith("_")}, names
    objects, questions = torch.randn(2, 25, 26), torch.randn(2, 11)
    torch.testing.assert_close(traced(objects, questions), model.relate(objects, questions))


@pytest.mark.parametrize(("bits", "questions"), [(2, None), (0, torch.zeros(1, 2))])
def test_a_question_too_many_or_too_few_is_named(bits: int, questions: Tensor | None) -> None:
    with pytest.raises(InputError, match="questions"):
        PairwiseRelation(3, bits, 4)(torch.zeros(1, 5, 3), questions)


def test_no_layers_are_refused() -> None:
    with pytest.raises(InputError, match="layers"):
        PairwiseRelation(3, 2, layers=0)


def test_the_stored_network_is_as_accurate_as_its_card_says() -> None:
    model = relation_network()
    assert not model.training
    card = model_card("sort-of-clevr")
    assert card["accuracy"]["relational"] >= 0.85
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    measured = accuracy_by_question(model, 20)
    # 200 questions of a kind: three standard errors of the card's accuracy are below 0.08.
    for kind in sort_of_clevr.KINDS:
        assert abs(measured[kind] - card["accuracy"][kind]) < 0.08, kind


def test_without_weights_it_is_random() -> None:
    torch.manual_seed(1)
    one = relation_network(pretrained=False)
    other = relation_network(pretrained=False)
    assert not one.training
    assert not torch.equal(one.relation.first_object.weight, other.relation.first_object.weight)
