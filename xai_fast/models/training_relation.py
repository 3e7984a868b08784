"""Training the relation network of Sort-of-CLEVR on one or two cores.

The cost is g on all pairs of the 25 positions: 0.74 GFLOP a question, forward and backward. These make it bearable,
and none of them changes the network:

- The convolutions first learn alone to tell, linearly from the 24 numbers of a position, which objects have their
  centre nearest to it, of what shape and where: the state descriptions of Santoro et al., Section 5.2, a position. That
  reading is folded into the first layer of g, which thus starts with seen objects.
- Then g and f learn from the positions that have an object and one or two others, an eighth of the pairs; now and then
  from all, so that what g adds up over the background stays small. At last everything learns together on all pairs.
- The sum over pairs makes the first layer of f as many times more sensitive; its weights start and learn at a scale
  that makes up for it. Layers are drawn as in He et al. 2015, since g is deep and its inputs are sparse.
- Questions are drawn the more often the more often they are still answered wrong.
- Images cost next to nothing to draw, so none is seen twice, and nothing has to be done against overfitting (no
  dropout). An "epoch" is 98,000 questions, ten for each of the 9,800 images of the published training set.
- g may run in bfloat16 (`precision="bf16"`); the convolutions, f and the weights that the optimiser sees stay float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.datasets import sort_of_clevr
from xai_fast.errors import bad_argument
from xai_fast.models.relation_network import RelationNetwork

__all__ = ["EPOCH_QUESTIONS", "RelationTraining", "accuracy_by_question", "train_relation_network"]

EPOCH_QUESTIONS = 10 * sort_of_clevr.SPLIT_SIZES["train"]
"""Questions of an epoch."""

_CELL_PIXELS, _CELLS = 16, 5
_ALL_CELLS_EVERY = 16  # steps
_PAIR_SCALE = 1 / 32  # about as many pairs of objects as an image has
_VALIDATION_START = 2**40  # far beyond any scene that is trained on


@dataclass(frozen=True)
class RelationTraining:
    """How to train.

    Attributes:
        epochs: of 98,000 questions.
        minutes: the training ends after this much time if that comes first, its schedule squeezed into it; None for
            no limit. Only without a limit do the weights depend on nothing but settings and the machine's arithmetic.
        seed: of the weights, the data and the order.
        learning_rate: of AdamW at its highest, after a warm-up over 2 % of the training; then a cosine down to zero.
        weight_decay: of AdamW.
        object_cells_until: part of the training, 0 to 1, in which only the positions with objects are paired, and the
            convolutions rest.
        perception_steps: of 64 images, in which the convolutions learn alone.
        batch: questions per step while all positions are paired; while few are, twice as many.
        precision: of g, "fp32" or "bf16".

    Raises:
        InputError: a field is out of range.
    """

    epochs: int = 20
    minutes: float | None = None
    seed: int = 0
    learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    object_cells_until: float = 0.8
    perception_steps: int = 1200
    batch: int = 32
    precision: str = "fp32"

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs, 1)
        check_integer("seed", self.seed, 0, 2**63 - 1)
        check_integer("perception_steps", self.perception_steps, 0)
        check_integer("batch", self.batch, 4)
        check_positive("learning_rate", self.learning_rate)
        check_choice("precision", self.precision, ("fp32", "bf16"))
        if self.minutes is not None:
            check_positive("minutes", self.minutes)
        if not 0 <= self.object_cells_until <= 1:
            raise bad_argument("object_cells_until", "from 0 to 1", self.object_cells_until)


@dataclass
class _State:
    """Where a training is; what a checkpoint holds beside the network and the optimiser."""

    step: int = 0
    images: int = 0
    questions: int = 0
    seconds: float = 0.0
    perception_loss: float = 0.0
    errors: list[float] = field(default_factory=lambda: [0.5] * 6)  # by kind, then subtype; recent averages
    history: list[dict[str, Any]] = field(default_factory=list)


def train_relation_network(
    settings: RelationTraining,
    *,
    checkpoint: Path | None = None,
    report: Callable[[str], None] = print,
    advance: Callable[[int], None] = lambda questions: None,
) -> tuple[RelationNetwork, dict[str, Any]]:
    """Train the network, or go on where the checkpoint ends.

    Args:
        settings: how.
        checkpoint: a file, written after each epoch and read at the start if it is there.
        report: is given a line after each epoch.
        advance: is given the number of questions after each step, for a progress bar.

    Returns:
        The network in evaluation mode, and its card: settings, seed, epochs, accuracy per question on the test images.

    Raises:
        InputError: the checkpoint is of a training with other settings.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _new_network()
    optimizer = _optimizer(model, settings)
    state = _resume(checkpoint, settings, model, optimizer)
    advance(state.questions)
    before, started = state.seconds, time.perf_counter()
    if state.step == 0:
        _learn_to_see(model, settings, state)
        state.seconds = time.perf_counter() - started
    # Normalisation keeps the statistics with which the convolutions learned to see; there is no dropout.
    model.eval()
    correct = asked = 0
    while (progress := _progress(settings, state)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * group["scale"] * _schedule(progress)
        hits, questions = _step(model, optimizer, settings, state, progress)
        correct, asked = correct + hits, asked + questions
        state.step, state.questions = state.step + 1, state.questions + questions
        state.seconds = before + time.perf_counter() - started
        advance(questions)
        if state.questions // EPOCH_QUESTIONS > len(state.history):
            accuracy = accuracy_by_question(model, 50, split="train", start=_VALIDATION_START)
            state.history.append({"training": correct / asked, **accuracy})
            report(_epoch_line(settings, state))
            correct = asked = 0
            _save(checkpoint, settings, model, optimizer, state)
    model.eval()
    _save(checkpoint, settings, model, optimizer, state)
    return model, _card(settings, state, model)


def accuracy_by_question(
    model: RelationNetwork, images: int = 200, *, split: str = "test", start: int = 0, seed: int = 0
) -> dict[str, float]:
    """Measure the accuracy on ten questions of each kind about each image.

    Args:
        model: the network; it is left in the mode in which it was.
        images: how many.
        split: of the data.
        start: the first image.
        seed: of the data.

    Returns:
        From "relational", "relational 0" and so on (kind and subtype as in `sort_of_clevr`) to accuracy, 0 to 1.
    """
    was_training = model.training
    model.eval()
    right: dict[str, list[bool]] = {}
    with torch.no_grad():
        for scene in sort_of_clevr.scenes(images, start=start, split=split, seed=seed):
            asked = [
                question for kind in sort_of_clevr.KINDS for question in sort_of_clevr.sample_questions(scene, kind)
            ]
            vectors, answers = sort_of_clevr.question_batch(asked)
            objects = model.objects(sort_of_clevr.image_batch([scene])).expand(len(asked), -1, -1)
            hits = model.relate(objects, vectors).argmax(1) == answers
            for question, hit in zip(asked, hits.tolist(), strict=True):
                for name in (question.kind, f"{question.kind} {question.subtype}"):
                    right.setdefault(name, []).append(hit)
    model.train(was_training)
    return {name: sum(hits) / len(hits) for name, hits in sorted(right.items())}


def _new_network() -> RelationNetwork:
    """Draw a network; see the notes of the module."""
    model = RelationNetwork(dropout=0.0)
    relation, readout = model.relation, model.readout
    for layer in (*relation.rest, *readout):
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    for name in ("first_object", "second_object", "question"):
        nn.init.normal_(relation.get_parameter(f"{name}.weight"), std=0.4)  # half a dozen of the inputs are not zero
    nn.init.zeros_(relation.first_bias)
    nn.init.normal_(readout.get_parameter("5.weight"), std=0.02)
    with torch.no_grad():
        readout.get_parameter("0.weight").mul_(_PAIR_SCALE)
    return model


def _optimizer(model: RelationNetwork, settings: RelationTraining) -> torch.optim.Optimizer:
    after_sum = model.get_parameter("readout.0.weight")
    others = [parameter for parameter in model.parameters() if parameter is not after_sum]
    groups = [{"params": others, "scale": 1.0}, {"params": [after_sum], "scale": _PAIR_SCALE}]
    return torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)


