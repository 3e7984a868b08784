"""Does an explanation change when the model forgets what it learned? Randomisation of parameters, layer by layer.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim, "Sanity Checks for Saliency Maps", NeurIPS 2018, section 3; smooth
and efficient: Hedström, Weber, Lapuschkin and Höhne, "Sanity Checks Revisited: An Exploration to Repair the Model
Parameter Randomisation Test", 2024, sections 4.1 and 4.2.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from xai_fast.arguments import check_integer, check_positive
from xai_fast.engine.checks import wrong_model
from xai_fast.engine.draws import MAX_SEED
from xai_fast.engine.layers import hooked
from xai_fast.method import Method
from xai_fast.metrics.complexity import histogram_entropy
from xai_fast.metrics.explained import Explained, MethodCallOptions, only_map
from xai_fast.metrics.results import Array, MetricResult
from xai_fast.metrics.similarity import map_similarity

__all__ = ["ParameterRandomization", "parameter_randomization"]

_COMPARED_AT_ONCE = 2**20
"""Entries of maps that wait for their comparison: of small maps the calls cost more than the arithmetic."""


@dataclass(frozen=True, repr=False, kw_only=True)
class ParameterRandomization(MetricResult):
    """What becomes of the explanation of each item while layers lose their weights, the last layer first.

    Attributes:
        values: (B,) the mean of the similarities.
        layers: the names of the L steps: the layer that is randomised, on top of those before.
        similarities: (B, L) of the map to that of the model as it is; smaller is better.
        last: (B,) the last of them, of the model without any of its weights.
        complexity_rise: (B,) by what share the entropy of the map's histogram is higher without any weights (efficient
            MPRT); larger is better.
    """

    layers: tuple[str, ...]
    similarities: Tensor
    last: Tensor
    complexity_rise: Tensor


def parameter_randomization(
    method: Method[Any],
    inputs: Array,
    *,
    similarity: str = "spearman_of_abs",
    samples: int = 0,
    noise: float = 0.1,
    only_last: bool = False,
    bins: int = 100,
    seed: int = 0,
    **call: Unpack[MethodCallOptions],
) -> ParameterRandomization:
    """Explain a copy of the model whose layers are randomised one after the other, from the last to the first (MPRT).

    The user's model is left as it was. Weights are drawn anew as the layers' ``reset_parameters`` does it; parameters
    of layers without it, or with parts, become normal with their own mean and deviation. The class stays that of the
    model as it is.

    Args:
        method: of a module; it is constructed again for the copy.
        inputs: (B, ...), see `Method.explain`.
        similarity: see `xai_fast.metrics.SIMILARITIES`; the paper's are all three.
        samples: maps are means over so many noisy inputs, the same for every model (smooth MPRT); 0 for none.
        noise: their standard deviation, in units of the range of each input.
        only_last: only the model without any of its weights, all that efficient MPRT needs.
        bins: of the histogram of ``complexity_rise``.
        seed: of weights and noise.
        **call: see `xai_fast.metrics.MethodCallOptions`.

    Returns:
        Similarities and the rise of each item.

    Raises:
        InputError: an argument does not fit, or the model is no module with parameters.
        ModelError: see `Method.explain`.
    """
    samples, noise = check_integer("samples", samples, 0, MAX_SEED), check_positive("noise", noise)
    bins, seed = check_integer("bins", bins, 2), check_integer("seed", seed, 0, MAX_SEED)
    of = Explained(method, inputs, **call)
    evaluations = torch.zeros_like(of.call.item_ids)
    if samples == 0:
        evaluations += of.clean.evaluations
    layers, steps, waiting = [], [], []
    with of.call.context():
        explain = functools.partial(_maps, of, samples, noise, seed, evaluations)
        last = clean = explain(method) if samples else of.maps
        compare = map_similarity(clean, similarity)
        for name, other in _randomized(of, seed, only_last):
            layers.append(name)
            waiting.append(last := explain(other))
            if len(waiting) * last.numel() >= _COMPARED_AT_ONCE:
                steps.append(compare(torch.cat(waiting)))
                waiting.clear()
    if waiting:
        steps.append(compare(torch.cat(waiting)))
    before, after = (histogram_entropy(maps, bins) for maps in (clean, last))
    similarities = torch.cat(steps).view(len(layers), -1).T.contiguous()
    return ParameterRandomization(
        values=similarities.mean(1),
        evaluations=evaluations,
        targets=of.clean.targets,
        layers=tuple(layers),
        similarities=similarities,
        last=similarities[:, -1],
        complexity_rise=(after - before) / before,
    )


def _maps(
    of: Explained,
    samples: int,
    noise: float,
    seed: int,
    evaluations: Tensor,
    method: Method[Any],
) -> Tensor:
    """Explain all items, or the mean over noisy ones, by a method: (B, ...)."""
    if samples == 0:
        found = of.explain_items(method)
        evaluations += found.evaluations
        return only_map(found)
    total, flat = torch.zeros_like(of.maps), of.inputs.flatten(1)
    memory_format = of.call.prepared(fold=False).memory_format
    deviation = (noise * (flat.amax(1) - flat.amin(1))).view(-1, *[1] * (of.inputs.ndim - 1))
    for chunk in of.row_chunks(of.call.batch * samples):
        row = torch.arange(chunk.start, chunk.stop, device=of.call.device)
        item = row.div(samples, rounding_mode="floor")
        rows = of.inputs[item] + deviation[item] * of.noise(item, row % samples, "normal", seed)
        found = of.explain(of.call.formatted(rows, memory_format), item, method=method)
        evaluations.index_add_(0, item, found.evaluations)
        total.index_add_(0, item, only_map(found) / samples)
    return total


def _randomized(of: Explained, seed: int, only_last: bool) -> Iterator[tuple[str, Method[Any]]]:
    """Give the method for one copy of the model that loses its weights step by step, with the layer of each step."""
    model = of.method.model
    if not isinstance(model, nn.Module):
        raise wrong_model("a torch.nn.Module, whose parameters can be randomised", model)
    names = _layers_from_the_top(of, model)
    copied = copy.deepcopy(model)
    other, modules = of.method.with_model(copied), dict(copied.named_modules())
    # What torch itself does for devices that nothing has run on yet takes longer than the draws of a small layer.
    seeded = torch.default_generator if of.call.device.type == "cpu" else torch
    for step, name in enumerate(names):
        with torch.random.fork_rng(), torch.no_grad():
            seeded.manual_seed(seed + step)
            _forget(modules[name])
        if not only_last or name == names[-1]:
            yield name, other


def _forget(module: nn.Module) -> None:
    """Draw the parameters of a layer, without those of its parts, anew."""
    reset = getattr(module, "reset_parameters", None)
    if reset is not None and not module._modules:
        reset()
        return
    for parameter in module.parameters(recurse=False):
        spread = parameter.std(correction=0)
        spread = torch.where(spread > 0, spread, parameter.abs().mean())
        parameter.copy_(parameter.mean() + spread * torch.randn_like(parameter))


def _layers_from_the_top(of: Explained, model: nn.Module) -> list[str]:
    """List the modules that have parameters of their own, those that run last first, by their names."""
    ran: dict[nn.Module, int] = {}

    def note(module: nn.Module, *_: object) -> None:
        ran.setdefault(module, len(ran))

    with hooked(list(model.modules()), note):
        of.call.run(of.call.take(range(1)), of.call.positions(range(1)))
    named = dict(model.named_modules())

    def place(name: str) -> int:
        """A part that is only read, such as a matrix of torch's attention, has the place of what it is in."""
        while name and named[name] not in ran:
            name = name.rpartition(".")[0]
        return ran[named[name]]

    names = [name for name, module in named.items() if next(module.parameters(recurse=False), None) is not None]
    if not names:
        raise wrong_model("a model with parameters", model)
    return sorted(names, key=place)[::-1]
