"""What methods return: a frozen record of a batch, whose every tensor has a row per item."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from xai_fast.errors import InputError, bad_argument
from xai_fast.files import read_tensors, write_tensors
from xai_fast.terminal import short

__all__ = ["FACTS", "Explanation"]

FACTS: dict[str, str] = {
    "no_negative_flux": "no point near the item had a negative flux, so the attribution is zero: the score may be "
    "saturated or constant; a log_probability or logit score, a larger radius or more steps help",
    "saturated": "the score is at its limit within rounding, so gradients say little; a log_probability or logit helps",
    "no_relevance": "all relevance is exactly zero: the score is zero, or no active unit reaches it; another score, or "
    "a target with a positive output, helps",
    "outside_bounds": "entries of the input are below low or above high, so the rule zB is not what its paper derives; "
    "give low and high of the data as the model takes it",
    "lost_relevance": "all pairs together are less than 1 % of the similarity: biases and stabilisers keep the rest; "
    "another composite or bias helps",
    "own_unit": "the model was fitted to this row, whose own unit keeps most of the relevance; fit it without the row",
    "zero_curvature": "all interactions are exactly zero: the score is saturated, or no path behind the layer has "
    'curvature; score="probability" or "log_probability", or smooth="gelu" or "softplus" help',
    "no_interactions": "no interaction is above rounding, or above zero where sign='positive': the cells act one by "
    "one, or in the place of one another",
}
"""What is known of an item, by name, in a sentence. A method may have further facts."""

_METADATA = "xai_fast.Explanation"

_E = TypeVar("_E", bound="Explanation")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Explanation:
    """The explanation of B items.

    It has a length, is sliced by item (``e[3]``, ``e[2:5]``, ``e[[0, 4]]``: always an explanation of a batch),
    concatenated, saved and loaded; none of these loses a field.

    Attributes:
        attributions: (B, ...), or a tuple of them where the model has several inputs; in units of the score.
        scores: (B,) the score that is explained.
        targets: (B,) int64, the class that is explained; None where the target is a callable.
        evaluations: (B,) int64, passes through the model (forward, and backward where needed) spent on the item.
        facts: name to (B,) bool: what has to be known of an item, see `FACTS`. They depend on the item alone.
        method: the name of the method.
        settings: its options by name, as JSON holds them.
    """

    attributions: Tensor | tuple[Tensor, ...]
    scores: Tensor
    targets: Tensor | None = None
    evaluations: Tensor
    facts: Mapping[str, Tensor] = field(default_factory=dict)
    method: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)

    not_stored: ClassVar[frozenset[str]] = frozenset()
    """Fields that a job leaves out, since they are as large as the attributions and of use to few."""

    _kinds: ClassVar[dict[str, type[Explanation]]] = {}

    def __init_subclass__(cls) -> None:
        """Make the class known to `load`."""
        super().__init_subclass__()
        Explanation._kinds[cls.__name__] = cls

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self: _E, items: int | slice | Sequence[int] | Tensor) -> _E:
        """Give some items, as an explanation of a batch."""
        index = items
        if not isinstance(items, slice | Sequence | Tensor):
            position = operator.index(items)
            if not -len(self) <= position < len(self):
                raise IndexError(f"item {position} of {len(self)}")
            index = slice(position % len(self), position % len(self) + 1)
        elif not isinstance(items, slice):
            index = torch.as_tensor(items)
        return self._changed(lambda tensor: tensor[index])

    def __repr__(self) -> str:
        shown = [f"{name} {short(tensor)}" for name, tensor in self.tensors().items()]
        rest = {name: value for name, value in self.constants().items() if name not in ("kind", "method")}
        told = ", ".join([*shown, *(f"{name}={short(value)}" for name, value in rest.items() if value)])
        return f"{type(self).__name__}({len(self)} items of {self.method or 'a method'}: {told})"

    def to(self: _E, device: str | torch.device) -> _E:
        """Move the tensors to a device."""
        return self._changed(lambda tensor: tensor.to(device))

    @staticmethod
    def cat(parts: Sequence[_E]) -> _E:
        """Put explanations of one method, one or more, one after the other; what is the same for all is the first's."""
        if not parts:
            raise bad_argument("parts", "at least one explanation", "none")
        if len(parts) == 1:
            return parts[0]
        tensors = [part.tensors() for part in parts]
        if any(other.keys() != tensors[0].keys() for other in tensors):
            raise bad_argument("parts", "explanations with the same fields", [sorted(t) for t in tensors])
        return parts[0]._with({name: torch.cat([t[name] for t in tensors]) for name in tensors[0]})

    def tensors(self) -> dict[str, Tensor]:
        """List what there is per item, by flat names.

        Returns:
            Name to (B, ...): each field, those of a mapping as ``facts.NAME``, several attributions as
            ``attributions.0`` and so on.
        """
        found: dict[str, Tensor] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Tensor):
                found[entry.name] = value
            elif isinstance(value, tuple) and value and isinstance(value[0], Tensor):
                found |= {f"{entry.name}.{i}": part for i, part in enumerate(value)}
            elif isinstance(value, Mapping):
                found |= {f"{entry.name}.{n}": part for n, part in value.items() if isinstance(part, Tensor)}
        return found

    def stored(self) -> dict[str, Tensor]:
        """List what a job stores: `tensors` without the fields named in ``not_stored``."""
        return {n: t for n, t in self.tensors().items() if n.partition(".")[0] not in self.not_stored}

    def constants(self) -> dict[str, Any]:
        """List what is the same for all items, as JSON holds it; "kind" is the class."""
        flat = {name.partition(".")[0] for name in self.tensors()} | {"facts"}
        rest = {e.name: getattr(self, e.name) for e in fields(self) if e.name not in flat}
        return {"kind": type(self).__name__, **self._to_json(rest)}

    @staticmethod
    def from_parts(tensors: Mapping[str, Tensor], constants: Mapping[str, Any]) -> Explanation:
        """Build an explanation from what `tensors`, or `stored`, and `constants` gave.

        Args:
            tensors: flat names to (B, ...).
            constants: what is the same for all items.

        Returns:
            An explanation of the class that it was.

        Raises:
            InputError: the class is not known here, or the parts do not fit it.
        """
        values = dict(constants)
        kind = Explanation._kinds.get(str(values.pop("kind", None)))
        if kind is None:
            raise bad_argument("kind", f"one of {', '.join(Explanation._kinds)}", repr(constants.get("kind")))
        known = {entry.name for entry in fields(kind)}
        try:
            made = kind._from_json({name: value for name, value in values.items() if name in known})
            return kind(**made, **_nested(tensors))
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"tensors: expected those of a {kind.__name__}, got {sorted(tensors)}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the explanation to one safetensors file; the name is used as it is, and a file there is replaced."""
        write_tensors(Path(path), self.tensors(), _METADATA, self.constants())

    @staticmethod
    def load(path: str | Path) -> Explanation:
        """Read an explanation that `save` wrote, on the CPU, executing nothing; an `InputError` where it is none."""
        return Explanation.from_parts(*read_tensors(Path(path), _METADATA))

    def _changed(self: _E, change: Callable[[Tensor], Tensor]) -> _E:
        return self._with({name: change(tensor) for name, tensor in self.tensors().items()})

    def _with(self: _E, tensors: Mapping[str, Tensor]) -> _E:
        """Replace the tensors, and keep the rest."""
        values = {e.name: getattr(self, e.name) for e in fields(self)}
        return type(self)(**(values | _nested(tensors)))

    @classmethod
    def _to_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Write the fields that are the same for all items as JSON holds them; for subclasses."""
        return values

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Undo `_to_json`."""
        return values


Explanation._kinds["Explanation"] = Explanation


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Undo the flat names of `Explanation.tensors`."""
    values: dict[str, Any] = {"facts": {}}
    several: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        if not rest:
            values[first] = tensor
        elif rest.isdecimal():
            several.setdefault(first, {})[int(rest)] = tensor
        else:
            values.setdefault(first, {})[rest] = tensor
    return values | {name: tuple(parts[i] for i in sorted(parts)) for name, parts in several.items()}
