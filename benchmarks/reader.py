"""Can a reader tell the question from the pairs? ``python -m benchmarks.reader`` (in the place of people).

Taylor-CAM's Tables 4 and 5 are of people who were shown the strongest pairs, and guessed the question and the object
that it names. They cannot be repeated. Here are a page with 15 samples and their four strongest pairs, on which a
reader can test himself, and a simulated reader: two random forests that see, of each object, how strongly pairs join it
to the closest and the furthest object and to those of its shape, and nothing of the network. What they guess says how
much the pairs hold, not what people would see.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import itertools
import json
import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.environment import describe
from benchmarks.interactions import GRID, Asked, answered_right, batches_of, meets, published_box
from benchmarks.interactions_table import READER, reader_table
from xai_fast import RemovalInteractions, TaylorCAM
from xai_fast.datasets import sort_of_clevr as clevr
from xai_fast.models.relation_network import relation_network

_CELLS = math.prod(GRID)
_BOXES = [published_box(divmod(cell, GRID[1])) for cell in range(_CELLS)]
_PAIRS, _SAMPLES = 4, 15
_PAGE = Path(__file__).with_name("reader.html")

Pairs = list[tuple[int, int, float]]
"""Cells, and a strength of which the largest is 1; the strongest first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the simulated reader, write the pages, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reader", description=__doc__.split("\n\n")[0])
    parser.add_argument("--learn", type=int, default=300, help="images a question that the reader learns from (300)")
    parser.add_argument("--read", type=int, default=100, help="images a question that it reads (100)")
    parser.add_argument(
        "--pages", type=Path, default=Path("out"), help="folder for the pages of what is measured (out)"
    )
    parser.add_argument("--out", type=Path, default=READER, help="the JSON file")
    options = parser.parse_args(arguments)
    network = relation_network().requires_grad_(False)
    # No scene is in two of the six lists, so that none is known from another question.
    starts = iter(range(0, 12_000, 2000))
    learned, read = (
        [one for subtype in range(3) for one in answered_right(network.double(), subtype, count, next(starts))]
        for count in (options.learn, options.read)
    )
    shown = random.Random(0).sample(range(len(read)), min(_SAMPLES, len(read)))
    options.pages.mkdir(parents=True, exist_ok=True)
    kept = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    results = {"learned": len(learned), "read": len(read), "rows": {}}
    if {**kept, "rows": {}} == results:
        results = kept
    for name, method in _METHODS.items():
        if name in results["rows"]:
            continue
        pairs = method([*learned, *read])
        first, second = pairs[: len(learned)], pairs[len(learned) :]
        results["rows"][name] = _guesses(learned, first, read, second) | {"environment": describe()}
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        page = options.pages / f"reader-{name.split(',')[0].lower().replace(' ', '-')}.html"
        page.write_text(_page(name, [(read[i], second[i]) for i in shown]), encoding="utf-8")
    print(reader_table(results))
    return 0


