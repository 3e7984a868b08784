"""The part of a model that comes after one of its layers, as a function of that layer's output."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from xai_fast.engine.layers import Layer, ModelPart, find_layer, first_tensor, hooked, replace_first_tensor
from xai_fast.errors import InputError, bad_argument
from xai_fast.graph.smooth import smoothed

__all__ = ["Downstream", "LayerOutput"]


class Downstream:
    """A model as a function of a layer's output, the model's own inputs held fixed.

    The whole model runs with the layer's output replaced, so residual connections around the layer, modules that are
    used again and outputs of any kind are what they are in the model; what reaches the score on other ways is constant.
    What comes before the layer is computed in vain here, but a trace of this function leaves it out.

    Args:
        model: the model.
        layer: a submodule or its dotted name; "name#k" is the k-th run of a layer that runs several times in a pass,
            counted from 1.
        smooth: None, or activations to swap, see `xai_fast.graph.smooth`.
        keywords: names of the model's last arguments, where these are given by name.
        batch_axis: of the layer's output; outputs here have it in front.

    Attributes:
        name: of the layer, as it was asked for.
        module: the layer.

    Raises:
        InputError: there is no such layer.
    """

    def __init__(
        self,
        model: Callable[..., object],
        layer: Layer,
        smooth: str | None = None,
        *,
        keywords: Sequence[str] = (),
        batch_axis: int = 0,
    ) -> None:
        run = ""
        if isinstance(layer, str) and "#" in layer:
            layer, _, run = layer.rpartition("#")
            if not run.isdecimal() or int(run) < 1:
                raise bad_argument("layer", '"name" or "name#k" with k = 1, 2, ...', repr(f"{layer}#{run}"))
        self.model = getattr(model, "_orig_mod", model)  # what torch.compile has made of a module cannot be traced
        self.name, self.module = find_layer(model, layer)
        self._run = int(run) if run else None
        self.smooth = smooth
        self.keywords = tuple(keywords)
        self.batch_axis = batch_axis
        self.name += f"#{run}" if run else ""

    def __call__(self, output: Tensor, *arguments: object) -> object:
        """Run the model on ``arguments`` with the layer's output replaced."""
        # What comes next may change it in place.
        output = output.movedim(0, self.batch_axis).clone()
        with self._at_layer(lambda value: replace_first_tensor(value, output)), smoothed(self.smooth):
            return self._call_model(arguments)

    def _call_model(self, arguments: Sequence[object]) -> object:
        # Copies: the model may work on them in place, and they are given again.
        given = [value.clone() if isinstance(value, Tensor) else value for value in arguments]
        first = len(given) - len(self.keywords)
        return self.model(*given[:first], **dict(zip(self.keywords, given[first:], strict=True)))

    def split(self, *arguments: object) -> tuple[Tensor, object]:
        """Run the model on its arguments: the layer's output, else an `InputError`, and the model's."""
        seen: list[Tensor] = []

        def keep(value: object) -> object:
            tensor = first_tensor(value, self.name)
            # What comes next may change it in place.
            seen.append(tensor.movedim(self.batch_axis, 0).clone())
            return None

        with self._at_layer(keep), smoothed(self.smooth):
            outputs = self._call_model(arguments)
        return seen[0], outputs

    @contextlib.contextmanager
    def _at_layer(self, change: Callable[[object], object]) -> Iterator[None]:
        """Call ``change`` with the layer's output, and put what it returns in its place."""
        runs = 0

        def hook(module: nn.Module, inputs: object, output: object) -> object:
            nonlocal runs
            runs += 1
            return change(output) if runs == (self._run or 1) else None

        with hooked([self.module], hook):
            yield
        if self._run is None and runs > 1:
            raise bad_argument(
                "layer", f'one run in a pass; "{self.name}#1" to "{self.name}#{runs}" name one', f"{runs} runs"
            )
        if runs < (self._run or 1):
            raise bad_argument("layer", "a layer that runs in a pass through the model", f"{self.name}, {runs} runs")


class LayerOutput(ModelPart):
    """A model as the function whose value is a layer's output; a trace leaves out what comes after the layer.

    Args:
        model: the model.
        layer: a submodule or its dotted name, or "name#k", as for `Downstream`.

    Raises:
        InputError: there is no such layer.
    """

    def __init__(self, model: Callable[..., object], layer: Layer) -> None:
        super().__init__(model)
        self.layer = Downstream(model, layer).name

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Run the model."""
        return Downstream(self.model, self.layer, keywords=tuple(named)).split(*inputs, *named.values())[0]


def check_cut(output: Tensor, batch: int, name: str) -> Tensor:
    """Check that a layer's output has a row per item; the error says which tensor crosses the cut."""
    if output.dtype in (torch.float16, torch.bfloat16):
        raise InputError(
            f"layer: expected an output in float32 or float64, got {output.dtype}; model.float() gives one"
        )
    if output.ndim < 2 or output.shape[0] != batch or not output.is_floating_point():
        raise InputError(
            f"layer: expected a floating-point output (B, ...) with B = {batch}, got {output.dtype} "
            f"{tuple(output.shape)} crossing the cut behind {name}"
        )
    return output
