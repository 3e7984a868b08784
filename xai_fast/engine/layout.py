"""The memory format in which a model takes its inputs: the owner's, or a faster one that is seen to work."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["fast_memory_format", "own_memory_format"]

_probed: weakref.WeakKeyDictionary[nn.Module, dict[tuple[object, ...], torch.memory_format]] = (
    weakref.WeakKeyDictionary()
)


def own_memory_format(values: Sequence[Tensor]) -> torch.memory_format:
    """Tell the format of the user's inputs: channels-last where a picture is in it and in no other."""
    pictures = [value for value in values if value.ndim == 4]
    last = any(p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous() for p in pictures)
    return torch.channels_last if last else torch.contiguous_format


def fast_memory_format(
    model: Callable[..., object],
    values: Sequence[Tensor],
    run: Callable[[Sequence[Tensor]], object],
    precision: str,
) -> torch.memory_format:
    """Choose the format in which a model's own gradient is fastest, among those in which it works.

    oneDNN's convolutions on a CPU, and tensor cores in bfloat16, work on channels-last data; in the other format each
    layer reorders its input and output (``benchmarks/test_neflag.py`` measures both). A model may say ``x.view(...)``,
    which fails in that format, or read the strides. So one item is tried, once per model, shape and precision.

    Args:
        model: a module, or any other callable.
        values: one item of each input (1, ...), in the user's format.
        run: from inputs of that item to the model's output.
        precision: "fp32" or "bf16".

    Returns:
        The user's format, or ``torch.channels_last`` where it is faster, works, and gives the same.
    """
    own = own_memory_format(values)
    if not isinstance(model, nn.Module) or not any(value.ndim == 4 for value in values) or own == torch.channels_last:
        return own
    convolutions = any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in model.modules())
    kind = values[0].device.type
    if not convolutions or not (kind == "cpu" or (kind == "cuda" and precision == "bf16")):
        return own
    known = _probed.setdefault(model, {})
    key = (precision, *((value.shape, value.dtype, value.device) for value in values))
    if key not in known:
        known[key] = torch.channels_last if _gives_the_same(values, run) else own
    return known[key]


def _gives_the_same(values: Sequence[Tensor], run: Callable[[Sequence[Tensor]], object]) -> bool:
    def other(value: Tensor) -> Tensor:
        return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value

    with torch.no_grad():
        expected = run([value.clone() for value in values])
        try:
            got = run([other(value.clone()) for value in values])
        except RuntimeError:  # such as a view that does not fit the strides
            return False
    expected, got = (getattr(output, "logits", output) for output in (expected, got))
    if not isinstance(expected, Tensor) or not isinstance(got, Tensor) or got.shape != expected.shape:
        return False
    scale = expected.abs().max() if expected.numel() else 0.0
    return bool(((got - expected).abs() <= 1e-4 * scale).all())
