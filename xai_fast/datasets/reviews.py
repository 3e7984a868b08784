"""Short reviews drawn by a grammar: it is known which words decide whether a review is positive.

A review has one or three opinions, such as "the old camera was not very good", and up to two remarks without any,
joined by "and", "but" or a comma. An opinion is the polarity of its word of praise or blame, which a negation turns
round; most opinions decide. All other words, also "but", are drawn at random and say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.datasets.random_numbers import RandomNumbers
from xai_fast.errors import bad_argument

__all__ = ["ANSWERS", "LONGEST", "VOCABULARY", "Opinion", "Review", "review", "token_batch", "tokenize"]

ANSWERS = ("negative", "positive")
"""The classes; the label of a review is an index into them."""

LONGEST = 36
"""Words of the longest review."""

_PRAISE = ("good", "great", "excellent", "lovely", "superb", "brilliant", "wonderful", "pleasant")
_BLAME = ("bad", "awful", "terrible", "poor", "dreadful", "horrible", "useless", "boring")
_NEGATIONS = ("not", "never", "hardly")
_ADVERBS = ("very", "really", "quite", "so")
_KINDS = ("old", "new", "small", "big", "first", "second", "red", "other")
_THINGS = ("film", "music", "book", "camera", "screen", "hotel", "room", "food", "staff", "service", "garden", "price")
_VERBS = ("is", "was", "seemed", "felt")
_JOINTS = ("and", "but", ",")
_REMARKS = ("we came on monday", "it arrived in june", "i paid by card", "my sister was there", "this is my second one")

VOCABULARY = ("", *dict.fromkeys((
    *_PRAISE, *_BLAME, *_NEGATIONS, *_ADVERBS, *_KINDS, "the", *_THINGS, *_VERBS, *_JOINTS, *" ".join(_REMARKS).split()
)))  # fmt: skip
"""The words; a token id is an index into them, and 0 is padding."""

_IDS = {word: number for number, word in enumerate(VOCABULARY)}


@dataclass(frozen=True)
class Opinion:
    """Where in a review a word of praise or blame is and its negation, if it has one, and what they say together."""

    word: int
    negation: int | None
    positive: bool


@dataclass(frozen=True)
class Review:
    """A review: its words, and the opinions among them. The words of opinions are all that decides."""

    words: tuple[str, ...]
    opinions: tuple[Opinion, ...]

    @property
    def text(self) -> str:
        """The review as one line."""
        return " ".join(self.words)

    @property
    def label(self) -> int:
        """What most opinions say, an index into `ANSWERS`."""
        return int(2 * sum(opinion.positive for opinion in self.opinions) > len(self.opinions))


def review(index: int, *, split: str = "test", seed: int = 0) -> Review:
    """Write a review, the same at each call; an `InputError` names an argument that is out of range."""
    numbers = RandomNumbers.of_item(index, split, seed)

    def pick(choices: Sequence[str]) -> str:
        return choices[numbers.below(len(choices))]

    clauses = ["opinion"] * (1 + 2 * numbers.below(2))
    for _ in range(numbers.below(3)):
        clauses.insert(numbers.below(len(clauses) + 1), "remark")
    words: list[str] = []
    opinions: list[Opinion] = []
    for clause in clauses:
        words += [pick(_JOINTS)] if words else []
        if clause == "remark":
            words += pick(_REMARKS).split()
            continue
        words += ["the", *([pick(_KINDS)] if numbers.below(2) else []), pick(_THINGS), pick(_VERBS)]
        negation = len(words) if numbers.below(3) == 0 else None
        words += [] if negation is None else [pick(_NEGATIONS)]
        words += [pick(_ADVERBS)] if numbers.below(2) else []
        praise = numbers.below(2) == 1
        opinions.append(Opinion(len(words), negation, praise == (negation is None)))
        words.append(pick(_PRAISE if praise else _BLAME))
    return Review(tuple(words), tuple(opinions))


def tokenize(text: str) -> list[int]:
    """Give the token ids of a text in words of `VOCABULARY`; an `InputError` names a word that is not one."""
    words = text.lower().replace(",", " , ").split()
    for word in words:
        if word not in _IDS:
            raise bad_argument("text", "words of xai_fast.datasets.reviews.VOCABULARY", repr(word))
    return [_IDS[word] for word in words]


def token_batch(texts: Sequence[str]) -> Tensor:
    """Give the token ids of texts, (B, n) int64, where n is the longest's number of words; shorter ones end with 0."""
    ids = [torch.tensor(tokenize(text), dtype=torch.int64) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
