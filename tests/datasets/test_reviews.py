from __future__ import annotations

import hashlib
import re

import pytest
import torch

from xai_fast.datasets.reviews import ANSWERS, LONGEST, VOCABULARY, review, token_batch, tokenize
from xai_fast.errors import InputError

PRAISE = {"good", "great", "excellent", "lovely", "superb", "brilliant", "wonderful", "pleasant"}
BLAME = {"bad", "awful", "terrible", "poor", "dreadful", "horrible", "useless", "boring"}


def read(text: str) -> list[tuple[int, int | None, bool]]:
    """Find the opinions as a reader would: the word, the negation one or two words before it, what they say."""
    words, opinions = text.split(), []
    for place, word in enumerate(words):
        if word in PRAISE | BLAME:
            before = [k for k in (place - 1, place - 2) if words[k] in {"not", "never", "hardly"}]
            opinions.append((place, before[0] if before else None, (word in PRAISE) != bool(before)))
    return opinions


def test_opinions_and_labels_are_what_a_reader_finds() -> None:
    for each in map(review, range(500)):
        opinions = [(opinion.word, opinion.negation, opinion.positive) for opinion in each.opinions]
        assert opinions == read(each.text)
        assert len(opinions) in {1, 3}
        assert ANSWERS[each.label] == ("positive" if sum(o[2] for o in opinions) > len(opinions) / 2 else "negative")


def test_reviews_are_a_function_of_number_split_and_seed() -> None:
    assert review(3, seed=1) == review(3, seed=1)
    assert len({review(3), review(4), review(3, seed=1), review(3, split="train")}) == 4
    digest = hashlib.sha256("\n".join(review(index).text for index in range(100)).encode()).hexdigest()
    assert digest == "e979e136dacfc35c242eb1a4b59d15a55f7f3c32d6e1b9e6b17e66ccb7614f4e"


def test_reviews_vary_as_is_said() -> None:
    drawn = [review(index, split="train") for index in range(3000)]
    assert max(len(each.words) for each in drawn) <= LONGEST
    assert {word for each in drawn for word in each.words} == set(VOCABULARY[1:])
    assert 0.47 < sum(each.label for each in drawn) / len(drawn) < 0.53
    negated = [opinion.negation is not None for each in drawn for opinion in each.opinions]
    assert 0.3 < sum(negated) / len(negated) < 0.37


def test_a_negation_turns_the_label_round() -> None:
    for each in map(review, range(100)):
        kept = [(w, n, p) for w, n, p in read(re.sub(r"(not|never|hardly) ", "", each.text))]
        assert [n for _, n, _ in kept] == [None] * len(kept)
        turned = [old.positive != new[2] for old, new in zip(each.opinions, kept, strict=True)]
        assert turned == [opinion.negation is not None for opinion in each.opinions]


def test_token_ids_are_places_in_the_vocabulary() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY))
    assert VOCABULARY[0] == ""
    drawn = [review(index) for index in range(20)]
    ids = token_batch([each.text for each in drawn])
    assert ids.dtype == torch.int64
    assert ids.shape == (20, max(len(each.words) for each in drawn))
    for each, row in zip(drawn, ids.tolist(), strict=True):
        words = tuple(VOCABULARY[token] for token in row)
        assert words == each.words + ("",) * (len(row) - len(each.words))
    assert [VOCABULARY[token] for token in tokenize("The food,  GOOD")] == ["the", "food", ",", "good"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tokenize("the food was tasty"), "text: expected words of .*VOCABULARY, got 'tasty'"),
        (lambda: review(-1), "index"),
        (lambda: review(0, split="x"), "split"),
        (lambda: review(0, seed=-1), "seed"),
    ],
)
def test_what_is_wrong_is_said(wrong: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()
