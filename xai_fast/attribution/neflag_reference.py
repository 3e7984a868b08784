"""NeFLAG as the paper prints it: a loop over items, points and steps. The definition that the fast path must equal.

Li et al., "Negative Flux Aggregation to Estimate Feature Attributions", IJCAI 2023, Algorithm 1 and Eq. 5 to 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai_fast.engine.objective import Objective, Target
from xai_fast.kernels.random_points.reference import normals, uniforms

__all__ = ["neflag_reference"]


def neflag_reference(
    model: Callable[..., object],
    inputs: Tensor,
    *,
    target: Target = None,
    radius: float = 0.1,
    points: int = 10,
    max_steps: int = 20,
    start: str = "sphere",
    step: str = "sign",
    score: str = "probability",
    seed: int = 0,
    aggregate: str = "signed",
    item_ids: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Explain a batch, one item, one point and one step at a time.

    Args:
        model: in evaluation mode.
        inputs: (B, ...).
        target: as in `xai_fast.engine.objective.Objective`.
        radius: of the sphere, in the model's input units.
        points: flux points per item (n in the paper).
        max_steps: steps per point at most (m in the paper).
        start: "sphere", points begin on the L2 sphere (Algorithm 1), or "box", every entry by itself within the radius.
        step: "sign" (Algorithm 1), "normalized" (Eq. 7) or "tangent" (Eq. 8).
        score: "probability", "logit" or "log_probability".
        seed: of the random points.
        aggregate: "signed" sums the flux, "magnitude" its absolute value.
        item_ids: identity of each item for the random points; its position by default.

    Returns:
        Attributions like the inputs, their standard error (infinite below two negative points), and the number of
        negative points (B,).
    """
    objective = Objective(target, score)
    ids = list(range(len(inputs))) if item_ids is None else list(item_ids)
    maps, errors, counts = [], [], []
    for i in range(len(inputs)):
        x = inputs[i : i + 1].detach()
        with torch.no_grad():
            classes = objective.targets(model(x), start=i, batch=len(inputs))

        def f(at: Tensor, classes: Tensor | None = classes) -> Tensor:
            total: Tensor = objective(model(at), classes).sum()
            return total

        def gradient(at: Tensor) -> Tensor:
            at = at.detach().requires_grad_()
            return torch.autograd.grad(f(at), at)[0]

        with torch.no_grad():
            f_x = f(x)
        fluxes = []
        for k in range(points):
            draw = normals if start == "sphere" else uniforms
            z = draw(torch.tensor([ids[i]]), torch.tensor([k]), x.numel(), seed).reshape(x.shape)
            near = x + (radius * (z / z.norm() if start == "sphere" else z)).to(x)
            for _ in range(max_steps):
                near = _step(step, x, near, gradient(near), radius)
                with torch.no_grad():
                    negative = bool(f(near) < f_x)  # Eq. 6
                if negative:
                    flux = gradient(near) * (x - near)
                    fluxes.append(flux if aggregate == "signed" else flux.abs())
                    break
        n = len(fluxes)
        stack = torch.cat(fluxes) if n else torch.zeros_like(x)
        maps.append(stack.mean(0))
        errors.append(stack.std(0) / n**0.5 if n > 1 else torch.full_like(x[0], torch.inf))
        counts.append(n)
    return torch.stack(maps), torch.stack(errors), torch.tensor(counts)


def _step(rule: str, x: Tensor, near: Tensor, F: Tensor, radius: float) -> Tensor:
    if rule == "sign":
        return x - radius * torch.sign(F)
    if rule == "normalized":
        return near if float(F.norm()) == 0.0 else x - radius * (F / F.norm())
    outward = (near - x) / (near - x).norm()
    tangent = F - (F * outward).sum() * outward
    if float(tangent.norm()) <= {torch.float32: 1e-3, torch.float64: 1e-7}[x.dtype] * float(F.norm()):
        return near  # a stationary point of the sphere
    moved = near - radius * (tangent / tangent.norm())
    direction: Tensor = (moved - x) / (moved - x).norm()
    return x + radius * direction
