"""The attribution methods that are compared, and the metric that compares them.

Expected Gradients is captum's GradientShap, the nearest that captum has: it also draws a baseline and a point on the
way to it for each sample, and adds noise only if asked to. SmoothGrad is the mean of the signed gradients, as
published; "SmoothGrad, magnitude" averages their absolute values, which is what captum's NoiseTunnel around Saliency
gives unless it is told otherwise.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from captum.attr import GradientShap, IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor

from benchmarks.measure import products
from benchmarks.quality_suites import Suite
from xai_fast import LRP, NeFLAG
from xai_fast.metrics import gaussian_blur, insertion_deletion, rank_pixels
from xai_fast.relevance import Composite, Gamma, WSquare

__all__ = ["PAPER_METHODS", "RELEVANCE_METHODS", "Maps", "maps", "measure"]

Settings = Mapping[str, object]

_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "probability": lambda logits: logits.softmax(1),
    "logit": lambda logits: logits,
    "log_probability": lambda logits: logits.log_softmax(1),
}
_ROWS = 10

PAPER_METHODS: dict[str, Settings] = {
    "Random": {"method": "random"},
    "Integrated Gradients": {"method": "integrated_gradients", "samples": 50},
    "SmoothGrad": {"method": "smoothgrad", "samples": 50, "noise": 0.15},
    "SmoothGrad, magnitude": {"method": "smoothgrad", "samples": 50, "noise": 0.15, "aggregate": "magnitude"},
    "Expected Gradients (GradientShap)": {"method": "expected_gradients", "samples": 50},
    "NeFLAG-1": {"method": "neflag", "points": 1},
    "NeFLAG-10": {"method": "neflag", "points": 10},
    "NeFLAG-20": {"method": "neflag", "points": 20},
    "NeFLAG-20, magnitude": {"method": "neflag", "points": 20, "aggregate": "magnitude"},
}
"""The rows of the paper's tables, and the two magnitudes. Options that are not named have the method's defaults."""

_COMPOSITES = {"w2_gamma": Composite({"first": WSquare(), "convolution": Gamma(gamma=0.05)})}
_NAMES = (
    "epsilon epsilon_plus epsilon_plus_flat epsilon_gamma_box w2_gamma gamma_by_depth deep_taylor epsilon_alpha2_beta1"
)

RELEVANCE_METHODS: dict[str, Settings] = {
    **{f"LRP, {name}": {"method": "lrp", "composite": name, "low": -1.0, "high": 1.0} for name in _NAMES.split()},
    "SmoothGrad-25": {"method": "smoothgrad", "samples": 25, "noise": 0.15},
    **{name: PAPER_METHODS[name] for name in ("Integrated Gradients", "NeFLAG-20", "Random")},
}
"""The composites of `xai_fast.LRP` on pixels from -1 to 1, and what they are compared with."""


@dataclass(frozen=True)
class Maps:
    """Attributions (B, C, H, W), and the gradients that one item took on average: evaluations, or as many products."""

    attributions: Tensor
    gradients: float


def maps(suite: Suite, settings: Settings) -> Maps:
    """Compute the attributions of a suite's items. Each item has its own random numbers, whatever batch it is in.

    Args:
        suite: classifier and items.
        settings: ``method`` and its options.

    Returns:
        The maps.
    """
    options = dict(settings)
    method = str(options.pop("method"))
    if method == "neflag":
        # Items without negative flux keep a map of zeros; they count as they are.
        result = NeFLAG(suite.model, **options).explain(suite.inputs, target=suite.targets, item_ids=suite.positions)
        return Maps(result.attributions, float(result.evaluations.double().mean()))
    if method == "lrp":
        return _relevance(suite, **options)
    single = functools.partial(_SINGLE[method], suite, **options)
    attributions = []
    for item, position in enumerate(suite.positions):
        with _seeded(position):
            attributions.append(single(suite.inputs[item : item + 1], int(suite.targets[item])).detach())
    return Maps(torch.cat(attributions), 0.0 if method == "random" else float(options["samples"]))


def _relevance(suite: Suite, *, composite: str, **options: float) -> Maps:
    method = LRP(suite.model, composite=_COMPOSITES.get(composite, composite), **options)
    result = method.explain(suite.inputs, target=suite.targets)
    x = suite.inputs[:1].clone().requires_grad_()
    gradient = products(lambda: torch.autograd.grad(suite.model(x).sum(), x))
    relevance = products(lambda: method.explain(suite.inputs[:1], target=suite.targets[:1]))
    return Maps(result.attributions, relevance / gradient)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed both global generators for a while: captum draws noise from torch's and baselines from numpy's."""
    numpy_state = np.random.get_state()  # noqa: NPY002 - captum uses the legacy generator
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002