def _learn_to_see(model: RelationNetwork, settings: RelationTraining, state: _State) -> None:
    """Train the convolutions with a linear reader of the objects' states, then fold the reader into g."""
    images, channels = 64, model.relation.first_object.in_features - 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed + 1)
        reader = nn.Linear(channels, 4 * len(sort_of_clevr.COLORS))
    highest = 3e-3
    optimizer = torch.optim.AdamW([*model.convolutions.parameters(), *reader.parameters()], highest)
    model.train()
    for step in range(settings.perception_steps):
        for group in optimizer.param_groups:
            group["lr"] = highest * _schedule(step / settings.perception_steps)
        scenes = sort_of_clevr.scenes(images, start=state.images, seed=settings.seed)
        state.images += images
        said = reader(model.convolutions(sort_of_clevr.image_batch(scenes)).flatten(2).transpose(1, 2))
        wanted = _states(scenes)
        # An object is at one position of 25; that position counts as much as the others together.
        weight = torch.where(wanted[..., ::4] > 0, 10.0, 1.0).repeat_interleave(4, dim=2)
        loss = (weight * (said - wanted).square()).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        state.perception_loss = loss.item()
    with torch.no_grad():
        for block in (model.relation.first_object, model.relation.second_object):
            of_state = block.weight[:, :channels].clone()
            block.weight[:, :channels] = of_state @ reader.weight
            model.relation.first_bias.add_(of_state @ reader.bias)


