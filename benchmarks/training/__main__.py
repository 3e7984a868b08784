"""Trains the networks of the experiments: ``python -m benchmarks.training sort-of-clevr``.

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

from benchmarks.training.attention import train_digits, train_reviews
from benchmarks.training.relation import train_relation_network
from benchmarks.training.small import train_generated_shapes, train_three_objects, train_yield_or_go
from xai_fast.errors import XaiFastError
from xai_fast.models.pretrained import save_weights
from xai_fast.progress import Progress

__all__ = ["main"]

_TRAININGS: dict[str, tuple[Callable[..., tuple[nn.Module, dict[str, Any]]], int, str]] = {
    "sort-of-clevr": (train_relation_network, 35_000, "the relation network, in hours; steps of 64 questions"),
    "yield-or-go": (train_yield_or_go, 500, "in minutes; steps of 64 pictures"),
    "three-objects": (train_three_objects, 6000, "in half a minute; steps of 256 boards"),
    "generated-shapes": (train_generated_shapes, 600, "in half a minute; steps of 64 pictures"),
    "digits": (train_digits, 4000, "a vision transformer, in minutes; steps of 64 pictures"),
    "reviews": (train_reviews, 3000, "a text transformer, in a minute; steps of 64 reviews"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        0, or 2 when the arguments are wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.partition("\n")[0])
    networks = parser.add_subparsers(dest="network", required=True)
    for name, (_, steps, about) in _TRAININGS.items():
        network = networks.add_parser(name, help=about)
        network.add_argument("--steps", type=int, default=steps, help="(%(default)s)")
        network.add_argument("--seed", type=int, default=0, help="(%(default)s)")
        network.add_argument("--out", type=Path, default=Path(), help="folder for weights and card (current folder)")
    options = parser.parse_args(arguments)
    try:
        with Progress(options.steps, "training, steps") as bar:
            model, card = _TRAININGS[options.network][0](steps=options.steps, seed=options.seed, advance=bar.advance)
        print(save_weights(model, options.network, card, options.out))
    except XaiFastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
