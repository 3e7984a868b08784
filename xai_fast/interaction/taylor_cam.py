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

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.call import check_eval_mode, check_inputs, frozen_parameters
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES, Objective, Target
from xai_fast.errors import InputError, ModelError, ZeroCurvatureError, bad_argument
from xai_fast.interaction.geometry import CellGeometry
from xai_fast.interaction.interaction_map import InteractionMap, joined
from xai_fast.interaction.receptive_field import cell_geometry
from xai_fast.taylor import METHODS, Function, bilinear_form, cross_derivatives
from xai_fast.graph.cut import Downstream, check_cut
from xai_fast.graph.smooth import SMOOTH, remedy

__all__ = ["SCOPES", "TaylorCAM"]

SCOPES = ("local", "global")
MAX_ORDER = 4
# Directions are written out: as many numbers an item as the map has, for each of its positions, twice.
_DIRECTION_ENTRIES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class _Cut:
    """A batch, cut at the layer: the layer's output (B, n, d) or (B, d, h, w), the grid of its positions, the rest."""

    output: Tensor
    grid: tuple[int, ...]
    function: Function

    @property
    def positions(self) -> int:
        return math.prod(self.grid)


class TaylorCAM:
    """Interactions between the positions of a feature map, from exact derivatives of what comes after it.

    The result for an item depends on the item and the model, never on the batch that it comes in.

    Args:
        model: a module in evaluation mode.
        layer: whose output is the feature map, (B, d, h, w), or tokens (B, n, d): a submodule or its dotted name;
            "name#k" is the k-th run of a layer that runs several times. A layer whose output is a tuple stands for the
            tuple's first tensor.
        order: how many positions act together: 1, 2, 3 or 4.
        scope: "local" or "global", see above.
        score: F: "probability", "log_probability" or "logit" of the target.
        smooth: "gelu" or "softplus" to explain the network with these in the place of its ReLUs, which have no
            curvature; None to explain it as it is. The model itself is not changed. The result says what was done.
        method: of order 2: "auto", "forward", "reverse" or "hvp", see `xai_fast.taylor.bilinear_form`. Only "auto" for
            other orders.
        symmetric: add the interactions of the same positions, whichever carries x, and keep each set once; else keep
            them directed, x at the first position.
        grid: (h, w) of the positions where the layer's output is (B, n, d); None for (n,).
        memory_limit: in bytes, for the derivatives; None for half of what is free.

    Raises:
        InputError: an option is out of range, or there is no such layer.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: Layer,
        *,
        order: int = 2,
        scope: str = "local",
        score: str = "probability",
        smooth: str | None = None,
        method: str = "auto",
        symmetric: bool = True,
        grid: Sequence[int] | None = None,
        memory_limit: int | None = None,
    ) -> None:
        check_choice("scope", scope, SCOPES)
        check_choice("score", score, SCORES)
        check_choice("method", method, METHODS)
        if smooth is not None:
            check_choice("smooth", smooth, tuple(SMOOTH))
        self.order = check_integer("order", order, 1, MAX_ORDER)
        if method != "auto" and self.order != 2:
            raise bad_argument("method", f'"auto" at order {self.order}', repr(method))
        self.model = model
        self.scope = scope
        self.score = score
        self.smooth = smooth
        self.method = method
        self.symmetric = bool(symmetric)
        self.grid = None if grid is None else tuple(check_integer("grid", size, 1) for size in grid)
        self.memory_limit = memory_limit
        self._downstream = Downstream(model, layer, smooth)
        self._traced: Function | None = None
        self._traced_for: object = None
        self._geometry: dict[tuple[int, ...], CellGeometry | None] = {}

    @property
    def settings(self) -> dict[str, object]:
        """The options of the method, by name."""
        return {
            "method": "Taylor-CAM",
            "layer": self._downstream.name,
            "order": self.order,
            "scope": self.scope,
            "score": self.score,
            "smooth": self.smooth,
            "symmetric": self.symmetric,
        }

    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        internal_batch_size: int | None = None,
        forward_pass: tuple[Tensor, Tensor] | None = None,
    ) -> InteractionMap:
        """Compute the interactions of a batch.

        Args:
            inputs: (B, ...) or a tuple of them, float32, float64, or integers such as tokens.
            target: None for the predicted class, an int, a list or tensor (B,), or a callable on the outputs.
            additional_forward_args: further arguments of the model; tensors whose first dimension is B hold a row an
                item.
            internal_batch_size: items at once; None to choose.
            forward_pass: the layer's output and the model's, each with a row an item, where these inputs went through
                the model already (and ``smooth`` is None); None to run it.

        Returns:
            The interactions: ``saliency`` (B, n, ..., n), ``order`` times n.

        Raises:
            InputError: an argument does not fit, or the layer's output does not.
            ModelError: the model is in training mode or cannot be traced.
            UnsupportedOperation: an operation behind the layer has no rule; ``method="hvp"`` works with any.
            ZeroCurvatureError: all interactions are zero; the message says what to do.
        """
        values = check_inputs(inputs, integers=True)
        check_eval_mode(self.model)
        batch = values[0].shape[0]
        if batch == 0:
            raise bad_argument("inputs", "at least one item", "none")
        Objective(target, self.score)
        extras = _as_tuple(additional_forward_args)
        size = self._items_at_once(values, internal_batch_size)
        geometry = self._geometry_of(values, extras)
        self._check_pass(forward_pass, batch)
        parts = []
        for start in range(0, batch, size):
            rows = slice(start, min(start + size, batch))
            arguments = tuple(_rows(v, rows, batch) for v in (*values, *extras))
            classes = _target_rows(target, rows, batch)
            given = None if forward_pass is None else (forward_pass[0][rows], forward_pass[1][rows])
            parts.append(self._explain(arguments, classes, rows.stop - rows.start, geometry, given))
        result = joined(parts)
        self._check_curvature(result)
        return result

    def _items_at_once(self, values: tuple[Tensor, ...], internal_batch_size: int | None) -> int:
        if internal_batch_size is not None:
            return check_integer("internal_batch_size", internal_batch_size, 1)
        return 32

    def _check_pass(self, forward_pass: tuple[Tensor, Tensor] | None, batch: int) -> None:
        if forward_pass is None:
            return
        if self.smooth is not None:
            raise bad_argument("forward_pass", f"None with smooth={self.smooth!r}, which changes it", "one")
        if any(len(value) != batch for value in forward_pass):
            raise bad_argument("forward_pass", f"{batch} rows each", str([len(value) for value in forward_pass]))

    def _explain(
        self,
        arguments: tuple[object, ...],
        target: Target,
        batch: int,
        geometry: CellGeometry | None,
        given: tuple[Tensor, Tensor] | None,
    ) -> InteractionMap:
        with frozen_parameters(self.model):
            cut, classes, scores = self._cut(arguments, target, batch, given)
            sums = self._sums(cut)
        saliency = _saliency(sums, self.symmetric)
        return InteractionMap(
            saliency=saliency,
            grid=cut.grid,
            scores=scores,
            layer=self._downstream.name,
            scope=self.scope,
            symmetric=self.symmetric,
            targets=classes,
            sums=sums,
            remedy=remedy(self.smooth),
            geometry=geometry,
        )

    def _cut(
        self, arguments: tuple[object, ...], target: Target, batch: int, given: tuple[Tensor, Tensor] | None
    ) -> tuple[_Cut, Tensor | None, Tensor]:
        objective = Objective(target, self.score)
        with torch.no_grad():
            output, outputs = self._downstream.split(*arguments) if given is None else given
            check_cut(output, batch, self._downstream.name)
            classes = objective.targets(outputs, start=0, batch=batch)
            scores = objective(outputs, classes)
        if not torch.isfinite(scores).all():
            position = int((~torch.isfinite(scores)).nonzero()[0])
            raise ModelError(f"model: expected finite scores, got {float(scores[position])} for item {position}")
        per_item = [isinstance(a, Tensor) and a.ndim > 0 and a.shape[0] == batch for a in arguments]
        extras = tuple(a for a, rows in zip(arguments, per_item, strict=True) if rows and isinstance(a, Tensor))
        fixed = {i: a for i, (a, rows) in enumerate(zip(arguments, per_item, strict=True)) if not rows}
        function = Function(self._downstream, objective, extras, fixed, classes)
        key = (
            tuple(output.shape[1:]),
            tuple((tuple(e.shape[1:]), e.dtype) for e in extras),
            tuple((i, id(a)) for i, a in fixed.items()),
            id(target) if callable(target) else None,
            tuple((id(p), p._version) for p in itertools.chain(self.model.parameters(), self.model.buffers())),
        )
        if self._traced is not None and self._traced_for == key:
            function.adopt(self._traced)
        self._traced, self._traced_for = function, key
        return _Cut(output, self._grid_of(output), function), classes, scores

    def _grid_of(self, output: Tensor) -> tuple[int, ...]:
        if output.ndim == 4:
            return tuple(output.shape[2:])
        if output.ndim != 3:
            raise bad_argument("layer", "an output (B, d, h, w) or (B, n, d)", str(tuple(output.shape)))
        if self.grid is None:
            return (output.shape[1],)
        if math.prod(self.grid) != output.shape[1]:
            raise bad_argument("grid", f"{output.shape[1]} positions", str(self.grid))
        return self.grid

    def _sums(self, cut: _Cut) -> Tensor:
        """Compute S directed, x at the first index: (B, n, ..., n)."""
        x, ones = _directions(cut.output, self.scope)
        if self.order == 1:
            return _first_order(cut, x)
        if self.order == 2:
            sums = bilinear_form(cut.function, cut.output, x, ones, method=self.method, memory_limit=self.memory_limit)
            return sums * (1 - torch.eye(cut.positions, dtype=sums.dtype, device=sums.device))
        return self._higher(cut, torch.cat((x, ones), 1))

    def _higher(self, cut: _Cut, directions: Tensor) -> Tensor:
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

    def _geometry_of(self, values: tuple[Tensor, ...], extras: tuple[object, ...]) -> CellGeometry | None:
        """Find where the cells lie in the image; None, with a warning, where that cannot be followed."""
        shape = tuple(values[0].shape[1:])
        if len(shape) != 3 or "#" in self._downstream.name:
            return None
        if shape not in self._geometry:
            try:
                self._geometry[shape] = cell_geometry(self.model, self._downstream.name, values, extras)
            except (ModelError, InputError) as error:
                warnings.warn(f"no boxes in the image: {error}", UserWarning, stacklevel=4)
                self._geometry[shape] = None
        return self._geometry[shape]

    def _check_curvature(self, result: InteractionMap) -> None:
        if self.order == 1:
            return
        empty = (result.saliency.flatten(1) == 0).all(1)
        if bool(empty.all()):
            raise ZeroCurvatureError(
                f"model: expected interactions at {self._downstream.name}, got zero for every set of them; explain "
                'score="probability" or "log_probability" instead of a logit, or pass smooth="gelu" or "softplus"'
            )
        if bool(empty.any()):
            positions = empty.nonzero().flatten().tolist()
            warnings.warn(
                f"all interactions of the items {positions} are zero: their scores are saturated, or no path behind "
                "the layer bends",
                UserWarning,
                stacklevel=3,
            )


def _as_tuple(values: object) -> tuple[object, ...]:
    if values is None:
        return ()
    if isinstance(values, list):
        raise bad_argument("additional_forward_args", "a tensor, another single value, or a tuple", "a list")
    return values if isinstance(values, tuple) else (values,)


def _rows(value: object, rows: slice, batch: int) -> object:
    per_item = isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == batch
    return value[rows] if per_item else value  # type: ignore[index]


def _target_rows(target: Target, rows: slice, batch: int) -> Target:
    if target is None or callable(target) or isinstance(target, int):
        return target
    classes = torch.as_tensor(target)
    if classes.ndim == 0:
        return classes
    if classes.shape[0] != batch:
        raise bad_argument("target", f"one class an item, so {batch}", f"{classes.shape[0]} classes")
    return classes[rows]


def _directions(output: Tensor, scope: str) -> tuple[Tensor, Tensor]:
    """Build V and U: (B, n, *shape of the output)."""
    spatial = output.ndim == 4
    tokens = output.flatten(2).transpose(1, 2) if spatial else output  # (B, n, d)
    batch, n, d = tokens.shape
    eye = torch.eye(n, dtype=output.dtype, device=output.device)
    ones = eye[None, :, :, None].expand(batch, n, n, d)
    x = tokens[:, None] * eye[None, :, :, None] if scope == "local" else tokens[:, :, None].expand(batch, n, n, d)
    if spatial:
        shape = (batch, n, d, *output.shape[2:])
        x, ones = (v.transpose(2, 3).reshape(shape) for v in (x, ones))
    return x, ones


def _first_order(cut: _Cut, x: Tensor) -> Tensor:
    """Compute Eq. 3: the derivative along each direction."""
    with torch.enable_grad():
        point = cut.output.detach().requires_grad_()
        score = cut.function(point, *cut.function.inputs).sum()
        (gradient,) = torch.autograd.grad(score, point)
    return (x * gradient.unsqueeze(1)).flatten(2).sum(2)


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
    n = sums.shape[1]
    index = torch.arange(n, device=sums.device)
    mask = torch.ones([n] * order, dtype=torch.bool, device=sums.device)
    for axis in range(order - 1):
        shape = [1] * order
        shape[axis], shape[axis + 1] = n, n
        mask &= (index[:, None] < index[None, :]).reshape(shape)
    return total * mask
