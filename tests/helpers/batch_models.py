"""Models and methods for tests of long jobs, which workers import by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from xai_fast import Explanation, Method
from xai_fast.engine.call import Call
from xai_fast.images import ImageModel
from xai_fast.jobs import JobStatus, status


def tiny() -> ImageModel:
    """A model of pictures of 8 x 8 pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ImageModel(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4)), "tiny", size=(8, 8), margin=0)


def linear(weights: str) -> nn.Module:
    """A model whose weights are in a file of text."""
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, float(Path(weights).read_text()))
    nn.init.zeros_(model.bias)
    return model


def random_weights() -> nn.Module:
    """A factory that draws other weights each time."""
    return nn.Linear(2, 2)


def small() -> nn.Module:
    """Scores of pictures (B, 3, H, W), with curvature."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))


class Sums(Method):
    """Costs next to nothing: the sum of each item, and of what the model says of it."""

    score = "logit"

    def _explain(self, call: Call) -> Explanation:
        outputs = self.model(call.values[0])
        assert isinstance(outputs, torch.Tensor)
        return Explanation(
            attributions=call.values[0].flatten(1).sum(1, keepdim=True),
            scores=outputs.flatten(1).sum(1),
            evaluations=torch.ones(call.batch, dtype=torch.int64),
        )


def identity() -> nn.Module:
    """A model that says what it is given."""
    return nn.Identity()


LOOKS: list[JobStatus] = []


def looking(out: str) -> nn.Module:
    """Look how the job stands whose model this is."""
    LOOKS.append(status(out))
    return identity()


class Vanish(Sums):
    """The folder of the source vanishes after the first chunk, once.

    Args:
        model: see `Sums`.
        source: the folder.
    """

    def __init__(self, model: Callable[..., object], *, source: str) -> None:
        super().__init__(model)
        self.source = source

    def _explain(self, call: Call) -> Explanation:
        found = super()._explain(call)
        path = Path(self.source)
        if int(call.item_ids[0]) == 2 and path.exists() and not path.with_name("back").exists():
            path.rename(path.with_name("gone"))
            path.with_name("back").touch()
        return found


class Overwrite(Sums):
    """Writes other values over the array that is explained, at its tenth item.

    Args:
        model: see `Sums`.
        path: of the array.
    """

    def __init__(self, model: Callable[..., object], *, path: str) -> None:
        super().__init__(model)
        self.path = path

    def _explain(self, call: Call) -> Explanation:
        if 10 in call.item_ids:
            np.save(self.path, np.ones((40, 4), np.float32))
        return super()._explain(call)
