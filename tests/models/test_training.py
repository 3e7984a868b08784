"""The training scripts: each runs, learns, resumes, and writes weights with a card."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from xai_fast.datasets import sort_of_clevr
from xai_fast.errors import InputError
from xai_fast.models import train, training_relation
from xai_fast.models.pretrained import load_weights, model_card
from xai_fast.models.relation_network import RelationNetwork
from xai_fast.models.training_relation import RelationTraining, accuracy_by_question, train_relation_network
from xai_fast.models.training_small import train_three_objects, train_yield_or_go

TINY = RelationTraining(epochs=1, batch=8, perception_steps=1)


@pytest.fixture
def tiny_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an epoch of 64 questions: six steps, of both kinds."""
    monkeypatch.setattr(training_relation, "EPOCH_QUESTIONS", 64)
    monkeypatch.setattr(training_relation, "accuracy_by_question", lambda *arguments, **options: {"relational": 0.5})


@pytest.mark.usefixtures("tiny_epochs")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_is_a_function_of_its_settings(precision: str) -> None:
    settings = dataclasses.replace(TINY, precision=precision, epochs=2)
    lines: list[str] = []
    counted: list[int] = []
    one, card = train_relation_network(settings, report=lines.append, advance=counted.append)
    torch.rand(3)  # the global random state says nothing
    other, _ = train_relation_network(settings, report=lines.append)
    assert not one.training
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert sum(counted) >= 128
    assert card["settings"] == dataclasses.asdict(settings)
    assert len(lines) == 4
    assert "rel. 50.0%" in lines[0]


@pytest.mark.usefixtures("tiny_epochs")
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(TINY, epochs=2)
    whole, _ = train_relation_network(settings, report=lambda line: None)

    class Interruption(Exception):
        pass

    checkpoint = tmp_path / "checkpoint.pt"
    saved = training_relation._save

    def save_then_interrupt(path: Path | None, *arguments: object) -> None:
        saved(path, *arguments)
        raise Interruption

    monkeypatch.setattr(training_relation, "_save", save_then_interrupt)
    with pytest.raises(Interruption):
        train_relation_network(settings, checkpoint=checkpoint, report=lambda line: None)
    monkeypatch.setattr(training_relation, "_save", saved)
    assert checkpoint.is_file()
    resumed, _ = train_relation_network(settings, checkpoint=checkpoint, report=lambda line: None)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    with pytest.raises(InputError, match="checkpoint"):
        train_relation_network(dataclasses.replace(settings, seed=1), checkpoint=checkpoint)


@pytest.mark.usefixtures("tiny_epochs")
def test_minutes_end_a_training() -> None:
    _, card = train_relation_network(dataclasses.replace(TINY, epochs=10_000, minutes=1e-9), report=lambda line: None)
    assert card["minutes"] < 1
    assert card["epochs of 98,000 questions"] == 0


def test_folding_the_reader_leaves_g_a_function_of_the_state() -> None:
    """After perception, the first layer of g reads the states of objects through the convolutions."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = training_relation._new_network()
        model = training_relation._new_network()
    model.load_state_dict(before.state_dict())
    state = training_relation._State()
    training_relation._learn_to_see(model, dataclasses.replace(TINY, perception_steps=40), state)
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
    [
        ({"epochs": 0}, "epochs"),
        ({"minutes": 0.0}, "minutes"),
        ({"precision": "fp16"}, "precision"),
        ({"object_cells_until": 1.5}, "object_cells_until"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_wrong_settings_are_named(options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        RelationTraining(**options)


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
