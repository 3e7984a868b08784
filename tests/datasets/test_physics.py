"""The formulas of physics: their strongest pairs by second derivatives, and T-NID on the formula itself."""

from __future__ import annotations

import itertools

import pytest
import torch
from physics_functions import FUNCTIONS

from xai_fast import TNID
from xai_fast.datasets.known_functions import KnownFunction

# The pairs that matter most, by the formula's second derivatives in standard units.
STRONGEST = {
    "borehole": [("rw", "Hu"), ("rw", "Hl"), ("rw", "L")],
    "otl-circuit": [("Rb1", "Rb2"), ("Rf", "Rc1"), ("Rf", "beta")],
    "wing-weight": [("A", "Nz"), ("tc", "Nz"), ("Sw", "Nz")],
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_the_strongest_pairs(function: KnownFunction) -> None:
    strength = function.pair_strength(500)
    names = function.feature_names
    order = sorted(itertools.combinations(range(len(names)), 2), key=lambda p: -float(strength[p]))
    assert [tuple(names[i] for i in pair) for pair in order[:3]] == STRONGEST[function.name]


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_tnid_of_the_formula_has_its_strengths_and_its_zeros(function: KnownFunction) -> None:
    x = function.inputs(500)
    found = TNID(function, order=2, representatives=500, effect="absolute").detect(x)
    want = function.pair_strength(500) * function(x).std(correction=0)
    floor = 1e-9 * float(want.max())
    for i, j in itertools.combinations(range(function.features), 2):
        effect = abs(found[i, j].effect)
        assert effect == pytest.approx(float(want[i, j]), rel=1e-6, abs=floor)
        assert (effect > floor) == function.interacts((i, j))
    assert torch.equal(x, function.inputs(500))