def _strongest(strengths: Tensor) -> list[Pairs]:
    """Give the pairs of each item from strengths (B, n, n), in either or both triangles."""
    found = []
    for one in (strengths.triu(1) + strengths.tril(-1).mT).flatten(1):
        values, places = one.topk(_PAIRS)
        most = float(values[0]) or 1.0
        found.append(
            [(int(p) // _CELLS, int(p) % _CELLS, float(v) / most) for v, p in zip(values, places, strict=True)]
        )
    return found


def _by_taylor_cam(asked: Sequence[Asked]) -> list[Pairs]:
    method = TaylorCAM(relation_network().double(), "tag", grid=GRID)
    found: list[Pairs] = []
    for images, questions, answers in batches_of(asked):
        one = method.explain(images, target=answers, additional_forward_args=questions)
        found += _strongest(one.saliency)
    return found


def _by_removal(asked: Sequence[Asked]) -> list[Pairs]:
    method = RemovalInteractions(relation_network(), "convolutions", shortlist=8)
    found: list[Pairs] = []
    for images, questions, answers in batches_of(asked):
        one = method.explain(images.float(), target=answers, additional_forward_args=questions.float())
        found += _strongest(one.saliency)
    return found


def _at_random(asked: Sequence[Asked]) -> list[Pairs]:
    numbers, every = random.Random(0), list(itertools.combinations(range(_CELLS), 2))
    return [[(*pair, 1.0 - i / _PAIRS) for i, pair in enumerate(numbers.sample(every, _PAIRS))] for _ in asked]


_METHODS: Mapping[str, Callable[[Sequence[Asked]], list[Pairs]]] = {
    "random pairs": _at_random,
    "Taylor-CAM, local": _by_taylor_cam,
    "removal, log-odds": _by_removal,
}


def _seen(scene: clevr.Scene, pairs: Pairs) -> NDArray[np.float64]:
    """Give what the reader sees of each object, (6, 6).

    Strengths of the pairs that meet it, of those that join it to its closest and to its furthest object, and to
    objects of its shape and of the other; and the number of pairs that meet it.
    """
    objects = scene.objects
    away = np.array([[math.dist(a.center, b.center) for b in objects] for a in objects])
    alike = np.array([[a.shape == b.shape for b in objects] for a in objects])
    closest, furthest = (away + np.diag([np.inf] * len(objects))).argmin(1), away.argmax(1)
    seen = np.zeros((len(objects), 6))
    for first, second, strength in pairs:
        met = [[meets(_BOXES[cell], thing.box) for thing in objects] for cell in (first, second)]
        joined = np.outer(*met) | np.outer(*reversed(met))
        np.fill_diagonal(joined, False)
        touched = np.logical_or(*met)
        seen[:, 0] += strength * touched
        for i, (near, far) in enumerate(zip(closest, furthest, strict=True)):
            seen[i, 1:5] += strength * np.array(
                [joined[i, near], joined[i, far], (joined & alike)[i].any(), (joined & ~alike)[i].any()]
            )
        seen[:, 5] += touched
    return seen


def _guesses(
    learned: Sequence[Asked], learned_pairs: Sequence[Pairs], read: Sequence[Asked], read_pairs: Sequence[Pairs]
) -> dict[str, object]:
    """Let forests learn the question, and for each object whether it is the one that is named; give what is right."""
    from sklearn.ensemble import RandomForestClassifier

    first, second = (
        np.stack([_seen(scene, pairs) for (scene, _), pairs in zip(asked, found, strict=True)])
        for asked, found in ((learned, learned_pairs), (read, read_pairs))
    )
    options = {"n_estimators": 200, "min_samples_leaf": 5, "random_state": 0}
    question, named = RandomForestClassifier(**options), RandomForestClassifier(**options)
    question.fit(_of_the_scene(first), [asked.subtype for _, asked in learned])
    truth = np.array([[asked.object_of_interest == i for i in range(first.shape[1])] for _, asked in learned])
    named.fit(_of_the_object(first), truth.ravel())
    objects = named.predict_proba(_of_the_object(second))[:, 1].reshape(second.shape[:2]).argmax(1)
    return {
        "question": _rate(question.predict(_of_the_scene(second)) == [asked.subtype for _, asked in read]),
        "object": _rate(objects == [asked.object_of_interest for _, asked in read]),
    }


def _of_the_scene(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give what does not depend on which object is which: each number in falling order over the objects."""
    return -np.sort(-seen, 1).reshape(len(seen), -1)


def _of_the_object(seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each object a row: what is seen of it, and of the scene."""
    scene = np.repeat(_of_the_scene(seen), seen.shape[1], 0)
    return np.hstack([seen.reshape(-1, seen.shape[2]), scene])


def _rate(right: NDArray[np.bool_]) -> dict[str, float]:
    values = [float(one) for one in right]
    return {"rate": fmean(values), "standard_error": stdev(values) / math.sqrt(len(values))}


def _page(name: str, samples: Sequence[tuple[Asked, Pairs]]) -> str:
    """Write the page on which a reader tests himself."""
    cards = "".join(_card(number, asked, pairs) for number, (asked, pairs) in enumerate(samples, 1))
    return _PAGE.read_text(encoding="utf-8").replace("{method}", html.escape(name)).replace("{cards}", cards)


def _card(number: int, asked: Asked, pairs: Pairs) -> str:
    scene, question = asked
    stream = io.BytesIO()
    scene.draw(4).save(stream, "PNG")
    picture = base64.b64encode(stream.getvalue()).decode()
    marks = "".join(_mark(i, pair) for i, pair in reversed(list(enumerate(pairs, 1))))
    questions = ("closest", "furthest", "count")
    choices = (("question", questions, question.subtype), ("object", tuple(clevr.COLORS), question.object_of_interest))
    selects = "".join(
        f'<label>{kind} <select data-right="{right}"><option value="">?</option>'
        + "".join(f'<option value="{i}">{word}</option>' for i, word in enumerate(words))
        + "</select></label>"
        for kind, words, right in choices
    )
    return (
        f'<article><h2>{number}</h2><svg viewBox="0 0 {clevr.IMAGE_SIZE} {clevr.IMAGE_SIZE}" role="img" '
        f'aria-label="scene {number} with its pairs"><image width="100%" height="100%" '
        f'href="data:image/png;base64,{picture}"/>{marks}</svg>{selects}<p class="answer" hidden>'
        f"{html.escape(question.text)} {html.escape(question.answer_text)}</p></article>"
    )


def _mark(number: int, pair: tuple[int, int, float]) -> str:
    """Draw a pair: two boxes, the line between them, and its number at one end."""
    boxes = [_BOXES[cell] for cell in pair[:2]]
    (a, b), (c, d) = (((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in boxes)
    around = "".join(
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}"/>'
        for left, top, right, bottom in boxes
    )
    width = 0.4 + 1.2 * max(0.0, pair[2])
    line = f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}" stroke-width="{width:.2f}"/>'
    at = (a + c) / 2, (b + d) / 2
    label = f'<circle cx="{at[0]}" cy="{at[1]}" r="3"/><text x="{at[0]}" y="{at[1] + 1.4}">{number}</text>'
    return f'<g class="pair p{number}">{around}{line}{label}</g>'


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
