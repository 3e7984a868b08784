"""RISE: the mean of random masks, weighted by the score of the masked input.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.attribution.sampled import SampledExplanation, relative_error
from xai_fast.engine.call import Call
from xai_fast.engine.draws import MAX_SEED, random_words
from xai_fast.engine.features import check_sides
from xai_fast.engine.masked import MaskedScores, baseline_inputs
from xai_fast.engine.objective import SCORES
from xai_fast.engine.points import rounds
from xai_fast.errors import bad_argument
from xai_fast.method import Method

__all__ = ["RISE"]


class RISE(Method[SampledExplanation]):
    """The mean over random masks M of ``f(x * M) M / keep`` (Eq. 6), a map of the pixels.

    A mask is a grid of zeros and ones (one with probability ``keep``), enlarged by bilinear interpolation to one cell
    more than the pixels, and cut at a random place in the first cell; a cell has ``ceil(pixels / grid)`` pixels.
    Attributions are (B, ...) without the channels, (B, N) for rows, in units of the score.

    Cost: at most ``1 + masks`` evaluations per item.
    Limits: noisy; positive everywhere where the score is: compare places. Misses parts smaller than a cell.

    Args:
        model: a module in evaluation mode, or any callable from an input tensor to an output.
        masks: per item (N in the paper).
        grid: cells per dimension, one number or one for each (h and w).
        keep: the probability of a one (p).
        baseline: what pixels become where the mask is 0 (the paper: 0): a number, one per channel or column, "blur" or
            "mean" of the item, or a tensor that broadcasts to the inputs.
        score: see `xai_fast.engine.objective.SCORES`: by default the probability of the target, or a single output
            itself.
        seed: of the masks, 0 to 2**32 - 1.
        tolerance: draw masks until the standard error of the map, relative to its norm, is at most this, with ``masks``
            as the limit. Checked after 4, 8, 16, ... masks. None draws all.

    Raises:
        InputError: an option is out of range.
    """

    name = "rise"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        masks: int = 4000,
        grid: int | Sequence[int] = 7,
        keep: float = 0.5,
        baseline: float | Sequence[float] | str | Tensor = 0.0,
        score: str = "auto",
        seed: int = 0,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(model)
        self.masks = check_integer("masks", masks, 1)
        self.grid = grid
        self.keep = check_positive("keep", keep)
        if self.keep > 1:
            raise bad_argument("keep", "a probability, at most 1", repr(keep))
        self.baseline = baseline
        self.score = check_choice("score", score, SCORES)
        self.seed = check_integer("seed", seed, 0, MAX_SEED)
        self.tolerance = None if tolerance is None else check_positive("tolerance", tolerance)

    def _explain(self, call: Call) -> SampledExplanation:
        masked = MaskedScores(call)
        x = masked.inputs
        sizes = tuple(x.shape[2:] or x.shape[1:])
        random = _Masks(sizes, check_sides("grid", self.grid, len(sizes)), self.keep, self.seed, x)
        baseline = baseline_inputs("baseline", self.baseline, x)
        scores, targets = masked.clean()
        total = x.new_zeros(call.batch, math.prod(sizes))
        squares, count = torch.zeros_like(total), x.new_zeros(call.batch, 1)
        now: list[Tensor] = []

        def estimate() -> tuple[Tensor, Tensor]:
            mean = total / count
            spread = (squares - count * mean.square()).clamp_(min=0) / (count * (count - 1)).clamp_(min=1)
            return mean, spread.sqrt_().masked_fill_(count < 2, math.inf)

        for wanted, first, last in rounds(call, self.masks, self.tolerance, estimate):
            item = wanted.repeat_interleave(last - first)
            number = torch.arange(first, last, device=x.device).repeat(len(wanted))

            def make(row: Tensor, item: Tensor = item, number: Tensor = number) -> Tensor:
                of = item[row]
                now[:] = [random.draw(call.item_ids[of], number[row])]
                return torch.lerp(baseline[of], x[of], now[0].view(len(row), *[1] * (x.ndim - 1 - len(sizes)), *sizes))

            for row, values in masked.chunks(make, item, targets):
                weighted = now[0].mul_(values[:, None] / self.keep)
                total.index_add_(0, item[row], weighted)
                squares.index_add_(0, item[row], weighted.square_())
            count[wanted] += last - first
        mean, error = estimate()
        return SampledExplanation(
            attributions=mean.view(-1, *sizes),
            standard_error=error.view(-1, *sizes),
            relative_standard_error=relative_error(mean, error),
            scores=scores,
            targets=targets,
            evaluations=1 + count[:, 0].long(),
        )


class _Masks:
    """Random masks over pixels of these sizes, in the dtype and on the device of ``like``."""

    def __init__(self, sizes: Sequence[int], grid: Sequence[int], keep: float, seed: int, like: Tensor) -> None:
        self.grid, self.limit, self.seed, self.dtype = tuple(grid), keep * 2**32, seed, like.dtype
        self.cuts = []
        for size, cells in zip(sizes, grid, strict=True):
            cell = -(-size // cells)
            each = torch.eye(cells, dtype=torch.float64, device=like.device)[:, None]
            enlarged = interpolate(each, (cells + 1) * cell, mode="linear")[:, 0]
            # (cell, cells, size): the weights of the cells in the pixels that follow each place to cut at
            self.cuts.append(enlarged.unfold(1, size, 1).transpose(0, 1)[:cell])

    def draw(self, item_ids: Tensor, number: Tensor) -> Tensor:
        """Draw the masks of these numbers (r,) of items (r,): (r, pixels)."""
        dims = len(self.grid)
        words = random_words(item_ids, number, dims + math.prod(self.grid), self.seed)
        mask = (words[:, dims:] < self.limit).double()
        for dim, cuts in enumerate(self.cuts):
            # The grid's dimension goes, and that of the pixels comes last: after all of them they are in order again.
            mask = mask.view(len(words), cuts.shape[1], -1).transpose(1, 2) @ cuts[words[:, dim] % len(cuts)]
        return mask.flatten(1).to(self.dtype)
