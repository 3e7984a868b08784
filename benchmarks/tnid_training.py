"""Train many networks of one shape at once, one per table, as the T-NID and NID papers train theirs.

The networks of one function are a batch: weights have a leading dimension of networks, and one batched product is a
step of all. Nothing is shared between them (the loss is a sum, Adam works entry by entry): each is as if alone.
"""

from __future__ import annotations

import copy
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from xai_fast.datasets.known_functions import KnownFunction, Table

__all__ = ["RECIPES", "Recipe", "Trained", "one_network", "train", "trained"]

HIDDEN = (140, 100, 60, 20)
_MAIN_EFFECT_HIDDEN = (10, 10, 10)


@dataclass(frozen=True)
class Recipe:
    """How a network is made and trained.

    Attributes:
        activation: "gelu" or "relu".
        l1: factor of the sum of the absolute weights in the loss, biases and main-effect networks not included.
        main_effects: whether each feature has a network of its own beside, 10-10-10 (NID's MLP-M).
        epochs: at most.
        patience: epochs without a better validation loss before a network stops.
        learning_rate: Adam's.
        decay: whether the learning rate falls to zero over the epochs as half a cosine.
        batch: rows per step.
    """

    activation: str = "gelu"
    l1: float = 0.0
    main_effects: bool = False
    epochs: int = 200
    patience: int = 10
    learning_rate: float = 1e-3
    decay: bool = False
    batch: int = 100


RECIPES = {
    "t-nid": Recipe(),  # as published: GELU, no penalty, no networks of single features
    "t-nid-decay": Recipe(learning_rate=3e-3, decay=True, epochs=100, patience=100, batch=128),  # as fit_mlp trains
    "nid-m": Recipe(activation="relu", l1=5e-5, main_effects=True),
    "nid": Recipe(activation="relu", l1=5e-5),
}
"""How the networks of each method are trained."""


@dataclass(frozen=True)
class Trained:
    """Networks of one shape.

    Attributes:
        weights: a layer each, (networks, in, out).
        biases: a layer each, (networks, 1, out).
        main_weights: likewise for the networks of single features, (networks * features, in, out); empty without.
        main_biases: likewise.
        r2: (networks,) share of the variance explained on the test rows.
        epochs: (networks,) epoch of the weights that were kept.
    """

    weights: list[Tensor]
    biases: list[Tensor]
    main_weights: list[Tensor]
    main_biases: list[Tensor]
    r2: list[float]
    epochs: list[int]


def _layers(copies: int, sizes: Sequence[int], generator: torch.Generator) -> tuple[list[Tensor], list[Tensor]]:
    weights, biases = [], []
    for inputs, outputs in itertools.pairwise(sizes):  # nn.Linear's own initialisation
        bound = 1 / math.sqrt(inputs)
        for shape, into in (((copies, inputs, outputs), weights), ((copies, 1, outputs), biases)):
            into.append((bound * (2 * torch.rand(shape, generator=generator) - 1)).requires_grad_())
    return weights, biases


def _forward(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], act: Callable[[Tensor], Tensor]) -> Tensor:
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = torch.baddbmm(bias, x, weight)
        if layer + 1 < len(weights):
            x = act(x)
    return x


