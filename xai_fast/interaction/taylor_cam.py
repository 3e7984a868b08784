"""Taylor-CAM: which pairs (and triples) of positions of a feature map a network relates.

With x the n positions of a feature map of d channels and F the rest of the network, a scalar target, order 1 is Eq. 3
of the paper, order 2 ("Hessian-CAM") is

    S_ij = sum over m, p of x_ip d2F / dx_ip dx_jm                           scope="local"
    S_ij = sum over m, p of x_ip sum over k of d2F / dx_kp dx_jm             scope="global" (Eq. 5)

where the x in front is a constant, and the salience of the pair is S_ij^2. So S = V^T H U, with V the x_i (or x_i
repeated over all positions) and U ones, each at one position; order 3 is the third derivative along (V_i, U_j, U_q),
and so on.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES
from xai_fast.errors import UnsupportedOperation, bad_argument
from xai_fast.graph.smooth import SMOOTH, remedy
from xai_fast.interaction.behind_layer import BehindLayer, CellBaseline, Cut
from xai_fast.taylor import METHODS, bilinear_form, cross_derivatives, plan_bilinear_form
from xai_fast.terminal import tell

__all__ = ["SCOPES", "TaylorCAM"]

SCOPES = ("local", "global")
MAX_ORDER = 4


class TaylorCAM(BehindLayer):
    """Interactions between the positions of a feature map, from exact derivatives of what comes after it.

    `explain` gives an `InteractionMap`. The result for an item depends on the item and the model, never on the batch
    that it comes in: an item without interactions has zeros and the fact "zero_curvature", and of a score without
    curvature at all `explain` raises a `ZeroCurvatureError`. Inputs may be integers, such as token numbers.

    Cost: ``1`` evaluation per item, and at order 2 no more than a Hessian-vector product per position.
    Limits: only a score that bends has interactions; behind ReLUs the softmax alone does, and pairs where it is
    confident are products of single cells (``rank_one_share``, see ``score``).

    Args:
        model: a module in evaluation mode.
        layer: whose output is the feature map, (B, d, ...) or (B, ..., d), or tokens (B, n, d) or (n, B, d): a
            submodule or its dotted name; "name#k" is the k-th run of a layer that runs several times. A layer whose
            output is a tuple stands for the tuple's first tensor.
        order: how many positions act together: 1, 2, 3 or 4.
        scope: "local" or "global", see above.
        score: F, see `xai_fast.engine.objective.SCORES`: by default the probability of the target. Behind a ReLU
            network the logits are linear near an item, so only the softmax bends. Where it is confident, two classes
            share nearly all probability, and p is a function of one number, the difference u of their logits:
            then H = p''(u) g g^T with g = du/dx, of rank 1, and S_ij is nearly a_i b_j with a_i = x_i . g_i and b_j =
            sum over m of g_jm times p''. Such pairs join the cells that matter by themselves, whether or not the
            network relates them. The result's ``rank_one_share`` tells: near 1, ask `RemovalInteractions`, or a network
            with ``smooth``.
        smooth: "gelu" or "softplus" to explain the network with these in the place of its ReLUs, which have no
            curvature; None to explain it as it is. The model itself is not changed. The result says what was done.
        method: of order 2: "auto", "forward", "reverse" or "hvp", see `xai_fast.taylor.bilinear_form`. Only "auto" for
            other orders.
        symmetric: add the interactions of the same positions, whichever carries x, and keep each set once; else keep
            them directed, x at the first position.
        grid: (h, w) of the positions where the layer's output is tokens; None to find out from a picture's patches.
        memory_limit: in bytes, for the derivatives; None for half of what is free.
        layout: of the layer's output, see `xai_fast.GradCAM`; None to find out.
        skip_tokens: tokens at the beginning that stand for no position; None to find out.
        baseline: what the x in front is counted from, see `xai_fast.RemovalInteractions`.

    Raises:
        InputError: an option is out of range, or there is no such layer.
    """

    name = "taylor_cam"

    def __init__(
        self,
        model: nn.Module,
        layer: Layer,
        *,
        order: int = 2,
        scope: str = "local",
        score: str = "auto",
        smooth: str | None = None,
        method: str = "auto",
        symmetric: bool = True,
        grid: Sequence[int] | None = None,
        memory_limit: int | None = None,
        layout: str | None = None,
        skip_tokens: int | None = None,
        baseline: CellBaseline = 0.0,
    ) -> None:
        smooth = None if smooth is None else check_choice("smooth", smooth, tuple(SMOOTH))
        super().__init__(
            model, layer, baseline=baseline, layout=layout, grid=grid, skip_tokens=skip_tokens, smooth=smooth
        )
        self.order = check_integer("order", order, 1, MAX_ORDER)
        self.scope = check_choice("scope", scope, SCOPES)
        self.score = check_choice("score", score, SCORES)
        self.method = check_choice("method", method, METHODS)
        if method != "auto" and self.order != 2:
            raise bad_argument("method", f'"auto" at order {self.order}', repr(method))
        self.symmetric = bool(symmetric)
        self.memory_limit = memory_limit

    def _found(self, cut: Cut) -> dict[str, Any]:
        sums = self._sums(cut)
        found: dict[str, Any] = {"remedy": remedy(self.smooth), "scope": self.scope, "symmetric": self.symmetric}
        share = _rank_one_share(sums) if self.order == 2 else None
        if self.order == 2:
            sums = sums * (1 - torch.eye(cut.positions, dtype=sums.dtype, device=sums.device))
        if self.order > 1 and not bool(sums.any()):
            with contextlib.suppress(UnsupportedOperation):  # nothing is known of the score then
                plan_bilinear_form(cut.function, cut.output, 1)
        if self.order > 1:
            sums = self._above_rounding(cut, sums, cut.scores)
        saliency = _saliency(sums, self.symmetric)
        flat = (saliency.flatten(1) == 0).all(1)
        found["facts"] = {} if self.order == 1 else {"zero_curvature": flat}
        found["rank_one_share"] = None if share is None else share.where(~flat, 0)
        evaluations = torch.ones_like(flat, dtype=torch.int64)
        return {**found, "attributions": saliency, "sums": sums, "evaluations": evaluations}

    def _sums(self, cut: Cut) -> Tensor:
        """Compute S directed, x at the first index: (B, n, ..., n); of order 2 with its diagonal."""
        x, ones = _directions(cut, self.scope)
        if self.order == 1:
            return (x * _gradient(cut).unsqueeze(1)).flatten(2).sum(2)  # Eq. 3
        if self.order == 2:
            limit = self.memory_limit
            return bilinear_form(cut.function, cut.output, x, ones, method=self.method, memory_limit=limit)
        return self._higher(cut, torch.cat((x, ones), 1))

    def _above_rounding(self, cut: Cut, sums: Tensor, scores: Tensor) -> Tensor:
        """Set to zero what is rounding: next to an item's largest sum, or all sums of an item that has none."""
        eps, every = torch.finfo(sums.dtype).eps, [1] * self.order
        largest = sums.abs().flatten(1).amax(1)
        sums = sums.where(sums.abs() > 128 * eps * largest.reshape(-1, *every), 0)
        tokens = cut.axes.tokens(cut.output)
        unit = tokens.square().mean((1, 2)).sqrt() ** (self.order - 1)
        tiny = largest * unit <= eps**0.5 * scores.abs().clamp(min=1)
        if not bool(tiny.any()):
            return sums
        # An item has none where norms make the score constant along the x, or the ones, of each cell: then its gradient
        # along them vanishes too, which tells rounding from interactions that are weak.
        slopes = cut.axes.tokens(_gradient(cut))
        carried = slopes if self.scope == "local" else slopes.sum(1, keepdim=True)
        scaled, shifted = (
            tiny & (term.sum(2).abs() <= 1024 * eps * term.abs().sum(2)).all(1)
            for term in (_front(cut) * carried, slopes)
        )
        reached = slopes.any(2).sum(1)  # cells that have a gradient at all
        none = (scaled | shifted) & (reached > 0)
        if bool(none.any()):
            self._tell_constant(bool(shifted[none].all()), bool((reached[none] < 2).all()))
        return sums.where(~none.reshape(-1, *every), 0)

    def _tell_constant(self, shifted: bool, one_cell: bool) -> None:
        cause = (
            "a LayerNorm takes away what is added to all channels of a cell, LN(x + c) = LN(x)"
            if shifted
            else "a norm divides by what a cell is multiplied by, norm(c x) = norm(x)"
        )
        remedy = "a layer before the last attention" if one_cell else "the output of the norm before an attention"
        tell(
            f"layer: expected one whose cells interact, got {self.layer}, where all sums of an item are zero but for "
            f'rounding (the fact "zero_curvature"): {cause}, as on the residual stream of a pre-norm transformer; '
            f"explain {remedy}, or a layer inside, not at the end of, an attention or MLP branch",
            self.model,
        )

    def _higher(self, cut: Cut, directions: Tensor) -> Tensor:
        n = cut.positions
        chosen = [
            (first, rest)
            for cells in itertools.combinations(range(n), self.order)
            for first in cells
            for rest in [tuple(c for c in cells if c != first)]
        ]
        found = cross_derivatives(
            cut.function,
            cut.output,
            directions,
            [(first, *(n + c for c in rest)) for first, rest in chosen],
            memory_limit=self.memory_limit,
        )
        sums = found.new_zeros(found.shape[0], *[n] * self.order)
        index = torch.tensor([(first, *rest) for first, rest in chosen], device=sums.device)
        for order in itertools.permutations(range(1, self.order)):
            columns = [index[:, 0], *(index[:, i] for i in order)]
            place: Any = (slice(None), *columns)
            sums[place] = found
        return sums