def _score(suite: Suite, score: str) -> Callable[[Tensor], Tensor]:
    def forward(rows: Tensor) -> Tensor:
        return _SCORES[score](suite.model(rows.contiguous(memory_format=torch.channels_last)))

    return forward


def _random(suite: Suite, x: Tensor, target: int) -> Tensor:
    return torch.rand_like(x[:, :1])


def _integrated_gradients(suite: Suite, x: Tensor, target: int, *, samples: int, score: str = "probability") -> Tensor:
    """Integrate from black, with captum's Gauss-Legendre nodes."""
    black = x.new_tensor(suite.black)[None, :, None, None].expand(x.shape)
    method = IntegratedGradients(_score(suite, score))
    return method.attribute(x, baselines=black, target=target, n_steps=samples, internal_batch_size=_ROWS)


def _smoothgrad(
    suite: Suite,
    x: Tensor,
    target: int,
    *,
    samples: int,
    noise: float,
    score: str = "probability",
    aggregate: str = "signed",
) -> Tensor:
    """Average gradients under noise whose standard deviation is this share of the item's range of values."""
    return NoiseTunnel(Saliency(_score(suite, score))).attribute(
        x,
        nt_samples=samples,
        nt_samples_batch_size=min(_ROWS, samples),
        stdevs=noise * float(x.max() - x.min()),
        target=target,
        abs=aggregate == "magnitude",
    )


def _expected_gradients(suite: Suite, x: Tensor, target: int, *, samples: int, score: str = "probability") -> Tensor:
    """Average over samples in rounds, as captum puts all samples of a call through the model at once."""
    method = GradientShap(_score(suite, score))
    rounds = [
        size * method.attribute(x, baselines=suite.references, n_samples=size, stdevs=0.0, target=target)
        for size in [_ROWS] * (samples // _ROWS) + [samples % _ROWS] * (samples % _ROWS > 0)
    ]
    return torch.stack(rounds).sum(0) / samples


_SINGLE: dict[str, Callable[..., Tensor]] = {
    "random": _random,
    "integrated_gradients": _integrated_gradients,
    "smoothgrad": _smoothgrad,
    "expected_gradients": _expected_gradients,
}


def measure(suite: Suite, attributions: Tensor, *, ranking: str, smooth: float, steps: int) -> dict[str, list[float]]:
    """Measure insertion and deletion, averaged over black and a blur of sigma 20, of the label's probability.

    Args:
        suite: classifier and items.
        attributions: (B, C, H, W).
        ranking: how channels become the importance of a pixel.
        smooth: standard deviation in pixels of a Gaussian over the map of importance; 0 for none.
        steps: of the curves.

    Returns:
        Deletion, insertion and difference of each item.
    """
    importance = rank_pixels(attributions, ranking=ranking).view(-1, 1, *attributions.shape[2:])
    if smooth:
        importance = gaussian_blur(importance, smooth)
    result = insertion_deletion(
        suite.model,
        suite.inputs,
        importance,
        target=suite.targets,
        ranking="signed_sum",
        steps=steps,
        black=suite.black,
    )
    return {name: getattr(result, name).tolist() for name in ("deletion", "insertion", "difference")}
