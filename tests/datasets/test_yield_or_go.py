from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from xai_fast.datasets.yield_or_go import ANSWERS, IMAGE_SIZE, RoadScene, image_batch, road_scene
from xai_fast.errors import InputError
from xai_fast.models.pretrained import model_card
from xai_fast.models.yield_or_go import yield_or_go

SIGN_RED = (205, 20, 30)


def crop(scene: RoadScene, box: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = box
    return np.asarray(scene.image)[top:bottom, left:right]


def test_the_answer_is_read_off_the_picture() -> None:
    cases = []
    for index in range(120):
        scene = road_scene(index, split="test")
        has_sign = bool((np.asarray(scene.image) == SIGN_RED).all(-1).any())
        # Wheels are the only pixels of this colour, and only cars have them.
        has_car = bool((np.asarray(scene.image) == (20, 20, 20)).all(-1).any())
        assert ANSWERS[scene.answer] == ("stop" if has_sign and has_car else "go")
        assert has_sign == (scene.sign is not None)
        assert has_car == bool(scene.cars)
        cases.append((has_sign, has_car))
    counts = {case: cases.count(case) for case in itertools.product((False, True), repeat=2)}
    assert 45 <= counts[True, True] <= 75  # a half
    assert all(10 <= counts[case] <= 32 for case in counts if case != (True, True))  # a sixth


def test_boxes_hold_what_they_are_of() -> None:
    for index in range(60):
        scene = road_scene(index)
        pixels = np.asarray(scene.image)
        assert pixels.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
        if scene.sign is not None:
            rows, columns = np.nonzero((pixels == SIGN_RED).all(-1))
            left, top, right, bottom = scene.sign
            assert (columns.min(), rows.min(), columns.max() + 1) == (left, top, right)
            assert bottom - 3 <= rows.max() + 1 <= bottom  # the tip of the triangle
        for box, color in zip(scene.cars, scene.car_colors, strict=True):
            assert 0 <= box[0] < box[2] <= IMAGE_SIZE
            assert (crop(scene, box) == color).all(-1).mean() > 0.2
        assert len(scene.cars) < 2 or scene.cars[0][2] <= scene.cars[1][0]


def test_a_scene_depends_on_seed_split_and_index_only() -> None:
    assert road_scene(5, split="test", seed=2) == road_scene(5, split="test", seed=2)
    others = [
        road_scene(5, split="train", seed=2),
        road_scene(5, split="test", seed=3),
        road_scene(6, split="test", seed=2),
    ]
    assert all(other != road_scene(5, split="test", seed=2) for other in others)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"index": -1}, "index"), ({"index": 0, "split": "x"}, "split"), ({"index": 0, "seed": -1}, "seed")],
)
def test_wrong_arguments_are_named(arguments: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        road_scene(**arguments)


def test_the_stored_network_is_as_accurate_as_its_card_says() -> None:
    model = yield_or_go()
    assert not model.training
    assert model_card("yield-or-go")["accuracy"]["all"] >= 0.98
    scenes = [road_scene(index, split="test", seed=1) for index in range(200)]
    images = image_batch(scenes)
    assert images.shape == (200, 3, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        features = model.features(images)
        logits = model.decide(features)
    assert features.shape == (200, 16, 7, 7)
    right = (logits.argmax(1) == torch.tensor([scene.answer for scene in scenes])).float().mean()
    assert right >= 0.96


def test_it_is_smooth_behind_the_map() -> None:
    model = yield_or_go(pretrained=False).double()
    features = torch.randn(1, 16, 7, 7, dtype=torch.float64)
    direction = torch.randn_like(features)

    def slope(t: torch.Tensor) -> torch.Tensor:
        return torch.func.jvp(lambda at: model.decide(features + at * direction)[0, 1], (t,), (torch.ones_like(t),))[1]

    curvature = torch.func.jvp(slope, (torch.zeros((), dtype=torch.float64),), (torch.ones((), dtype=torch.float64),))[
        1
    ]
    assert curvature.abs() > 1e-8
