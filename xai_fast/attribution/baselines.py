"""Explanations that know nothing of the model, which every method has to beat: random numbers, and edges."""

from __future__ import annotations

import abc
from collections.abc import Callable

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_integer
from xai_fast.engine.call import Call
from xai_fast.engine.draws import MAX_SEED, random_entries
from xai_fast.engine.masked import MaskedScores
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.method import Method

__all__ = ["Edges", "RandomMap"]

_STEP = 5 << 29  # of the draws, so that they are not those of a method or a metric with the same seed


class _Blind(Method[Explanation]):
    """A map (B, ...) of the inputs alone; the model says which class it is said to explain, one evaluation."""

    integers = True

    def _explain(self, call: Call) -> Explanation:
        masked = MaskedScores(call)
        scores, targets = masked.clean()
        maps = self._map(masked.inputs, call.item_ids)
        return Explanation(attributions=maps, scores=scores, targets=targets, evaluations=masked.evaluations)

    @abc.abstractmethod
    def _map(self, x: Tensor, item_ids: Tensor) -> Tensor:
        """Make the map of inputs (B, ...)."""


class RandomMap(_Blind):
    """Random numbers from 0 to 1, one per entry of the inputs, so that rankings of each channel are by chance too.

    Args:
        model: a module in evaluation mode, or any other callable.
        seed: of the numbers, which depend on it and on the item alone.
    """

    name = "random"

    def __init__(self, model: Callable[..., object], *, seed: int = 0) -> None:
        super().__init__(model)
        self.seed = check_integer("seed", seed, 0, MAX_SEED)

    def _map(self, x: Tensor, item_ids: Tensor) -> Tensor:
        like = torch.empty_like(x, dtype=torch.float32).flatten(1)
        drawn = random_entries(like, item_ids, torch.zeros_like(item_ids), "box", self.seed, _STEP)
        return ((drawn + 1) / 2).view(x.shape)


class Edges(_Blind):
    """Edges of a picture: the magnitude of the Sobel gradient of each channel, (B, C, H, W)."""

    def _map(self, x: Tensor, item_ids: Tensor) -> Tensor:
        if x.ndim != 4:
            raise bad_argument("inputs", "pictures (B, C, H, W)", str(tuple(x.shape)))
        step, smooth = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])
        kernels = torch.stack([torch.outer(smooth, step), torch.outer(step, smooth)])[:, None].to(x)
        padded = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        found = nn.functional.conv2d(padded.flatten(0, 1)[:, None], kernels)
        edges: Tensor = torch.linalg.vector_norm(found, dim=1).view(x.shape)
        return edges
