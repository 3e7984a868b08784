"""Forward passes that the explainers of a chunk share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from xai_fast.engine.checks import check_eval_mode
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.layers import capture_output
from xai_fast.engine.layout import preferred_memory_format
from xai_fast.engine.objective import Objective
from xai_fast.errors import ModelError
from xai_fast.jobs.explainers.base import Chunk

__all__ = ["LayerPass", "layer_pass"]


@dataclass
class LayerPass:
    """One pass of a chunk through the model, with a graph from a layer to the output.

    Attributes:
        layer: the dotted name.
        activation: (B, ...) the layer's output.
        outputs: the model's.
        batch: B.
        seconds: spent in the model so far, forward and backward; None where only a GPU knows.
    """

    layer: str
    activation: Tensor
    outputs: object
    batch: int
    seconds: float | None
    _gradients: dict[str, tuple[Tensor, Tensor | None, Tensor]] = field(default_factory=dict)

    def gradient(self, objective: Objective) -> tuple[Tensor, Tensor | None, Tensor]:
        """Compute the scores and their gradient with respect to the layer's output, once for each kind of score.

        Args:
            objective: the score; the target is the chunk's.

        Returns:
            (B,) scores, (B,) classes or None, and the gradient like the activation.

        Raises:
            ModelError: the score does not depend on the layer.
        """
        if objective.score not in self._gradients:
            with torch.no_grad():
                classes = objective.targets(self.outputs, start=0, batch=self.batch)
            started = time.perf_counter()
            with torch.inference_mode(False), torch.enable_grad():
                scores = objective(self.outputs, classes)
                found = None
                if scores.requires_grad:
                    (found,) = torch.autograd.grad(scores.sum(), self.activation, allow_unused=True, retain_graph=True)
            if found is None:
                raise ModelError(
                    f"model: expected a score that depends differentiably on {self.layer}, got one that does not"
                )
            self._gradients[objective.score] = scores.detach(), classes, found
            if self.seconds is not None:
                self.seconds += time.perf_counter() - started
        return self._gradients[objective.score]


def layer_pass(chunk: Chunk, model: nn.Module, layer: str) -> tuple[LayerPass, bool]:
    """Run the model on a chunk, unless another explainer of the chunk did so for the same layer.

    Args:
        chunk: whose passes are remembered.
        model: in evaluation mode.
        layer: a dotted name.

    Returns:
        The pass, and whether it was new.

    Raises:
        InputError: the layer runs more than once, or gives something else than a tensor.
        ModelError: the model is in training mode.
    """
    found = chunk.passes.get(layer)
    if isinstance(found, LayerPass):
        return found, False
    check_eval_mode(model)
    x = chunk.inputs.detach()
    if x.ndim == 4:
        x = x.contiguous(memory_format=preferred_memory_format(model, x.device, "fp32"))
    started = time.perf_counter()
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        frozen_parameters(model),
        capture_output(model, layer, cut=True) as captured,
    ):
        # A copy, so that a model that works in place does not reach the inputs of the other explainers.
        outputs = model(x.clone())
    seconds = time.perf_counter() - started if x.device.type == "cpu" else None
    made = LayerPass(layer, captured.tensor, outputs, len(x), seconds)
    chunk.passes[layer] = made
    return made, True
