"""Models, data sets and explainers for the tests of long jobs, which are given by reference."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_fast.images import ImageModel
from xai_fast.jobs.sources import Source, open_source
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items


def frozen(described: Any, decoder: str = "pillow") -> Source:
    """Open a source and freeze its list of items, as a job does."""
    source = open_source(described, decoder)
    listing, root = source.listing(), Folder(Path(tempfile.mkdtemp()))
    listed = {"count": listing, "folder": None} if isinstance(listing, int) else None
    items = Items(root, listed or Items.freeze(root, source.columns, listing))  # type: ignore[arg-type]
    source.use(items, json.loads(json.dumps(source.identity())))
    return source


def ids(source: Source) -> list[str]:
    return [source.items.id(i) for i in range(len(source))]


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
    with torch.random.fork_rng():
        torch.manual_seed(0)
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


a_module = nn.Linear(6, 3)


def by_position(classes: int, /) -> nn.Module:
    return nn.Linear(6, classes)


def any_sizes(*sizes: int) -> nn.Module:
    return nn.Linear(*sizes)


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


def read_header(data: bytes) -> Tensor:
    """A decoder of the user: the first bytes of a file."""
    if data.startswith(b"bad"):
        raise ValueError("bad")
    return torch.tensor(list(data[:6]), dtype=torch.float32)


def save_rows(path: Path, count: int = 40, features: int = 6, scale: int = 1) -> np.ndarray:
    x = scale * np.random.default_rng(0).normal(size=(count, features)).astype(np.float32)
    np.save(path, x)
    return x


class Huge:
    """Item 1 does not fit into memory."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Tensor:
        if index == 1:
            raise MemoryError("10 TB")
        return torch.full((6,), float(index))


def small_image_model() -> ImageModel:
    return ImageModel(small_model(), "small", size=(16, 16), margin=2)


class Graphs(nn.Module):
    """Features (B, n, 2) and an adjacency (B, n, n) to logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return torch.tanh(adjacency @ self.layer(x)).sum(1)


def double_inputs() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Graphs().eval()


def two_inputs(sizes: Sequence[int] = (3, 3, 3, 3)) -> Pairs:
    generator = torch.Generator().manual_seed(0)
    graphs = [(torch.rand(n, 2, generator=generator), torch.rand(n, n, generator=generator)) for n in sizes]
    return Pairs(graphs, [i % 3 for i in range(len(sizes))])


def uneven_inputs() -> Pairs:
    return two_inputs((3, 3, 3, 3, 4))
