"""Sets of ATen operations."""

from __future__ import annotations

from typing import Any

__all__ = ["overloads_of"]


def overloads_of(*packets: Any) -> frozenset[Any]:
    """List all overloads of operations.

    Args:
        packets: such as ``torch.ops.aten.add``.

    Returns:
        ``torch.ops.aten.add.Tensor``, ``torch.ops.aten.add.Scalar`` and so on, without those that write to ``out``.
    """
    return frozenset(
        getattr(packet, name) for packet in packets for name in packet.overloads() if not name.endswith("out")
    )
