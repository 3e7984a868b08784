"""Which rows of the data stand for all of them: where interactions are measured.

The paper measures at four rows: those nearest to the mean, the minimum and the mode of all rows, and a random one. A
mixed derivative at four points says little about a function whose curvature varies, and more points cost next to
nothing here: 200 random rows are recommended, which rank pairs better than any choice of four.
"""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument, needs
from xai_fast.interaction.effects import half_sample_mode, median
from xai_fast.interaction.table import Table, read_rows_like

__all__ = ["PAPER", "STATISTICS", "Representatives", "RepresentativesLike", "choose_representatives"]

STATISTICS = ("mean", "min", "mode", "random", "median", "max")
PAPER = ("mean", "min", "mode", "random")
"""The set of four that the paper found best."""

RepresentativesLike: TypeAlias = int | str | Sequence[str] | object

_ROWS_AT_ONCE = 1 << 16
_CLUSTERED_ROWS = 20_000


@dataclass(frozen=True)
class Representatives:
    """The rows (B, D) that were chosen, in the dtype of the data, and their positions in it, None for a user's rows.

    ``names`` say what each is, such as "mean", "mean + mode" (the same row for both), "row 17", "given 0".
    """

    rows: Tensor
    names: tuple[str, ...]
    indices: tuple[int, ...] | None


def choose_representatives(table: Table, wanted: RepresentativesLike, seed: int = 0) -> Representatives:
    """Choose the rows that stand for a table.

    Rows are compared in units of each column's standard deviation, so that no column counts more because of its unit.

    Args:
        table: the data.
        wanted: one or more of

            - "mean", "median", "min", "max", "mode": the row nearest in L2 to that statistic of all columns, the first
              of several as near. The mode is a column's most frequent value (the smallest of several as frequent)
              where values repeat, at least twice each on average, else its half-sample mode, the place around which
              its values are densest;
            - "random": a row that no statistic has chosen, if there is one;
            - "paper", by itself: "mean", "min", "mode" and "random";

            or an integer n, that many random rows; or "kmeans:n", the rows nearest to the centres of n clusters, which
            scikit-learn's KMeans finds among at most 20,000 random rows (or 20 n, if that is more); or the rows
            themselves, (B, D) like the data; columns of a DataFrame go by their names.
        seed: of the random rows and of the start of k-means.

    Returns:
        The rows. A row of the data is there at most once: one that two statistics choose has both names and counts
        once, an n beyond the number of rows gives all of them, and clusters with the same nearest row give it once.
        Rows that are equal but lie at different places in the data count as different rows, as they do in the data;
        so do rows that the user gives.

    Raises:
        InputError: ``wanted`` is something else, or rows do not fit the data.
    """
    if isinstance(wanted, str):
        if wanted.startswith("kmeans:"):
            return _kmeans(table, _clusters(wanted), seed)
        wanted = PAPER if wanted == "paper" else (wanted,)
    if isinstance(wanted, numbers.Integral):
        return _random(table, check_integer("representatives", wanted, 1), seed)
    if isinstance(wanted, list | tuple) and (not wanted or any(isinstance(w, str) for w in wanted)):
        return _statistics(table, wanted, seed)
    given = read_rows_like("representatives", wanted, table)
    rows = given.values.to(table.values)
    return Representatives(rows, tuple(f"given {i}" for i in range(len(given))), None)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _statistics(table: Table, wanted: Sequence[object], seed: int) -> Representatives:
    expected = f"one or more of {', '.join(STATISTICS)}, an integer, 'kmeans:n', or rows"
    if not wanted:
        raise bad_argument("representatives", expected, "none")
    for name in wanted:
        if name not in STATISTICS:
            raise bad_argument("representatives", expected, repr(name))
    if len(set(wanted)) != len(wanted):
        raise bad_argument("representatives", "each statistic once", repr(tuple(wanted)))
    scale = table.deviation()
    chosen: dict[int, list[str]] = {}
    for name in (str(w) for w in wanted if w != "random"):
        chosen.setdefault(_nearest(table, _statistic(table, name)[None], scale)[0], []).append(name)
    if "random" in wanted:
        order = torch.randperm(len(table), generator=_generator(seed)).tolist()
        row = next((row for row in order if row not in chosen), order[0])
        chosen.setdefault(row, []).append("random")
    return _rows(table, list(chosen), [" + ".join(names) for names in chosen.values()])


def _statistic(table: Table, name: str) -> Tensor:
    """Compute a statistic of each column: (D,) float64."""
    if name == "mean":
        return table.center()
    if name == "min":
        return table.values.amin(0).double()
    if name == "max":
        return table.values.amax(0).double()
    columns = torch.split(table.values, max(1, (1 << 24) // len(table)), dim=1)
    rule = median if name == "median" else _mode
    return torch.cat([rule(column.double()) for column in columns])


def _mode(values: Tensor) -> Tensor:
    mode = half_sample_mode(values)
    for column in range(values.shape[1]):
        distinct, counts = torch.unique(values[:, column], return_counts=True)
        if 2 * distinct.numel() <= values.shape[0]:
            mode[column] = distinct[int(counts.argmax())]
    return mode


def _random(table: Table, count: int, seed: int) -> Representatives:
    rows = torch.randperm(len(table), generator=_generator(seed))[:count].sort().values.tolist()
    return _rows(table, rows, [f"row {row}" for row in rows])


def _rows(table: Table, rows: list[int], names: list[str]) -> Representatives:
    return Representatives(table.values[rows], tuple(names), tuple(rows))


def _nearest(table: Table, points: Tensor, scale: Tensor) -> list[int]:
    """Find the row nearest to each point (P, D), the first of several as near."""
    best = torch.full((len(points),), float("inf"), dtype=torch.float64, device=scale.device)
    index = torch.zeros(len(points), dtype=torch.int64, device=scale.device)
    rows_at_once = max(1, min(_ROWS_AT_ONCE, (1 << 25) // max(1, table.values.shape[1])))
    start = 0
    for rows in torch.split(table.values, rows_at_once):
        scaled = rows.double() / scale
        for place, point in enumerate(points):
            # Written out: the identity with a product of matrices loses the digits that decide between neighbours.
            distance = (scaled - point / scale).square_().sum(1)
            row = int(distance.argmin())
            if float(distance[row]) < float(best[place]):
                best[place], index[place] = distance[row], start + row
        start += len(rows)
    return [int(i) for i in index.tolist()]


def _clusters(wanted: str) -> int:
    number = wanted.removeprefix("kmeans:")
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise bad_argument("representatives", "'kmeans:n' with a positive integer n", repr(wanted))
    return int(number)


def _kmeans(table: Table, count: int, seed: int) -> Representatives:
    """Find the rows nearest to the centres of clusters."""
    if count >= len(table):
        return _random(table, count, seed)
    cluster = needs("sklearn.cluster", "kmeans:n", "scikit-learn")
    scale = table.deviation()
    sample = torch.randperm(len(table), generator=_generator(seed))[: max(_CLUSTERED_ROWS, 20 * count)].sort().values
    points = (table.values[sample.to(table.values.device)].double() / scale).cpu().numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Number of distinct clusters")  # fewer different rows than clusters
        centers = cluster.KMeans(count, n_init=1, random_state=seed % 2**32).fit(points).cluster_centers_
    rows = sorted(set(_nearest(table, torch.from_numpy(centers).to(scale.device) * scale, scale)))
    return _rows(table, rows, [f"row {row}" for row in rows])
