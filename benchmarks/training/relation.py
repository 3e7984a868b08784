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
- Images cost next to nothing to draw, so none is seen twice, and nothing has to be done against overfitting: dropout is
  off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.training.small import fit
from xai_fast.arguments import check_integer
from xai_fast.datasets import sort_of_clevr
from xai_fast.models.relation_network import RelationNetwork

__all__ = ["accuracy_by_question", "train_relation_network"]

_CELL_PIXELS, _CELLS = 16, 5
_ALL_CELLS_EVERY = 16  # steps
_PAIR_SCALE = 1 / 32  # about as many pairs of objects as an image has
_LEARNING_RATE = 1.5e-3
_OBJECT_CELLS_UNTIL = 0.8  # of the training, in which only positions with objects are paired, and the convolutions rest
_SEEN_AT_ONCE, _IMAGES = 64, 16  # images per step, of perception and afterwards


def train_relation_network(
    *,
    steps: int,
    seed: int = 0,
    perception_steps: int = 1200,
    advance: Callable[[int], None] = lambda steps: None,
) -> tuple[RelationNetwork, dict[str, Any]]:
    """Train the network of Sort-of-CLEVR; see `training_small`. A step has 64 questions, or 32 of all positions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_integer("seed", seed, 0, 2**63 - 1))
        model = _new_network()
    _learn_to_see(model, perception_steps, seed)
    model.eval()  # normalisation keeps the statistics with which the convolutions learned to see
    generator = torch.Generator().manual_seed(seed)
    errors = torch.full((6,), 0.5)  # by kind, then subtype; recent averages

    def loss(step: int) -> Tensor:
        resting = step < _OBJECT_CELLS_UNTIL * steps
        few = resting and step % _ALL_CELLS_EVERY != 0
        start = _SEEN_AT_ONCE * perception_steps + _IMAGES * step
        scenes = sort_of_clevr.scenes(_IMAGES, start=start, seed=seed)
        count = 4 if few else 2
        chosen, vectors, answers = _draw_questions(scenes, count, errors, generator)
        with torch.set_grad_enabled(not resting):
            objects = model.objects(sort_of_clevr.image_batch(scenes))
        if few:
            cells = _cells_with_objects(scenes, generator)
            objects = objects.gather(1, cells[..., None].expand(-1, -1, objects.shape[2]))
        logits = model.relate(objects.repeat_interleave(count, 0), vectors)
        _remember_errors(errors, chosen, logits.argmax(1) != answers)
        return functional.cross_entropy(logits, answers)

    after_sum = model.get_parameter("readout.0.weight")
    others = [parameter for parameter in model.parameters() if parameter is not after_sum]
    groups = [{"params": others}, {"params": [after_sum], "lr": _PAIR_SCALE * _LEARNING_RATE}]
    fit(groups, loss, steps, advance, highest=_LEARNING_RATE, warm_up=1 + steps // 50, clip=5.0)
    card = {
        "network": "relation network, Santoro et al. 2017",
        "data": "Sort-of-CLEVR as drawn by xai_fast.datasets.sort_of_clevr; no training image is seen twice",
        "seed": seed,
        "perception steps of 64 images": perception_steps,
        "steps of 64 questions": steps,
        "test": "test split, seed 0, 200 images, ten questions of each kind",
        "accuracy": accuracy_by_question(model),
    }
    return model, card


def accuracy_by_question(model: RelationNetwork, images: int = 200) -> dict[str, float]:
    """Measure the accuracy by kind and subtype, "relational 0", on ten questions of each kind about each test image."""
    was_training = model.training
    model.eval()
    right: dict[str, list[bool]] = {}
    with torch.no_grad():
        for scene in sort_of_clevr.scenes(images, split="test"):
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
    model = RelationNetwork()
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


def _learn_to_see(model: RelationNetwork, steps: int, seed: int) -> None:
    """Train the convolutions with a linear reader of the objects' states, then fold the reader into g."""
    channels = model.relation.first_object.in_features - 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        reader = nn.Linear(channels, 4 * len(sort_of_clevr.COLORS))

    def loss(step: int) -> Tensor:
        scenes = sort_of_clevr.scenes(_SEEN_AT_ONCE, start=_SEEN_AT_ONCE * step, seed=seed)
        said = reader(model.convolutions(sort_of_clevr.image_batch(scenes)).flatten(2).transpose(1, 2))
        wanted = _states(scenes)
        # An object is at one position of 25; that position counts as much as the others together.
        weight = torch.where(wanted[..., ::4] > 0, 10.0, 1.0).repeat_interleave(4, dim=2)
        loss: Tensor = (weight * (said - wanted).square()).mean()
        return loss

    fit([*model.convolutions.parameters(), *reader.parameters()], loss, steps)
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


def _draw_questions(
    scenes: list[sort_of_clevr.Scene], count: int, errors: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw questions about each scene: which of the 36, (B * count,), their vectors and answers."""
    # A floor, so that what is known is not forgotten.
    weights = (errors.reshape(2, 1, 3) + 0.03).expand(-1, len(sort_of_clevr.COLORS), -1).flatten()
    chosen = torch.multinomial(weights.expand(len(scenes), -1), count, generator=generator)
    every = zip(map(sort_of_clevr.all_questions, scenes), chosen.tolist(), strict=True)
    vectors, answers = sort_of_clevr.question_batch([questions[i] for questions, row in every for i in row])
    return chosen.flatten(), vectors, answers


def _remember_errors(errors: Tensor, chosen: Tensor, wrong: Tensor) -> None:
    per_kind = 3 * len(sort_of_clevr.COLORS)
    kinds = 3 * (chosen // per_kind) + chosen % 3
    asked, missed = (torch.bincount(kinds, weights, len(errors)) for weights in (None, wrong.float()))
    errors.lerp_(missed / asked.clamp(min=1), 1 - 0.999**asked)


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
