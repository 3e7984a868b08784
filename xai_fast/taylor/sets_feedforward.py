"""Mixed derivatives of many sets for feed-forward networks: rows of all layers side by side, and fused sums.

`feed_forward_rows` makes z_S and mu_S of the small sets, and `tuple_sum` the 2n+1 rule's sum of each set from them; all
pairs are one matrix product per item. There are rows for all sets of a size, by rank, while these are no more than what
the sets that are asked for need; else for those that they need.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from xai_fast import backends
from xai_fast.engine.memory import checked_limit, least_limit, too_small, usable_bytes
from xai_fast.graph import ScoreFunction
from xai_fast.kernels import combinations
from xai_fast.kernels.tuple_sum import operations_of, orders_of, subsets_of
from xai_fast.taylor.feedforward import Chain
from xai_fast.taylor.numbering import Numbering, Subsets
from xai_fast.taylor.rows_feedforward import Backends, Rows, version_of

__all__ = ["FeedForwardSets"]

_TUPLES_AT_ONCE = 1 << 17
_PAIRS_AT_ONCE = 1 << 22
_ALWAYS_FREE = 1 << 24


class FeedForwardSets:
    """The route for chains of linear maps and elementwise functions.

    Args:
        function: the score.
        chain: its layers.
        x: (B, ...), B >= 1.
        directions: (B, D, ...).
        memory_limit: bytes, or None.
        before: the route at other points, from which what does not depend on the points is taken.
    """

    def __init__(
        self,
        function: ScoreFunction,
        chain: Chain,
        x: Tensor,
        directions: Tensor,
        memory_limit: int | None,
        before: FeedForwardSets | None = None,
    ) -> None:
        self.function = function
        self.chain = chain
        self.x = x
        self.directions = directions
        self.memory_limit = memory_limit
        self.singles = directions.shape[1]
        self.units = chain.units
        self._kept: Rows | None = None
        self._run: Backends = before._run if before is not None else Backends.of(x)
        self._directions_version = version_of(directions)
        known = before if before is not None and _same(before, directions) else None
        self.numbering: Numbering = Numbering(self.singles, x.device) if known is None else known.numbering
        self.first: Tensor = self._first_rows() if known is None else known.first
        # Sizes for all sets of an order, by (order, items), where they are so small that memory needs no look.
        self._small: dict[tuple[int, int], tuple[int, int]] = {} if known is None else known._small

    def at(self, function: ScoreFunction, x: Tensor, directions: Tensor) -> FeedForwardSets:
        """Make the same route at other points."""
        return FeedForwardSets(function, self.chain, x, directions, self.memory_limit, self)

    def of(self, sets: Tensor) -> Tensor:
        """Compute (B, T) from sets (T, k)."""
        order = sets.shape[1]
        if order == 1:
            return self._gradients()[:, sets[:, 0]]
        out = self.x.new_empty(self.x.shape[0], sets.shape[0])
        n = orders_of(order)[0]
        if order == 2 and 8 * sets.shape[0] >= self.singles**2 and self._pair_bytes(0, self.singles) <= self._usable:
            i, j = sets.unbind(1)
            self._write_pairs(out, 0, self.singles, j, i)
        elif combinations.count(self.singles, n) <= max(self.singles, sets.shape[0] * math.comb(order, n)):
            if self.memory_limit is not None or sets.shape[0] > _TUPLES_AT_ONCE:
                self._check_rows(order, out.numel())  # before the tables of the subsets are made
            self._write(out, sets, self.numbering.complete(n))
        else:
            self._write_needed(out, sets)
        return out

    def exhaustive(self, order: int) -> Iterator[tuple[int, int, Tensor]]:
        """Go through all sets of an order, block by block."""
        total = combinations.count(self.singles, order)
        if not total:
            return
        if order == 1:
            yield 0, total, self._gradients()
            return
        if order == 2:
            yield from self._all_pairs()
            return
        sizes = self._small.get((order, self.x.shape[0]))
        if sizes is None:
            self._check_rows(order)
        subsets = self.numbering.complete(orders_of(order)[0])
        if sizes is None:
            sizes = self._sizes(order, subsets, total, 0)
            if self._is_small(order, subsets, total, 0):
                self._small[order, self.x.shape[0]] = sizes
        tuples, items = sizes
        for begin in range(0, total, tuples):
            end = min(begin + tuples, total)
            members = self.numbering.members_of_block(order, begin, end)
            values = self.x.new_empty(self.x.shape[0], end - begin)
            for start in range(0, self.x.shape[0], items):
                stop = min(start + items, self.x.shape[0])
                part = values if stop - start == self.x.shape[0] else values[start:stop]
                made = self._rows(order, subsets, start, stop)
                self._run.sums(part, made.derivatives, made.rows, made.adjoints, members, order)
            yield begin, end, values

    def operations(self, order: int, sets: int) -> int:
        """Count floating-point operations of so many sets, for all points."""
        n, m = (1, 0) if order == 1 else orders_of(order)
        rows = sum(
            min(math.comb(self.singles, k), sets * math.comb(order, k)) for k in (*range(2, n + 1), *range(m + 1))
        )
        sums = sets * self.units * (2 if order == 1 else operations_of(order))
        if order == 2:
            sums = min(sums, 2 * self.singles**2 * self.units)
        return self.x.shape[0] * ((self.singles + rows) * (2 * self.chain.weights.numel() + 8 * self.units) + sums)

    # --- Rows ---------------------------------------------------------------------------------------------------------

    def _first_rows(self) -> Tensor:
        """Carry the directions through the first matrix: (1 or B, D, U_0)."""
        weight = self.chain.layers[0].weight.detach()
        shared = self.directions.stride(0) == 0 or self.directions.shape[0] == 1
        along = (self.directions[:1] if shared else self.directions).detach().flatten(2)
        return torch.bmm(along, weight.T.expand(along.shape[0], *weight.T.shape))

    def _last_adjoints(self, start: int, end: int) -> Tensor:
        """Give the adjoints of the last layer: (1 or B, U_last)."""
        if self.chain.weight is not None:
            return self.chain.weight
        program = self.chain.program
        state = program.run(self.x[start:end], tuple(extra[start:end] for extra in self.function.inputs))
        return program.adjoints(state, (self.chain.last,))[self.chain.last].reshape(end - start, -1).contiguous()

    def _rows(self, order: int, subsets: Subsets, start: int, end: int) -> Rows:
        """Make the rows that sets of an order read; those of all items and all sets of a size are kept."""
        if self._run.forced != backends.forced_backend():
            self._run = Backends.of(self.x)
        kept, keep = self._kept, subsets.ranks == (None, None) and end - start == self.x.shape[0]
        is_enough = kept is not None and kept.order >= order and kept.rows.shape[1] >= subsets.count
        if keep and kept is not None and is_enough and kept.version == version_of(self.x):
            return kept
        made = Rows(
            order,
            self.chain.derivatives(self.x if keep else self.x[start:end], order, self._run.values),
            self.x.new_empty(end - start, subsets.count, self.units),
            self.x.new_empty(end - start, subsets.adjoints(orders_of(order)[1]), self.units),
            version_of(self.x),
        )
        self._run.rows(
            made.rows,
            made.adjoints,
            made.derivatives,
            self.first if self.first.shape[0] == 1 else self.first[start:end],
            self._last_adjoints(start, end),
            self.chain.weights,
            self.chain.transposed_behind_first,
            self.chain.widths,
            subsets.pairs,
            subsets.triples,
            subsets.triple_pairs,
        )
        self._kept = made if keep else self._kept
        return made

    # --- Sums ---------------------------------------------------------------------------------------------------------

    def _gradients(self) -> Tensor:
        """F_i of all directions, (B, D): first derivatives."""
        subsets, columns = self.numbering.complete(1), self.chain.columns[0]
        out = self.x.new_empty(self.x.shape[0], self.singles)
        items = self._sizes(2, subsets, 1, out.numel())[1]
        for start in range(0, self.x.shape[0], items):
            stop = min(start + items, self.x.shape[0])
            made = self._rows(2, subsets, start, stop)
            slopes = made.adjoints[:, :1, columns] * made.derivatives[:, 1:2, columns]
            # Not a matrix product, whose order of summation depends on how many items there are.
            out[start:stop] = (made.rows[:, : self.singles, columns] * slopes).sum(2)
        return out

    def _write(self, out: Tensor, sets: Tensor, subsets: Subsets) -> None:
        """Write the derivatives of sets, all of whose subsets have rows."""
        order, total = sets.shape[1], sets.shape[0]
        tuples, items = self._sizes(order, subsets, total, out.numel())
        for start in range(0, self.x.shape[0], items):
            end = min(start + items, self.x.shape[0])
            made = self._rows(order, subsets, start, end)
            for begin in range(0, total, tuples):
                members = subsets.members(sets[begin : begin + tuples])
                values = out.new_empty(end - start, members.shape[0])
                self._run.sums(values, made.derivatives, made.rows, made.adjoints, members, order)
                out[start:end, begin : begin + tuples] = values

    def _write_needed(self, out: Tensor, sets: Tensor) -> None:
        """Write the derivatives of few sets of many directions; in halves where their subsets' rows do not fit."""
        subsets = self.numbering.needed(sets)
        if sets.shape[0] == 1 or sum(self._needed_bytes(sets.shape[1], subsets, out.numel())) <= self._usable:
            self._write(out, sets, subsets)
            return
        middle = sets.shape[0] // 2
        self._write_needed(out[:, :middle], sets[:middle])
        self._write_needed(out[:, middle:], sets[middle:])

    def _all_pairs(self) -> Iterator[tuple[int, int, Tensor]]:
        """Go through all pairs by matrix products of some columns of the Hessian."""
        self._items_of_pairs(self.singles - 1, self.singles)  # the widest single column; says what it takes
        first, usable = 1, self._usable
        while first < self.singles:
            end = first + 1
            while end < self.singles and (end + 1) * (end + 1 - first) <= _PAIRS_AT_ONCE:
                if self._pair_bytes(first, end + 1) > usable:
                    break
                end += 1
            later, earlier = torch.tril_indices(end - first, end, first - 1, device=self.x.device)
            values = self.x.new_empty(self.x.shape[0], later.numel())
            self._write_pairs(values, first, end, later, earlier)
            yield first * (first - 1) // 2, end * (end - 1) // 2, values
            first = end

    def _write_pairs(self, out: Tensor, first: int, end: int, later: Tensor, earlier: Tensor) -> None:
        """Write pairs of directions from the Hessian's rows ``first .. end - 1``, from which ``later`` is counted."""
        subsets = self.numbering.complete(1)
        items = self._items_of_pairs(first, end)
        for start in range(0, self.x.shape[0], items):
            stop = min(start + items, self.x.shape[0])
            made = self._rows(2, subsets, start, stop)
            weighted = made.rows[:, first:end] * (made.derivatives[:, 2:3] * made.adjoints[:, :1])
            products = torch.bmm(weighted, made.rows[:, :end].mT)
            out[start:stop] = products[:, later, earlier]

    # --- Memory -------------------------------------------------------------------------------------------------------

    def _item_bytes(self, order: int, rows: int, adjoints: int) -> int:
        # Derivatives are there once for all layers, and once more while those of a layer are made.
        entries = self.units * (rows + adjoints + 2 * (order + 1)) + rows * max(self.chain.widths)
        return self.x.element_size() * entries

    def _tuple_bytes(self, order: int) -> int:
        return 4 * len(subsets_of(order)) + 8 * (order + 6) + self.x.shape[0] * self.x.element_size()

    @property
    def _usable(self) -> int:
        return usable_bytes(checked_limit(self.memory_limit, self.x.device))

    def _block_of_hessian(self, first: int, end: int) -> int:
        """Count bytes of an item that rows of its Hessian take: they, what is multiplied, and what is picked."""
        return self.x.element_size() * (end - first) * (2 * end + self.units)

    def _pair_bytes(self, first: int, end: int) -> int:
        """Count the least bytes that rows ``first .. end - 1`` of the Hessian take: one item at a time."""
        pairs = (end - first) * end
        one = self._item_bytes(2, self.singles, 1) + self._block_of_hessian(first, end)
        return one + pairs * (16 + self.x.shape[0] * self.x.element_size())

    def _items_of_pairs(self, first: int, end: int) -> int:
        """Choose how many items' rows of the Hessian to work on at a time."""
        least, usable = self._pair_bytes(first, end), self._usable
        if least > usable:
            raise too_small(checked_limit(self.memory_limit, self.x.device), least_limit(least))
        one = self._item_bytes(2, self.singles, 1) + self._block_of_hessian(first, end)
        return max(1, min(self.x.shape[0], 1 + (usable - least) // one))

    def _check_rows(self, order: int, given: int = 0) -> None:
        """Raise before anything is made where the rows of one item do not fit beside so many entries."""
        n, m = orders_of(order)
        rows = sum(math.comb(self.singles, k) for k in range(1, n + 1))
        adjoints = sum(math.comb(self.singles, k) for k in range(m + 1))
        least = self.x.element_size() * given + self._item_bytes(order, rows, adjoints) + self._tuple_bytes(order)
        if least > self._usable:
            raise too_small(checked_limit(self.memory_limit, self.x.device), least_limit(least))

    def _needed_bytes(self, order: int, subsets: Subsets, given: int) -> tuple[int, int, int]:
        """Count bytes: what is there in any case, of an item, of a tuple."""
        one = self._item_bytes(order, subsets.count, subsets.adjoints(orders_of(order)[1]))
        return self.x.element_size() * given, one, self._tuple_bytes(order)

    def _is_small(self, order: int, subsets: Subsets, tuples: int, given: int) -> bool:
        given_bytes, one, each = self._needed_bytes(order, subsets, given)
        return self.memory_limit is None and given_bytes + self.x.shape[0] * one + tuples * each < _ALWAYS_FREE

    def _sizes(self, order: int, subsets: Subsets, tuples: int, given: int) -> tuple[int, int]:
        """Choose how many tuples and items to work on at a time, beside so many entries that are there in any case."""
        given_bytes, one, each = self._needed_bytes(order, subsets, given)
        items = self.x.shape[0]
        if self._is_small(order, subsets, tuples, given):
            return max(1, tuples), max(1, items)
        room = self._usable - given_bytes
        if one + each > room:
            raise too_small(checked_limit(self.memory_limit, self.x.device), least_limit(given_bytes + one + each))
        at_once = max(1, min(tuples, _TUPLES_AT_ONCE, (room - one) // (2 * each)))
        return at_once, max(1, min(items, (room - at_once * each) // one))


def _same(before: FeedForwardSets, directions: Tensor) -> bool:
    """Tell whether directions are the unchanged ones of before, expanded to other items."""
    one = before.directions
    if one is directions:
        return before._directions_version == version_of(directions) and one.stride(0) == 0
    return (
        one.data_ptr() == directions.data_ptr()
        and one.stride() == directions.stride()
        and one.stride(0) == 0
        and one.shape[1:] == directions.shape[1:]
        and before._directions_version == version_of(directions)
    )
