"""What a derivative will cost, and how it is cut into chunks that fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

from xai_fast.engine.memory import least_limit, too_small, usable_bytes

__all__ = ["Plan", "plan_pairs", "plan_sets"]

# A CPU works on few rows at a time: what falls out of its caches costs more than it saves in calls.
_BYTES_OF_ROWS_ON_CPU = 1 << 24


@dataclass(frozen=True)
class Plan:
    """How a derivative is computed, and what it costs.

    Attributes:
        route: "forward" (a tangent per direction) or "reverse" (a gradient per unit of the narrowest node).
        operations: floating-point operations for all items, counted from shapes.
        bytes: the most that is alive at once, counted from shapes.
        memory_limit: what it was planned for, in bytes.
        least_bytes: the smallest memory limit that would do.
        items: items at once.
        row_chunk: rows at once.
        group: directions of either side whose rows are kept at once.
        few_places: whether rows are kept only at the places that they touch, see `xai_fast.taylor.touched`.
    """

    route: str
    operations: int
    bytes: int
    memory_limit: int
    least_bytes: int
    items: int
    row_chunk: int
    group: int
    few_places: bool = False


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
    """Return items at once, rows at once, rows kept of either side, bytes at most, and the least limit, of all pairs.

    Sizes are bytes per item: ``base`` whatever the rows, ``kept`` that a row leaves behind, ``transient`` that it takes
    on its way at most and ``streamed`` on average, ``given`` of inputs and results. ``right`` is 0 where the rows are
    the same as the left ones.
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


def plan_sets(*, items: int, rows: int, base: int, row: int, limit: int, on_cpu: bool) -> int:
    """Return items at once whose whole lattice fits; sizes as in `plan_pairs`."""
    one, usable = base + rows * row, usable_bytes(limit)
    if one > usable:
        raise too_small(limit, least_limit(one))
    usable = min(usable, _BYTES_OF_ROWS_ON_CPU) if on_cpu else usable
    return max(1, min(items, usable // max(1, one)))
