"""Which axes of a layer's output are positions and which are channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_integer
from xai_fast.engine.call import Call
from xai_fast.engine.layers import first_tensor, hooked
from xai_fast.errors import bad_argument

__all__ = ["LAYOUTS", "POSITIONS", "LayerAxes", "MapAxes", "find_axes", "token_axes"]

POSITIONS = {"channels_first": slice(2, None), "channels_last": slice(1, -1), "sequence_first": slice(0, 1)}
"""The axes of positions by layout: (B, C, ...positions), (B, ...positions, C), and (n, B, C)."""
LAYOUTS = tuple(POSITIONS)

_FIRST = (
    nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.Upsample, nn.PixelShuffle,
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)  # fmt: skip
_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention, nn.modules.rnn.RNNBase)
_MOST_SKIPPED = 8


@dataclass(frozen=True)
class MapAxes:
    """How a layer's output is read as n positions of C channels.

    Attributes:
        layout: one of `LAYOUTS`.
        grid: sizes of the axes of positions; for tokens that stand for the cells of a picture, those of its grid.
        skip: tokens at the beginning that stand for no position, such as a class token.
    """

    layout: str
    grid: tuple[int, ...]
    skip: int = 0

    def tokens(self, output: Tensor) -> Tensor:
        """Read a layer's output as (B, n, C)."""
        if self.layout == "sequence_first":
            output = output.transpose(0, 1)
        elif self.layout == "channels_first":
            output = output.movedim(1, -1)
        return output.flatten(1, -2)[:, self.skip :]

    def output(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Undo `tokens` for values (..., n, C) of one item: (..., *the item's shape in the layer's output)."""
        channels = tokens.shape[-1]
        if self.skip:
            tokens = nn.functional.pad(tokens, (0, 0, self.skip, 0))
        if self.layout != "channels_first":
            sizes = (like.shape[0],) if self.layout == "sequence_first" else like.shape[1:-1]
            return tokens.reshape(*tokens.shape[:-2], *sizes, channels)
        rows = tokens.transpose(-1, -2)
        return rows.reshape(*rows.shape[:-1], *like.shape[2:])


class LayerAxes:
    """Finds the axes of one layer's output, once for inputs of a shape; arguments as for `find_axes`."""

    def __init__(
        self, module: nn.Module, layout: str | None, grid: Sequence[int] | None, skip_tokens: int | None
    ) -> None:
        self._module = module
        self._options = {"layout": layout, "grid": grid, "skip_tokens": skip_tokens}
        self._found: dict[tuple[tuple[int, ...], ...], MapAxes] = {}

    def of(self, call: Call) -> MapAxes:
        """Give the axes for the items of a call, in whose context this runs."""
        shapes = tuple(tuple(value.shape[1:]) for value in call.values)
        if shapes not in self._found:
            chunk = next(call.chunks())
            self._found[shapes] = find_axes(
                self._module,
                lambda: call.run(call.take(chunk), call.positions(chunk)),
                len(chunk),
                model=call.model,
                picture=shapes[0][1:] if len(shapes[0]) == 3 else None,
                **self._options,  # type: ignore[arg-type]  # mypy has one type for all values
            )
        return self._found[shapes]


def find_axes(
    module: nn.Module,
    run: Callable[[], object],
    batch: int,
    *,
    model: Callable[..., object],
    layout: str | None,
    grid: Sequence[int] | None,
    skip_tokens: int | None,
    picture: Sequence[int] | None,
) -> MapAxes:
    """Return the axes of a layer's output, from the modules that made it.

    Convolutions, batch norms and pools put channels first, Linear, LayerNorm and attention last; the last of them that
    ran before the output was there decides, if the size of its channels fits. What stays ambiguous is refused: an
    `InputError` has the choices.

    Given are the layer, a function that runs the model once on ``batch`` items without a graph, and what of `MapAxes`
    is known, None to find out. ``picture`` is (H, W) of the model's input where it is a picture: tokens that are as
    many as its patches, but for up to eight in front, are its cells.
    """
    shape, makers = _watched(model, module, run)
    if layout is None:
        layout = _layout(shape, makers, module, batch)
    sizes = shape[POSITIONS[layout]]
    if len(sizes) != 1:
        if grid is not None and tuple(grid) != tuple(sizes):
            raise bad_argument("grid", f"{tuple(sizes)}, that of the layer's map", str(tuple(grid)))
        return MapAxes(layout, tuple(sizes))
    return token_axes(sizes[0], layout, grid=grid, skip_tokens=skip_tokens, picture=picture)


def token_axes(
    n: int,
    layout: str = "channels_last",
    *,
    grid: Sequence[int] | None,
    skip_tokens: int | None,
    picture: Sequence[int] | None,
    given: int | None = None,
) -> MapAxes:
    """Find the grid of n tokens, of which ``given`` are inputs; other arguments and errors are those of `find_axes`."""
    if skip_tokens is None and grid is None and given is not None and 0 <= n - given <= _MOST_SKIPPED:
        skip_tokens = n - given
    if grid is not None:
        skip = skip_tokens or 0
        if math.prod(grid) + skip != n:
            beside = f" beside skip_tokens={skip}" if skip else ""
            raise bad_argument("grid", f"{n - skip} positions{beside}", str(tuple(grid)))
        return MapAxes(layout, tuple(grid), skip)
    found = None if layout == "channels_first" else _patches(n, skip_tokens, picture)
    if found is not None:
        return MapAxes(layout, found, n - math.prod(found))
    skip = check_integer("skip_tokens", skip_tokens or 0, 0, n - 1)
    return MapAxes(layout, (n - skip,), skip)


def _patches(n: int, skip: int | None, picture: Sequence[int] | None) -> tuple[int, ...] | None:
    """Find the grid of a picture's square patches that leaves one choice."""
    if picture is None or len(picture) != 2:
        return None
    height, width = picture
    sides = [p for p in range(2, min(height, width)) if height % p == 0 and width % p == 0]
    grids = [(height // p, width // p) for p in sides]
    over = range(_MOST_SKIPPED + 1) if skip is None else (skip,)
    fitting = [grid for grid in grids if n - math.prod(grid) in over and math.prod(grid) > 1]
    return fitting[0] if len(fitting) == 1 else None


def _watched(
    model: Callable[..., object], module: nn.Module, run: Callable[[], object]
) -> tuple[tuple[int, ...], list[nn.Module]]:
    """Run the model; give the shape of the layer's output, and the modules of known kind that ran up to it."""
    ran: list[nn.Module] = []
    shapes: list[tuple[int, ...]] = []

    def note(one: nn.Module, _inputs: object, output: object) -> None:
        if one is module:
            shapes.append(tuple(first_tensor(output, type(module).__name__).shape))
        if not shapes or one is module:
            ran.append(one)

    # Subclasses of LayerNorm are there to normalise other axes.
    known = [m for m in _modules(model) if isinstance(m, _FIRST + _LAST)]
    known = [m for m in known if not isinstance(m, nn.LayerNorm) or type(m) is nn.LayerNorm]
    watched = known if module in known else [module, *known]
    with torch.no_grad(), hooked(watched, note):
        run()
    if not shapes:
        raise bad_argument("layer", "a layer that runs in a pass through the model", "one that does not")
    return shapes[0], [m for m in ran if m in known]


def _modules(model: Callable[..., object]) -> list[nn.Module]:
    return list(model.modules()) if isinstance(model, nn.Module) else []


def _layout(shape: tuple[int, ...], makers: Sequence[nn.Module], module: nn.Module, batch: int) -> str:
    if len(shape) < 3 or len(shape) > 5 or batch not in shape[:2]:
        expected = "a layer whose output is a map (B, C, ...), (B, ..., C) or tokens (B, n, d)"
        raise bad_argument("layer", expected, f"{shape} for {batch} items")
    sequence = len(shape) == 3 and any(getattr(m, "batch_first", None) is False for m in module.modules())
    if shape[0] != batch or (sequence and shape[1] == batch):
        return "sequence_first"
    inside = {isinstance(maker, _FIRST) for maker in makers if any(maker is part for part in module.modules())}
    for maker in reversed(makers):
        channels, first = _channels(maker), isinstance(maker, _FIRST)
        if len(inside) == 2 and channels == shape[1] == shape[-1]:
            break  # a layer that moves channels within, such as a block of ConvNeXt, may move them back at its end
        if channels is None or channels == shape[1 if first else -1]:
            return "channels_first" if first else "channels_last"
    if len(shape) == 3 and len(inside) < 2:
        return "channels_last"  # tokens are what a tensor of three axes is where nothing else is known
    raise bad_argument("layout", f"one of {', '.join(LAYOUTS[:2])} for the layer's output {shape}", "None")


def _channels(maker: nn.Module) -> int | None:
    """Give the number of channels that a module puts out, where it has one."""
    for name in ("out_channels", "num_features", "num_channels", "out_features", "embedding_dim", "embed_dim"):
        value = getattr(maker, name, None)
        if isinstance(value, int):
            return value
    if isinstance(maker, nn.modules.rnn.RNNBase):
        return (maker.proj_size or maker.hidden_size) * (2 if maker.bidirectional else 1)
    shape = getattr(maker, "normalized_shape", None)
    return int(shape[-1]) if shape is not None else None
