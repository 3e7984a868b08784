"""Formulas of physics and engineering with their usual ranges: tables whose interactions can be computed.

Source: Surjanovic and Bingham, "Virtual library of simulation experiments" (Simon Fraser University): the borehole of
Harper and Gupta (1983), the OTL circuit of Ben-Ari and Steinberg (2007), the wing of Forrester, Sobester and Keane
(2008).
Inputs are uniform. Nearly all pairs interact; the few that do not, and how strongly the others do
(`KnownFunction.pair_strength`), are the known answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from xai_fast.datasets.known_functions import KnownFunction

__all__ = ["FUNCTIONS"]


def _borehole(x: Tensor) -> Tensor:
    """Compute the flow of water through a borehole between two aquifers, in cubic metres a year."""
    radius, influence, upper, upper_head, lower, lower_head, length, conductivity = x.unbind(1)
    logarithm = (influence / radius).log()
    resistance = 1 + 2 * length * upper / (logarithm * radius**2 * conductivity) + upper / lower
    return 2 * math.pi * upper * (upper_head - lower_head) / (logarithm * resistance)


def _otl_circuit(x: Tensor) -> Tensor:
    """Compute the midpoint voltage of an output transformerless push-pull circuit, in volts."""
    base1, base2, feedback, collector1, collector2, gain = x.unbind(1)
    loaded = gain * (collector2 + 9)
    base = 12 * base2 / (base1 + base2)
    return (
        (base + 0.74) * loaded / (loaded + feedback)
        + 11.35 * feedback / (loaded + feedback)
        + 0.74 * feedback * loaded / ((loaded + feedback) * collector1)
    )


def _wing_weight(x: Tensor) -> Tensor:
    """Compute the weight of a light aircraft's wing, in pounds."""
    area, fuel, aspect, sweep, pressure, taper, thickness, load, gross, paint = x.unbind(1)
    cosine = (sweep * (math.pi / 180)).cos()
    return (
        0.036
        * area**0.758
        * fuel**0.0035
        * (aspect / cosine**2) ** 0.6
        * pressure**0.006
        * taper**0.04
        * (100 * thickness / cosine) ** -0.3
        * (load * gross) ** 0.49
        + area * paint
    )


_Ranges = Mapping[str, tuple[float, float]]

_BOREHOLE: _Ranges = {
    "rw": (0.05, 0.15),  # radius of the borehole, m
    "r": (100, 50_000),  # radius of influence, m
    "Tu": (63_070, 115_600),  # transmissivity of the upper aquifer, m2/year
    "Hu": (990, 1110),  # its head, m
    "Tl": (63.1, 116),  # transmissivity of the lower aquifer, m2/year
    "Hl": (700, 820),  # its head, m
    "L": (1120, 1680),  # length of the borehole, m
    "Kw": (9855, 12_045),  # its hydraulic conductivity, m/year
}
_OTL_CIRCUIT: _Ranges = {
    "Rb1": (50, 150),  # resistances in kiloohm
    "Rb2": (25, 70),
    "Rf": (0.5, 3),
    "Rc1": (1.2, 2.5),
    "Rc2": (0.25, 1.2),
    "beta": (50, 300),  # current gain
}
_WING_WEIGHT: _Ranges = {
    "Sw": (150, 200),  # wing area, square feet
    "Wfw": (220, 300),  # weight of the fuel in the wing, pounds
    "A": (6, 10),  # aspect ratio
    "Lambda": (-10, 10),  # sweep at a quarter of the chord, degrees
    "q": (16, 45),  # dynamic pressure at cruise, pounds a square foot
    "lambda": (0.5, 1),  # taper ratio
    "tc": (0.08, 0.18),  # thickness to chord
    "Nz": (2.5, 6),  # ultimate load factor
    "Wdg": (1700, 2500),  # gross weight, pounds
    "Wp": (0.025, 0.08),  # paint, pounds a square foot
}


def _known(
    name: str, formula: Callable[[Tensor], Tensor], ranges: _Ranges, apart: tuple[tuple[str, ...], ...], stream: int
) -> KnownFunction:
    """Make a function whose interactions are all its features but those named, once for each tuple."""
    names = tuple(ranges)
    return KnownFunction(
        name=name,
        formula=formula,
        low=tuple(float(low) for low, _ in ranges.values()),
        high=tuple(float(high) for _, high in ranges.values()),
        interactions=tuple(tuple(i for i, feature in enumerate(names) if feature not in out) for out in apart),
        feature_names=names,
        stream=stream,
    )


_ALL_BUT_WEIGHED = tuple(name for name in _WING_WEIGHT if name not in ("Sw", "Wp"))

FUNCTIONS: Mapping[str, KnownFunction] = MappingProxyType(
    {
        # The heads are there only as their difference, in front of everything else.
        "borehole": _known("borehole", _borehole, _BOREHOLE, (("Hu",), ("Hl",)), 101),
        # The first collector is in a term without the base voltage.
        "otl-circuit": _known("otl-circuit", _otl_circuit, _OTL_CIRCUIT, (("Rb1", "Rb2"), ("Rc1",)), 102),
        # The paint is in a term with the area only.
        "wing-weight": _known("wing-weight", _wing_weight, _WING_WEIGHT, (("Wp",), _ALL_BUT_WEIGHED), 103),
    }
)
"""By name."""
