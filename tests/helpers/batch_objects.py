"""Models, data sets and explainers for the tests of long jobs, which are given by reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from xai_fast.jobs.computation import Computation, Outcome
from xai_fast.jobs.references import ModelRef
from xai_fast.jobs.sources import Source, open_source
from xai_fast.jobs.spec import JobSpec

LAYER = {"layer": "features"}  # of the small model


class Listed:
    """The frozen items of a source, without a store."""

    def __init__(self, source: Source) -> None:
        self._ids, self._stamps = source.ids(), source.stamps()

    def __len__(self) -> int:
        return len(self._ids)

    def id(self, index: int) -> str:
        return str(self._ids[index])

    def item_id(self, index: int) -> int:
        return index

    def stamp(self, index: int) -> tuple[int, int] | None:
        return None if self._stamps is None else (int(self._stamps[index, 0]), int(self._stamps[index, 1]))


def computation(spec: JobSpec, **options: Any) -> Computation:
    """Open a source, freeze its items, and make the computation as a worker does."""
    source = open_source(spec.source, decoder=spec.decoder)
    return Computation(spec, Listed(source), identity=source.identity(), **options)


class Rows(nn.Module):
    """A smooth network of rows (B, features) to logits (B, classes)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, 8)
        self.last = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


def rows_model(features: int = 6, classes: int = 3, seed: int = 0, double: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Rows(features, classes)
    return model.double() if double else model


class Picky(Rows):
    """Refuses rows whose first number is above 100: an error that only some items meet."""

    def forward(self, x: Tensor) -> Tensor:
        if bool((x[:, 0] > 100).any()):
            raise ValueError("a number above 100")
        return super().forward(x)


def picky_model() -> nn.Module:
    return Picky(6, 3)


class Small(nn.Module):
    """A convolution and a head behind it, for maps of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GELU(), nn.AvgPool2d(4))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 4 * 4, 12), nn.GELU(), nn.Linear(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def small_model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Small()


def weights_from_file(path: str) -> nn.Module:
    model = rows_model()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in np.load(path).items()})
    return model


def no_model() -> str:
    return "no model"


def first_logit(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


class Pairs:
    """An indexable data set of (item, label) whose items may be anything."""

    def __init__(self, items: Sequence[Any], labels: Sequence[Any]) -> None:
        self.items, self.labels = items, labels

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.items[index], self.labels[index]


def pairs(count: int = 5) -> Pairs:
    x = torch.arange(6.0 * count).reshape(count, 6) / 10
    return Pairs(
        [x[0], x[1].numpy(), x[2].tolist(), *x[3:]], [0, torch.tensor(1), np.int64(2), None, *range(count - 4)]
    )


def odd_items() -> list[Any]:
    """Items that are not like the first."""
    nice = torch.ones(6)
    return [
        torch.zeros(5, 5, 5)[0, 0].repeat(2)[:6],
        nice,
        torch.ones(7),
        "text",
        nice.double(),
        nice.long(),
        (nice, 1, 2),
    ]


class Missing:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Tensor:
        if index == 1:
            raise KeyError("lost")
        return torch.full((6,), float(index))


@dataclass(frozen=True)
class Found:
    totals: Tensor
    signs: Tensor
    note: str = "not a tensor"


class Named(NamedTuple):
    totals: Tensor
    targets: Tensor | None


class Totals:
    """An explainer without a model."""

    def __init__(self, kind: str = "dataclass", seed: int = 0) -> None:
        self.kind, self.seed = kind, seed

    def explain(self, inputs: Tensor) -> object:
        totals = inputs.flatten(1).sum(1)
        return {
            "tensor": totals,
            "dataclass": Found(totals, totals > 0),
            "mapping": {"totals": totals, "seed": torch.full_like(totals, self.seed), "note": "no tensor"},
            "named tuple": Named(totals, None),
            "other": "text",
            "nothing": {},
            "short": totals[:-1],
            "infinite": 1 / (totals - totals[:1]),
        }[self.kind]


class Weighted:
    """An explainer with all that one can ask for."""

    def __init__(self, model: nn.Module, *, power: int = 1, seed: int = 0) -> None:
        self.model, self.power, self.seed = model, power, seed

    def explain(self, inputs: Tensor, target: Any = None, item_ids: Sequence[int] = ()) -> dict[str, Tensor]:
        scores = self.model(inputs).gather(1, torch.as_tensor(target)[:, None])[:, 0].detach()
        return {
            "scores": scores**self.power,
            "ids": torch.tensor(item_ids),
            "seed": torch.full((len(inputs),), self.seed),
        }


class NoExplain:
    def __init__(self, model: nn.Module) -> None:
        self.model = model


class OutOfMemory(Totals):
    def explain(self, inputs: Tensor) -> object:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")


def read_header(data: bytes) -> Tensor:
    """A decoder of the user: the first bytes of a file."""
    if data.startswith(b"bad"):
        raise ValueError("bad")
    return torch.tensor(list(data[:6]), dtype=torch.float32)


def save_rows(path: Path, count: int = 40, features: int = 6, scale: int = 1) -> np.ndarray:
    x = scale * np.random.default_rng(0).normal(size=(count, features)).astype(np.float32)
    np.save(path, x)
    return x


def linear_model() -> nn.Module:
    """Without curvature behind its features."""
    model = Small()
    model.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 4 * 4, 5))
    return model


class Lost:
    """Nothing can be read before item 150."""

    reads = 0

    def __len__(self) -> int:
        return 200

    def __getitem__(self, index: int) -> Tensor:
        self.reads += 1
        if index < 150:
            raise KeyError(index)
        return torch.zeros(6)


class Huge:
    """Item 1 never fits into memory, item 2 at the second try."""

    def __init__(self) -> None:
        self.reads: dict[int, int] = {}

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Tensor:
        self.reads[index] = self.reads.get(index, 0) + 1
        if index == 1 or (index == 2 and self.reads[index] == 1):
            raise MemoryError("10 TB")
        return torch.full((6,), float(index))


def pictures(tmp_path: Path, count: int = 6) -> Tensor:
    """Save pictures (count, 3, 16, 16) as the array that `made` reads."""
    x = np.random.default_rng(1).normal(size=(count, 3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return torch.from_numpy(x)


def made(tmp_path: Path, explainer: Any, model: str = "small_model", **fields: Any) -> Computation:
    """Make the computation of a job over the array that a test saved."""
    source = str(tmp_path / "x.npy")
    return computation(JobSpec(source=source, explainer=explainer, model=ModelRef(f"batch_objects:{model}"), **fields))


def explained(held: Computation) -> Outcome:
    indices = range(len(held.items))
    return held.explain([held.load(index) for index in indices], indices)
