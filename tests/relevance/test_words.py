"""Relevance of a text classifier whose deciding words are known."""

from __future__ import annotations

import pytest

from xai_fast import LRP
from xai_fast.datasets.reviews import review, token_batch
from xai_fast.models.text_transformer import text_transformer


@pytest.mark.parametrize("composite", ["attn_lrp", "cp_lrp"])
def test_the_strongest_word_is_one_that_decides(composite: str) -> None:
    reviews = [review(i) for i in range(64)]
    ids = token_batch([one.text for one in reviews])
    found = LRP(text_transformer(), composite=composite, embeddings="words").explain(ids)
    strongest = found.attributions.sum(2).abs().argmax(1).tolist()
    deciding = [{place for o in one.opinions for place in (o.word, o.negation)} for one in reviews]
    hits = sum(word in words for word, words in zip(strongest, deciding, strict=True))
    assert hits >= 61  # 20 % by chance
    assert ("encoder.blocks.0.attention softmax" in found.operations) == (composite == "attn_lrp")


def test_what_speaks_for_and_against_has_its_sign() -> None:
    several = [one for one in map(review, range(100)) if len(one.opinions) == 3]
    one = next(one for one in several if all(opinion.negation is None for opinion in one.opinions))
    found = LRP(text_transformer(), composite="attn_lrp", embeddings="words").explain(token_batch([one.text]), 1)
    words = found.attributions[0].sum(1)
    assert [bool(words[o.word] > 0) for o in one.opinions] == [o.positive for o in one.opinions]
