"""The training scripts: each runs, learns, and writes weights with a card."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.training import __main__ as train
from benchmarks.training import relation as training_relation
from benchmarks.training.relation import accuracy_by_question, train_relation_network
from benchmarks.training.small import train_three_objects, train_yield_or_go
from xai_fast.datasets import sort_of_clevr
from xai_fast.errors import InputError
from xai_fast.models.pretrained import load_weights, model_card
from xai_fast.models.relation_network import RelationNetwork


def test_a_training_is_a_function_of_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_relation, "accuracy_by_question", lambda model: {"relational": 0.5})
    counted: list[int] = []
    one, card = train_relation_network(steps=3, perception_steps=1, advance=counted.append)
    before = torch.get_rng_state()
    other, _ = train_relation_network(steps=3, perception_steps=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not one.training
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    third, _ = train_relation_network(steps=3, perception_steps=1, seed=1)
    assert not torch.equal(one.relation.first_bias, third.relation.first_bias)
    assert counted == [1, 1, 1]
    assert card["steps of 64 questions"] == 3
    assert card["accuracy"] == {"relational": 0.5}


def test_folding_the_reader_leaves_g_a_function_of_the_state() -> None:
    """After perception, the first layer of g reads the states of objects through the convolutions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = training_relation._new_network()
        model = training_relation._new_network()
    model.load_state_dict(before.state_dict())
    training_relation._learn_to_see(model, 40, seed=0)
    model.eval()
    scenes = sort_of_clevr.scenes(20, split="test")
    with torch.no_grad():
        states = training_relation._states(scenes)
        read = model.relation.first_object(model.objects(sort_of_clevr.image_batch(scenes)))
        # From states as from pixels, up to the constant that is in the bias and to what perception got wrong.
        wanted = before.relation.first_object(torch.cat([states, model.tag.coordinates.expand(20, -1, -1)], dim=2))
        difference = (read - read.mean((0, 1))) - (wanted - wanted.mean((0, 1)))
    assert difference.square().mean() < 0.9 * (wanted - wanted.mean((0, 1))).square().mean()


def test_states_describe_every_object_at_its_nearest_position() -> None:
    for scene, states in zip(
        sort_of_clevr.scenes(10), training_relation._states(sort_of_clevr.scenes(10)), strict=True
    ):
        described = states.reshape(25, 6, 4)
        assert described[..., 0].sum(0).tolist() == [1] * 6
        for color, thing in enumerate(scene.objects):
            cell = int(described[:, color, 0].argmax())
            _, circle, right, down = described[cell, color].tolist()
            assert thing.shape == ("circle" if circle > 0 else "square")
            assert (16 * (cell % 5) + 8 * right, 16 * (cell // 5) + 8 * down) == thing.center


def test_positions_with_objects_are_always_paired() -> None:
    scenes = sort_of_clevr.scenes(50)
    for seed in range(4):
        cells = training_relation._cells_with_objects(scenes, torch.Generator().manual_seed(seed))
        assert 7 <= cells.shape[1] <= 8
        for chosen, nearest in zip(cells.tolist(), training_relation._nearest_cells(scenes)[0].tolist(), strict=True):
            assert set(nearest) <= set(chosen)
            assert len(set(chosen)) == len(chosen)


def test_accuracy_is_counted_by_question() -> None:
    model = RelationNetwork()
    with torch.no_grad():
        for parameter in model.readout[-1].parameters():
            parameter.zero_()
        model.readout[-1].bias[sort_of_clevr.ANSWERS.index("circle")] = 1
    accuracy = accuracy_by_question(model, 12)
    assert model.training
    questions = [
        q
        for scene in sort_of_clevr.scenes(12, split="test")
        for q in sort_of_clevr.sample_questions(scene, "relational")
    ]
    right = [q.answer_text == "circle" for q in questions]
    assert accuracy["relational"] == pytest.approx(sum(right) / len(right))
    assert accuracy["relational 2"] == accuracy["non-relational 1"] == 0
    assert {f"{kind} {subtype}" for kind in sort_of_clevr.KINDS for subtype in range(3)} < set(accuracy)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"steps": 0}, "steps"), ({"steps": 1, "seed": -1}, "seed"), ({"steps": 1, "perception_steps": 0}, "steps")],
)
def test_wrong_arguments_are_named(options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        train_relation_network(**{"perception_steps": 1, **options})


def test_small_trainings_learn_and_do_not_touch_the_random_state() -> None:
    before = torch.get_rng_state()
    model, card = train_three_objects(steps=150)
    again, _ = train_three_objects(steps=150)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    _, untrained = train_three_objects(steps=1)
    assert card["root mean square error"] < untrained["root mean square error"] - 0.003
    counted: list[int] = []
    train_yield_or_go(steps=2, advance=counted.append, test_pictures=20)
    assert counted == [1, 1]


def test_the_command_writes_weights_and_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["three-objects", "--steps", "3", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "three-objects.safetensors")
    assert model_card("three-objects", tmp_path)["steps of 256 boards"] == 3
    model, _ = train_three_objects(steps=3)
    loaded = type(model)()
    load_weights(loaded, "three-objects", tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert train.main(["three-objects", "--steps", "0"]) == 2
    assert "steps" in capsys.readouterr().err
