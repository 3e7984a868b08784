"""Occlusion: the score that is lost where a window over the input is replaced.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2; the mean over the
windows that cover an entry is captum's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai_fast.arguments import check_choice
from xai_fast.engine.call import Call
from xai_fast.engine.features import check_sides
from xai_fast.engine.masked import MaskedScores, baseline_inputs
from xai_fast.engine.objective import SCORES
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation
from xai_fast.method import Method

__all__ = ["Occlusion"]


class Occlusion(Method[Explanation]):
    """The mean, over the windows that cover an entry, of the score less that with the window replaced.

    Windows begin at 0, ``stride``, 2 ``stride``, ... in each dimension until one reaches the end; that one may be cut
    off. Attributions are like the inputs (B, ...), in units of the score.

    Cost: ``1 + windows`` evaluations per item.
    Limits: parts that stand in for one another get little; ``window`` and ``baseline`` decide what is found.

    Args:
        model: a module in evaluation mode, or any callable from an input tensor to an output.
        window: sides of the window in entries: one number for all pixel dimensions (of rows (B, N), for the columns),
            or one for each of the last dimensions of the inputs; the window covers all of the dimensions before, such
            as the channels.
        stride: from one window to the next, one number or as many as the window has; at most the window.
        baseline: what takes the place of the window: a number, one per channel or column, "blur" or "mean" of the item,
            or a tensor that broadcasts to the inputs.
        score: see `xai_fast.engine.objective.SCORES`: by default the probability of the target, or a single output
            itself.

    Raises:
        InputError: an option is out of range, or in `explain` the window is larger than the inputs.
    """

    name = "occlusion"
    integers = True

    def __init__(
        self,
        model: Callable[..., object],
        *,
        window: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        baseline: float | Sequence[float] | str | Tensor = 0.0,
        score: str = "auto",
    ) -> None:
        super().__init__(model)
        self.window = window
        self.stride = stride
        self.baseline = baseline
        self.score = check_choice("score", score, SCORES)

    def _explain(self, call: Call) -> Explanation:
        masked = MaskedScores(call)
        x = masked.inputs
        covered = self._covered(x)
        baseline = baseline_inputs("baseline", self.baseline, x)
        scores, targets = masked.clean()
        shifts, sizes = ([side[dim] for side in map(lambda c: tuple(c.shape), covered)] for dim in (0, 1))
        windows = math.prod(shifts)
        item = torch.arange(call.batch * windows, device=call.device).div(windows, rounding_mode="floor")

        def make(row: Tensor) -> Tensor:
            inside = torch.ones((), dtype=torch.bool, device=call.device)
            for dim, several in enumerate(shifts):
                # Not torch.unravel_index, which copies the shape to the device and waits.
                shift = row.div(math.prod(shifts[dim + 1 :]), rounding_mode="floor") % several
                inside = inside & covered[dim][shift].view(-1, *[1] * dim, sizes[dim], *[1] * (len(sizes) - 1 - dim))
            of = item[row]
            return torch.where(inside.view(-1, *[1] * (x.ndim - 1 - len(sizes)), *sizes), baseline[of], x[of])

        total = (scores[item] - masked.score_rows(make, item, targets)).double().view(-1, *shifts)
        for of_windows in covered:
            # The window's dimension goes, and the entries' comes last: after all of them they are in order again.
            total = torch.tensordot(total, of_windows.double() / of_windows.sum(0), dims=([1], [0]))
        total = total.view(-1, *[1] * (x.ndim - 1 - len(sizes)), *sizes)
        return Explanation(
            attributions=total.to(scores.dtype).expand(x.shape).contiguous(),
            scores=scores,
            targets=targets,
            evaluations=torch.full_like(call.item_ids, 1 + windows),
        )

    def _covered(self, x: Tensor) -> list[Tensor]:
        """Tell for each dimension of the window which entries its windows cover, (windows, entries) bool."""
        dims = len(self.window) if isinstance(self.window, Sequence) else max(1, x.ndim - 2)
        if not 1 <= dims < x.ndim:
            raise bad_argument("window", f"at most {x.ndim - 1} sides for inputs {tuple(x.shape)}", f"{dims}")
        found = []
        sides = zip(check_sides("window", self.window, dims), check_sides("stride", self.stride, dims), strict=True)
        for size, (window, stride) in zip(x.shape[-dims:], sides, strict=True):
            if window > size:
                raise bad_argument("window", f"at most {size} for inputs {tuple(x.shape)}", str(window))
            if stride > window < size:
                raise bad_argument("stride", f"at most the window, {window}", str(stride))
            place = torch.arange(size, device=x.device)
            start = torch.arange(-(-(size - window) // stride) + 1, device=x.device)[:, None] * stride
            found.append((place >= start) & (place < start + window))
        return found