class _Networks:
    """Networks in training; those that are done leave the batch."""

    def __init__(self, tables: Sequence[Table], recipe: Recipe, seed: int) -> None:
        self.recipe = recipe
        self.act = {"gelu": nn.functional.gelu, "relu": torch.relu}[recipe.activation]
        self.splits = {
            name: (torch.stack([getattr(t, name).x for t in tables]), torch.stack([getattr(t, name).y for t in tables]))
            for name in ("train", "validation", "test")
        }
        features = self.splits["train"][0].shape[2]
        self.features = features
        self.generator = torch.Generator().manual_seed(seed)
        self.main = _layers(len(tables) * features * recipe.main_effects, (1, *_MAIN_EFFECT_HIDDEN, 1), self.generator)
        self.core = _layers(len(tables), (features, *HIDDEN, 1), self.generator)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=recipe.learning_rate, fused=True)

    def parameters(self) -> list[Tensor]:
        main = (*self.main[0], *self.main[1]) if self.recipe.main_effects else ()
        return [*self.core[0], *self.core[1], *main]

    def __call__(self, x: Tensor) -> Tensor:
        y = _forward(x, *self.core, self.act)[..., 0]
        if self.recipe.main_effects:
            single = x.permute(0, 2, 1).reshape(-1, x.shape[1], 1)
            y = y + _forward(single, *self.main, self.act).view(-1, self.features, x.shape[1]).sum(1)
        return y

    def losses(self, name: str) -> Tensor:
        x, y = self.splits[name]
        with torch.no_grad():
            parts = [self(x[:, rows : rows + 1000]) for rows in range(0, x.shape[1], 1000)]
            return (torch.cat(parts, 1) - y).square().mean(1)

    def epoch(self) -> None:
        x, y = self.splits["train"]
        order = torch.rand(y.shape, generator=self.generator).argsort(1)
        x, y = x.gather(1, order[..., None].expand_as(x)), y.gather(1, order)
        for rows in range(0, y.shape[1], self.recipe.batch):
            part = slice(rows, rows + self.recipe.batch)
            self.optimizer.zero_grad(set_to_none=True)
            loss = (self(x[:, part]) - y[:, part]).square().mean(1).sum()
            if self.recipe.l1:
                loss = loss + self.recipe.l1 * torch.stack([w.abs().sum() for w in self.core[0]]).sum()
            loss.backward()
            self.optimizer.step()

    def state(self, network: int) -> list[Tensor]:
        """Weights and biases of one network, then those of its main effects."""
        parts = [p.detach()[network : network + 1].clone() for p in (*self.core[0], *self.core[1])]
        own = slice(network * self.features, (network + 1) * self.features)
        return parts + [p.detach()[own].clone() for p in (*self.main[0], *self.main[1])]

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the networks only."""
        main_rows = (rows[:, None] * self.features + torch.arange(self.features)).flatten()
        self.splits = {name: (x[rows], y[rows]) for name, (x, y) in self.splits.items()}
        for group, chosen in ((self.core, rows), (self.main, main_rows if self.recipe.main_effects else rows[:0])):
            for parameters in group:
                for place, old in enumerate(parameters):
                    parameters[place] = old.detach()[chosen].clone().requires_grad_()
                    state = self.optimizer.state.pop(old, {})
                    self.optimizer.state[parameters[place]] = {
                        name: value[chosen] if value.ndim else value for name, value in state.items()
                    }
        self.optimizer.param_groups[0]["params"] = self.parameters()


def train(tables: Sequence[Table], recipe: Recipe, *, seed: int) -> Trained:
    """Train one network a table."""
    networks = _Networks(tables, recipe, seed)
    best = [math.inf] * len(tables)
    kept: list[list[Tensor]] = [[] for _ in tables]
    kept_epoch = [0] * len(tables)
    active = list(range(len(tables)))
    for epoch in range(recipe.epochs):
        if recipe.decay:
            share = 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
            networks.optimizer.param_groups[0]["lr"] = recipe.learning_rate * share
        networks.epoch()
        for place, loss in enumerate(networks.losses("validation").tolist()):
            if loss < best[active[place]]:
                best[active[place]], kept_epoch[active[place]] = loss, epoch
                kept[active[place]] = networks.state(place)
        going = [place for place, name in enumerate(active) if epoch - kept_epoch[name] <= recipe.patience]
        if len(going) < len(active):
            active = [active[place] for place in going]
            networks.keep(torch.tensor(going, dtype=torch.int64))
        if not active:
            break
    groups = [torch.cat(parts) for parts in zip(*kept, strict=True)]
    depth, main = len(HIDDEN) + 1, len(_MAIN_EFFECT_HIDDEN) + 1
    done = Trained(
        groups[:depth], groups[depth : 2 * depth], groups[2 * depth : 2 * depth + main], groups[2 * depth + main :], [],
        kept_epoch,
    )  # fmt: skip
    final = copy.copy(networks)
    final.core, final.main = (done.weights, done.biases), (done.main_weights, done.main_biases)
    final.splits = {"test": (torch.stack([t.test.x for t in tables]), torch.stack([t.test.y for t in tables]))}
    variance = final.splits["test"][1].var(1, correction=0)
    return replace(done, r2=(1 - final.losses("test") / variance).tolist())


def trained(function: KnownFunction, recipe: str, folder: Path, *, networks: int = 10) -> Trained:
    """Load the networks of a function, or train and keep them; network i has the table of seed i."""
    path = folder / f"{function.name}-{recipe}.pt"
    if not path.exists():
        started = time.perf_counter()
        tables = [function.table(seed=seed) for seed in range(networks)]
        done = train(tables, RECIPES[recipe], seed=0)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(asdict(done), path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        r2 = sum(done.r2) / networks
        print(f"{path.stem}: R2 {r2:.5f}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return Trained(**torch.load(path, weights_only=True))


def one_network(trained: Trained, network: int, activation: str = "gelu") -> nn.Sequential:
    """Give one network without its main effects, which take no part in interactions, (rows, features) to (rows, 1)."""
    layers: list[nn.Module] = []
    for weight, bias in zip(trained.weights, trained.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        with torch.no_grad():
            linear.weight.copy_(weight[network].T)
            linear.bias.copy_(bias[network, 0])
        layers += [linear, nn.GELU() if activation == "gelu" else nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()