def _directions(cut: Cut, scope: str) -> tuple[Tensor, Tensor]:
    """Build V and U: (B, n, *shape of the output)."""
    tokens = _front(cut)
    batch, n, d = tokens.shape
    eye = torch.eye(n, dtype=tokens.dtype, device=tokens.device)
    ones = eye[None, :, :, None].expand(batch, n, n, d)
    x = tokens[:, None] * eye[None, :, :, None] if scope == "local" else tokens[:, :, None].expand(batch, n, n, d)
    return cut.axes.output(x, cut.output), cut.axes.output(ones, cut.output)


def _front(cut: Cut) -> Tensor:
    """Give what stands in front of the derivatives, x minus the baseline, (B, n, d)."""
    return cut.axes.tokens(cut.output - cut.baseline)


def _rank_one_share(sums: Tensor) -> Tensor:
    """Give the share of the squared Frobenius norm of S (B, n, n) that its best approximation of rank 1 has."""
    scaled = sums / sums.abs().amax((1, 2), keepdim=True)
    squares: Tensor = torch.linalg.svdvals(scaled.nan_to_num()).square()
    return squares[:, 0] / squares.sum(1).clamp(min=1)


def _gradient(cut: Cut) -> Tensor:
    """Compute the gradient of the score, like the output."""
    with torch.enable_grad():
        point = cut.output.detach().requires_grad_()
        score = cut.function(point, *cut.function.inputs).sum()
        (gradient,) = torch.autograd.grad(score, point)
    return gradient


def _saliency(sums: Tensor, symmetric: bool) -> Tensor:
    """Square; with ``symmetric``, sum over which index carries x, into the strict upper triangle."""
    order = sums.ndim - 1
    squares = sums * sums
    if not symmetric or order == 1:
        return squares
    total = squares.clone()
    for first in range(1, order):
        # x at another index; the other indices are interchangeable
        total += squares.transpose(1, 1 + first)
    for axis in range(1, order):
        total.movedim((axis, axis + 1), (-2, -1)).triu_(1)
    return total
