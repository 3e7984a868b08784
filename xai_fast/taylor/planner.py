"""What a derivative will cost, and how it is cut into chunks that fit into memory."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from xai_fast.errors import InputError, bad_argument

__all__ = ["Plan", "available_bytes", "is_out_of_memory", "plan_pairs", "plan_sets", "usable_bytes"]

_SHARE_OF_FREE_MEMORY = 0.5
# A CPU works on few rows at a time: what falls out of its caches costs more than it saves in calls.
_BYTES_OF_ROWS_ON_CPU = 1 << 24
# Not all of them are a torch.OutOfMemoryError: the libraries of CUDA allocate for themselves.
_SIGNS_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "not enough memory",
)


@dataclass(frozen=True)
class Plan:
    """How a derivative is computed, and what it costs.

    Attributes:
        route: "forward" (a tangent a direction), "reverse" (a gradient a curved unit), "hvp" or "lattice".
        orders: (n, m): the largest sets whose tangents and adjoints are computed.
        rows: tangents or gradients an item.
        operations: floating-point operations for all items, counted from shapes.
        bytes: the most that is alive at once, counted from shapes.
        memory_limit: what it was planned for, in bytes.
        least_bytes: the smallest memory limit that would do.
        items: items at once.
        row_chunk: rows at once.
        group: directions of either side whose rows are kept at once.
        chunks: passes through the graph.
        curved_units: entries with a second derivative, an item.
        few_places: whether rows are kept only at the places that they touch, see `xai_fast.taylor.touched`.
    """

    route: str
    orders: tuple[int, int]
    rows: int
    operations: int
    bytes: int
    memory_limit: int
    least_bytes: int
    items: int
    row_chunk: int
    group: int
    chunks: int
    curved_units: int
    few_places: bool = False


def available_bytes(device: torch.device) -> int:
    """Return how much memory a computation may take where the user does not say: half of what is free."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * _SHARE_OF_FREE_MEMORY)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        free = 1 << 32
    return max(1 << 26, int(free * _SHARE_OF_FREE_MEMORY))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error says that memory did not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _SIGNS_OF_MEMORY)


def checked_limit(memory_limit: int | None, device: torch.device) -> int:
    """Check the argument, and give the number of bytes that it stands for."""
    if memory_limit is None:
        return available_bytes(device)
    if isinstance(memory_limit, bool) or not isinstance(memory_limit, int) or memory_limit < 1:
        raise bad_argument("memory_limit", "a positive number of bytes, or None", repr(memory_limit))
    return memory_limit


def too_small(limit: int, least: int) -> InputError:
    """Build the error for a memory limit that cannot be kept."""
    return bad_argument("memory_limit", f"at least {least} bytes for one item and one row at a time", f"{limit}")


def usable_bytes(limit: int) -> int:
    """Leave a sixteenth to what shapes do not tell: workspaces of convolutions, fragments, Python itself."""
    return limit - limit // 16


def least_limit(needed: int) -> int:
    """Return the smallest limit of which so many bytes are usable."""
    limit = needed * 16 // 15
    while usable_bytes(limit) < needed:
        limit += 1
    return limit


def plan_pairs(
    *,
    items: int,
    left: int,
    right: int,
    base: int,
    kept: int,
    transient: int,
    streamed: int,
    given: int,
    limit: int,
    on_cpu: bool,
) -> tuple[int, int, int, int, int]:
    """Cut the pairs of two sets of rows into chunks.

    Args:
        items: B.
        left: rows on the left of each pair.
        right: rows on the right; 0 where they are the same as the left.
        base: bytes an item whatever the rows.
        kept: bytes an item that a row leaves behind.
        transient: bytes an item that a row takes on its way, at most.
        streamed: bytes an item that a row moves through the caches on its way, on average.
        given: bytes an item of inputs and results that exist in any case.
        limit: in bytes.
        on_cpu: whether few rows at a time are best.

    Returns:
        (items at once, rows at once, rows kept of either side, bytes at most, least limit).

    Raises:
        InputError: one item and one row do not fit.
    """
    sides = 2 if right else 1
    least = base + given + 2 * sides * kept + transient
    usable = usable_bytes(limit)
    if least > usable:
        raise too_small(limit, least_limit(least))
    room = usable - base - given
    total = max(left, right)
    # Weighted rows are written once more for the matrix product, so each kept row counts twice on one side.
    group = max(1, min(total, int((room - transient) // max(1, (sides + 1) * kept))))
    kept_now = (sides + 1) * kept * group
    row_chunk = max(1, min(total, (room - kept_now) // max(1, transient)))
    if on_cpu:
        row_chunk = max(1, min(row_chunk, _BYTES_OF_ROWS_ON_CPU // max(1, streamed)))
    one = base + given + kept_now + row_chunk * transient
    at_once = max(1, min(items, usable // one)) if group == total else 1
    if on_cpu:
        at_once = max(1, min(at_once, _BYTES_OF_ROWS_ON_CPU // max(1, row_chunk * streamed)))
    return int(at_once), int(row_chunk), int(group), int(at_once * one), least_limit(least)


def plan_sets(*, items: int, rows: int, base: int, row: int, limit: int, on_cpu: bool) -> tuple[int, int, int]:
    """Cut items into chunks whose whole lattice fits.

    Args:
        items: B.
        rows: of the lattice, tangents and adjoints.
        base: bytes an item whatever the rows.
        row: bytes an item and row.
        limit: in bytes.
        on_cpu: whether few rows at a time are best.

    Returns:
        (items at once, bytes at most, least limit).

    Raises:
        InputError: one item does not fit.
    """
    one = base + rows * row
    if one > usable_bytes(limit):
        raise too_small(limit, least_limit(one))
    at_once = max(1, min(items, usable_bytes(limit) // max(1, one)))
    if on_cpu:
        at_once = max(1, min(at_once, _BYTES_OF_ROWS_ON_CPU // max(1, rows * row)))
    return int(at_once), int(at_once * one), least_limit(one)
