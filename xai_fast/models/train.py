"""Trains the networks of the experiments: ``python -m xai_fast.models.train sort-of-clevr --epochs 20``.

Each ends by writing ``NAME.safetensors`` and its card ``NAME.json``, by default into the current folder; the ones that
come with the package are in ``xai_fast/models/weights``, and their cards tell how they were made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from xai_fast.errors import XaiFastError
from xai_fast.models.pretrained import save_weights
from xai_fast.models.training_relation import EPOCH_QUESTIONS, RelationTraining, train_relation_network
from xai_fast.models.training_small import train_generated_shapes, train_three_objects, train_yield_or_go
from xai_fast.progress import Progress

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        0, or 2 when the arguments are wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.network == "sort-of-clevr":
            _sort_of_clevr(options)
        else:
            _small(options)
    except XaiFastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = RelationTraining()
    parser = argparse.ArgumentParser(prog="python -m xai_fast.models.train", description=__doc__.partition("\n")[0])
    networks = parser.add_subparsers(dest="network", required=True)
    relation = networks.add_parser("sort-of-clevr", help="the relation network; hours")
    relation.add_argument("--epochs", type=int, default=defaults.epochs, help="of 98,000 questions (%(default)s)")
    relation.add_argument("--minutes", type=float, help="end after this much time, if that is earlier")
    relation.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="(%(default)s)")
    relation.add_argument("--batch", type=int, default=defaults.batch, help="questions per step (%(default)s)")
    relation.add_argument("--perception-steps", type=int, default=defaults.perception_steps, help="(%(default)s)")
    relation.add_argument("--precision", choices=("fp32", "bf16"), default=defaults.precision, help="(%(default)s)")
    relation.add_argument("--checkpoint", type=Path, help="written after each epoch; if it is there, goes on from it")
    road = networks.add_parser("yield-or-go", help="minutes")
    road.add_argument("--steps", type=int, default=500, help="of 64 pictures (%(default)s)")
    meeting = networks.add_parser("three-objects", help="half a minute")
    meeting.add_argument("--steps", type=int, default=6000, help="of 256 boards (%(default)s)")
    garments = networks.add_parser("generated-shapes", help="half a minute")
    garments.add_argument("--steps", type=int, default=600, help="of 64 pictures (%(default)s)")
    for network in (relation, road, meeting, garments):
        network.add_argument("--seed", type=int, default=0, help="(%(default)s)")
        network.add_argument("--out", type=Path, default=Path(), help="folder for weights and card (current folder)")
    return parser


def _sort_of_clevr(options: argparse.Namespace) -> None:
    settings = RelationTraining(
        epochs=options.epochs,
        minutes=options.minutes,
        seed=options.seed,
        learning_rate=options.learning_rate,
        perception_steps=options.perception_steps,
        batch=options.batch,
        precision=options.precision,
    )
    with Progress(settings.epochs * EPOCH_QUESTIONS, "training, questions") as bar:
        model, card = train_relation_network(
            settings, checkpoint=options.checkpoint, report=lambda line: print(line, flush=True), advance=bar.advance
        )
    print(save_weights(model, "sort-of-clevr", card, options.out))


def _small(options: argparse.Namespace) -> None:
    trainings: dict[str, Callable[..., tuple[nn.Module, dict[str, Any]]]] = {
        "yield-or-go": train_yield_or_go,
        "three-objects": train_three_objects,
        "generated-shapes": train_generated_shapes,
    }
    train = trainings[options.network]
    with Progress(options.steps, "training, steps") as bar:
        model, card = train(steps=options.steps, seed=options.seed, advance=bar.advance)
    print(save_weights(model, options.network, card, options.out))


if __name__ == "__main__":
    sys.exit(main())
