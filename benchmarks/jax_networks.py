"""Feed-forward networks in JAX, whose compiled derivatives ours are timed against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["jitted"]


def jitted(
    jax: Any, network: nn.Sequential, x: Tensor, differentiate: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
) -> Callable[[], Any]:
    """Compile a derivative of a network's first output at every item.

    Args:
        jax: the module.
        network: linear layers with GELU in between.
        x: (B, D) items.
        differentiate: from a scalar function of one item to what is computed of it, such as ``jax.hessian``.

    Returns:
        A function without arguments that waits for the result.
    """
    weights = [
        (jax.numpy.array(layer.weight.numpy()), jax.numpy.array(layer.bias.numpy()))
        for layer in network
        if isinstance(layer, nn.Linear)
    ]

    def score(v: Any) -> Any:
        for i, (weight, bias) in enumerate(weights):
            v = weight @ v + bias
            v = jax.nn.gelu(v, approximate=False) if i + 1 < len(weights) else v
        return v[0]

    function = jax.jit(jax.vmap(differentiate(score)))
    points = jax.numpy.array(x.numpy())
    return lambda: function(points).block_until_ready()
