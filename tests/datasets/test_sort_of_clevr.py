from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from xai_fast.datasets import sort_of_clevr
from xai_fast.datasets.sort_of_clevr import ANSWERS, COLORS, KINDS, Question, Scene, SceneObject, scene, scenes
from xai_fast.errors import InputError

FIRST_TEST_SCENE = [
    ("circle", (19, 8)),
    ("square", (31, 37)),
    ("square", (12, 41)),
    ("circle", (52, 68)),
    ("square", (63, 48)),
    ("circle", (33, 49)),
]


def literal_answer(of: Scene, color: str, kind: str, subtype: int) -> tuple[str, set[str]]:
    """Answer and deciding colours by the words of the question, from the scene's list of objects alone."""
    by_color = {thing.color: thing for thing in of.objects}
    named = by_color[color]
    if kind == "non-relational":
        position = {1: named.center[0], 2: named.center[1]}
        answer = named.shape if subtype == 0 else ("yes" if position[subtype] <= 37 else "no")
        return answer, {color}
    others = [by_color[other] for other in COLORS if other != color]
    if subtype == 2:
        same = {thing.color for thing in others if thing.shape == named.shape}
        return str(len(same) + 1), same
    distances = [float(np.hypot(*np.subtract(thing.center, named.center))) for thing in others]
    chosen = others[int(np.argmin(distances) if subtype == 0 else np.argmax(distances))]
    return chosen.shape, {chosen.color}


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_and_annotations_are_those_of_the_words(split: str) -> None:
    batch = scenes(60, split=split, seed=3)
    for of in batch:
        asked = itertools.product(KINDS, COLORS, range(3))
        for question, (kind, color, subtype) in zip(sort_of_clevr.all_questions(of), asked, strict=True):
            answer, deciding = literal_answer(of, color, kind, subtype)
            assert question.answer_text == answer
            assert {of.objects[index].color for index in question.relevant_objects} == deciding
            assert of.objects[question.object_of_interest].color == color
            assert color in question.text


def test_of_equally_far_objects_the_first_colour_is_taken() -> None:
    centers = [(37, 37), (37, 57), (57, 37), (10, 10), (64, 64), (37, 17)]
    shapes = ["square", "circle", "square", "circle", "square", "square"]
    parts = zip(COLORS, shapes, centers, strict=True)
    of = Scene(0, "test", 0, tuple(SceneObject(color, shape, center) for color, shape, center in parts))
    closest, furthest = (sort_of_clevr.ask(of, 0, "relational", subtype) for subtype in (0, 1))
    assert closest == Question("relational", 0, 0, (1,), ANSWERS.index("circle"))
    assert furthest == Question("relational", 1, 0, (3,), ANSWERS.index("circle"))


def test_a_scene_depends_on_seed_split_and_index_only() -> None:
    alone = scene(7, split="test", seed=5)
    assert scenes(3, start=6, split="test", seed=5)[1] == alone
    different = [scene(7, split="train", seed=5), scene(7, split="test", seed=6), scene(8, split="test", seed=5)]
    assert all(other.objects != alone.objects for other in different)
    drawn = [sort_of_clevr.sample_questions(of, "relational", count) for of in (alone, alone) for count in (4, 10)]
    assert drawn[0] == drawn[2] == drawn[1][:4]
    assert drawn[1] == drawn[3]
    assert drawn[1] != sort_of_clevr.sample_questions(different[2], "relational")


def test_the_stream_of_scenes_does_not_change() -> None:
    # Stored weights and figures speak of these scenes.
    assert [(thing.shape, thing.center) for thing in scene(0, split="test").objects] == FIRST_TEST_SCENE


def test_objects_are_where_their_boxes_say_and_do_not_overlap() -> None:
    for of in scenes(40):
        pixels = np.asarray(of.image)
        assert pixels.shape == (75, 75, 3)
        covered = np.zeros((75, 75), int)
        for thing in of.objects:
            left, top, right, bottom = thing.box
            assert min(thing.box) >= 0
            assert max(thing.box) <= 75
            colored = (pixels == COLORS[thing.color]).all(-1)
            rows, columns = np.nonzero(colored)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == thing.box
            assert colored[top:bottom, left:right].all() == (thing.shape == "square")
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1
        assert (pixels[covered == 0] == 255).all()


def test_question_vectors_are_three_ones_and_all_different() -> None:
    vectors = torch.stack([question.vector for question in sort_of_clevr.all_questions(scene(0))])
    assert vectors.shape == (36, 11)
    assert (vectors.sum(1) == 3).all()
    assert [vectors[:, part].sum(1).unique().tolist() for part in (slice(0, 6), slice(6, 8), slice(8, 11))] == [[1]] * 3
    assert len(vectors.unique(dim=0)) == 36


def test_batches_are_what_the_network_reads() -> None:
    batch = scenes(3)
    images = sort_of_clevr.image_batch(batch)
    assert images.dtype == torch.float32
    assert images.is_contiguous()
    for image, of in zip(images, batch, strict=True):
        assert torch.equal((image * 255).round().byte().permute(1, 2, 0), torch.from_numpy(np.array(of.image)))
    asked = sort_of_clevr.all_questions(batch[0])
    vectors, answers = sort_of_clevr.question_batch(asked)
    assert torch.equal(vectors[5], asked[5].vector)
    assert answers.tolist() == [question.answer for question in asked]


def test_a_large_drawing_is_the_same_scene() -> None:
    of = scene(2)
    assert of.draw(8).size == (600, 600)
    small = np.asarray(of.draw(8).resize((75, 75), Image.Resampling.BOX), dtype=float)
    # Rims of circles differ by the finer drawing only.
    assert np.abs(small - np.asarray(of.image, dtype=float)).mean() < 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"index": -1}, "index"),
        ({"index": 0, "split": "valid"}, "split"),
        ({"index": 0, "seed": 2**64}, "seed"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        scene(**arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((6, "relational", 0), "color"), ((0, "other", 0), "kind"), ((0, "relational", 3), "subtype")],
)
def test_wrong_questions_are_named(arguments: tuple, named: str) -> None:
    with pytest.raises(InputError, match=named):
        sort_of_clevr.ask(scene(0), *arguments)
