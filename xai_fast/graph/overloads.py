"""Sets of ATen operations."""

from __future__ import annotations

from typing import Any

__all__ = ["overloads_of"]


def overloads_of(*packets: Any) -> frozenset[Any]:
    """List all overloads of operations such as ``torch.ops.aten.add``, without those that write to ``out``."""
    return frozenset(
        getattr(packet, name) for packet in packets for name in packet.overloads() if not name.endswith("out")
    )
