"""The strongest of a stream are those of sorting everything, however the stream is cut."""

from __future__ import annotations

import itertools

import pytest
import torch

from xai_fast.interaction import candidates
from xai_fast.interaction.candidates import Scored, Strongest, ordered


def scored(features: int, order: int, levels: int, seed: int = 0) -> Scored:
    """Draw effects with few different magnitudes, so that many are equal."""
    sets = torch.tensor(list(itertools.combinations(range(features), order)))
    generator = torch.Generator().manual_seed(seed)
    shuffled = sets[torch.randperm(len(sets), generator=generator)]
    effects = torch.randint(-levels, levels + 1, (len(sets),), generator=generator).double()
    return Scored(shuffled, effects, effects.abs() / 2)


def literal(given: Scored) -> list[tuple[float, tuple[int, ...], float]]:
    together = zip(given.effects.tolist(), map(tuple, given.sets.tolist()), given.spread.tolist(), strict=True)
    return sorted(together, key=lambda one: (-abs(one[0]), one[1]))


def listed(given: Scored) -> list[tuple[float, tuple[int, ...], float]]:
    return list(zip(given.effects.tolist(), map(tuple, given.sets.tolist()), given.spread.tolist(), strict=True))


@pytest.mark.parametrize("levels", [0, 1, 3, 10**9])
@pytest.mark.parametrize(("features", "order"), [(7, 1), (9, 2), (8, 3), (6, 6), (1, 1)])
def test_order_is_by_magnitude_then_by_tuple(features: int, order: int, levels: int) -> None:
    given = scored(features, order, levels)
    assert listed(ordered(given)) == literal(given)


@pytest.mark.parametrize("levels", [0, 2, 10**9])
@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("keep", [1, 10, 500])
def test_the_strongest_of_a_stream(keep: int, block: int, levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_SLACK", 3)
    given = scored(10, 3, levels)
    strongest = Strongest(keep)
    most = 0
    for rows in torch.split(torch.arange(len(given)), block):
        part = given[rows]
        wanted = strongest.wanted(part.effects)
        strongest.add(part if wanted is None else part[wanted])
        most = max(most, strongest._held)
    assert listed(strongest.best()) == literal(given)[:keep]
    assert most <= 2 * keep + 3 + block