def _states(scenes: list[sort_of_clevr.Scene]) -> Tensor:
    """Describe the objects at each position, (B, 25, 24): a colour there, square or circle (-1, 1), two offsets."""
    cells, offsets = _nearest_cells(scenes)
    circle = torch.tensor([[1.0 if o.shape == "circle" else -1.0 for o in scene.objects] for scene in scenes])
    states = torch.zeros(len(scenes), _CELLS**2, len(sort_of_clevr.COLORS), 4)
    rows, colors = torch.arange(len(scenes))[:, None], torch.arange(len(sort_of_clevr.COLORS))
    states[rows, cells, colors] = torch.cat([torch.ones_like(circle)[..., None], circle[..., None], offsets], dim=-1)
    return states.flatten(2)


def _progress(settings: RelationTraining, state: _State) -> float:
    done = state.questions / (settings.epochs * EPOCH_QUESTIONS)
    return done if settings.minutes is None else max(done, state.seconds / (60 * settings.minutes))


def _schedule(progress: float) -> float:
    """Give the learning rate as part of the highest: a linear warm-up, then half a cosine down to zero."""
    warm = 0.02
    if progress < warm:
        return (progress + 1e-3) / (warm + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm) / (1 - warm)))


def _step(
    model: RelationNetwork, optimizer: torch.optim.Optimizer, settings: RelationTraining, state: _State, progress: float
) -> tuple[int, int]:
    resting = progress < settings.object_cells_until
    few = resting and state.step % _ALL_CELLS_EVERY != 0
    images, questions = (settings.batch // 2, 4) if few else (settings.batch // 2, 2)
    scenes = sort_of_clevr.scenes(images, start=state.images, seed=settings.seed)
    state.images += images
    # Drawn from the step's own seed, so that a training that was interrupted goes on as if it had not been.
    generator = torch.Generator().manual_seed(settings.seed + 1_000_003 * (state.step + 1))
    which, chosen, answers = _draw_questions(scenes, questions, state.errors, generator)
    with torch.set_grad_enabled(not resting):
        objects = model.objects(sort_of_clevr.image_batch(scenes))
    if few:
        cells = _cells_with_objects(scenes, generator)
        objects = objects.gather(1, cells[..., None].expand(-1, -1, objects.shape[2]))
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16"):
        related = model.relation(objects[which], _all_vectors()[chosen])
    logits = model.readout(related.float())
    loss = functional.cross_entropy(logits, answers)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    wrong = logits.argmax(1) != answers
    _remember_errors(state, chosen, wrong)
    return int((~wrong).sum()), len(answers)


def _draw_questions(
    scenes: list[sort_of_clevr.Scene], count: int, errors: list[float], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw questions about each scene: the scene's position, (B * count,), the question of the 36, and the answer."""
    # A floor, so that what is known is not forgotten.
    weights = (torch.tensor(errors).reshape(2, 1, 3) + 0.03).expand(-1, len(sort_of_clevr.COLORS), -1).flatten()
    chosen = torch.multinomial(weights.expand(len(scenes), -1), count, generator=generator)
    answers = sort_of_clevr.answer_table(scenes).gather(1, chosen).flatten()
    return torch.arange(len(scenes)).repeat_interleave(count), chosen.flatten(), answers


def _remember_errors(state: _State, chosen: Tensor, wrong: Tensor) -> None:
    per_kind = 3 * len(sort_of_clevr.COLORS)
    kinds = 3 * (chosen // per_kind) + chosen % 3
    for kind in range(len(state.errors)):
        asked = wrong[kinds == kind]
        if len(asked):
            keep = 0.999 ** len(asked)
            state.errors[kind] = keep * state.errors[kind] + (1 - keep) * float(asked.float().mean())


def _all_vectors() -> Tensor:
    colors = range(len(sort_of_clevr.COLORS))
    return torch.stack(
        [sort_of_clevr.question_vector(c, kind, s) for kind in sort_of_clevr.KINDS for c in colors for s in range(3)]
    )


def _nearest_cells(scenes: list[sort_of_clevr.Scene]) -> tuple[Tensor, Tensor]:
    """Give the position nearest to each object, (B, 6) int64 row by row, and its distance in half cells, (B, 6, 2)."""
    centers = torch.tensor([[thing.center for thing in scene.objects] for scene in scenes])
    nearest = ((centers + _CELL_PIXELS // 2) // _CELL_PIXELS).clamp(max=_CELLS - 1)
    offsets = (centers - _CELL_PIXELS * nearest).float() / (_CELL_PIXELS // 2)
    return nearest[..., 1] * _CELLS + nearest[..., 0], offsets


def _cells_with_objects(scenes: list[sort_of_clevr.Scene], generator: torch.Generator) -> Tensor:
    """Choose 7 or 8 positions of the 25 a scene, (B, n): those nearest to an object's centre, and random others."""
    rank = torch.rand(len(scenes), _CELLS**2, generator=generator)
    rank.scatter_(1, _nearest_cells(scenes)[0], 2.0)
    count = int(torch.randint(7, 9, (), generator=generator))
    return rank.topk(count, dim=1).indices


def _epoch_line(settings: RelationTraining, state: _State) -> str:
    now = state.history[-1]
    parts = [f"epoch {len(state.history)}", f"{_progress(settings, state):4.0%}", f"{state.seconds / 60:.1f} min"]
    parts += [f"{name.replace('relational', 'rel.')} {value:.1%}" for name, value in now.items()]
    return "  ".join(parts)


def _save(
    path: Path | None, settings: RelationTraining, model: nn.Module, optimizer: torch.optim.Optimizer, state: _State
) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    stored = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**stored, "settings": asdict(settings), "state": asdict(state)}, temporary)
    temporary.replace(path)


def _resume(
    path: Path | None, settings: RelationTraining, model: nn.Module, optimizer: torch.optim.Optimizer
) -> _State:
    if path is None or not path.is_file():
        return _State()
    stored = torch.load(path, weights_only=True)
    if stored["settings"] != asdict(settings):
        raise bad_argument("checkpoint", f"a training with {asdict(settings)}", f"one with {stored['settings']}")
    model.load_state_dict(stored["model"])
    optimizer.load_state_dict(stored["optimizer"])
    return _State(**stored["state"])


def _card(settings: RelationTraining, state: _State, model: RelationNetwork) -> dict[str, Any]:
    return {
        "network": "relation network, Santoro et al. 2017",
        "data": "Sort-of-CLEVR as drawn by xai_fast.datasets.sort_of_clevr; no training image is seen twice",
        "settings": asdict(settings),
        "epochs of 98,000 questions": round(state.questions / EPOCH_QUESTIONS, 2),
        "training images": state.images,
        "minutes": round(state.seconds / 60, 1),
        "test": "test split, seed 0, 200 images, ten questions of each kind",
        "accuracy": accuracy_by_question(model),
    }
