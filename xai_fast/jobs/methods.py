"""The methods of a job: by name, with their options, several in one pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xai_fast.errors import InputError, bad_argument
from xai_fast.method import Method
from xai_fast.references import check_reference
from xai_fast.registry import find_method
from xai_fast.values import check_keys, nearest, plain

__all__ = ["MethodSpec", "read_methods"]

_PREFIX = re.compile(r"[A-Za-z0-9_+-]{1,40}", re.ASCII)


@dataclass(frozen=True)
class MethodSpec:
    """One method of a job: its name, its options, and what its fields are called after where there are several."""

    name: str
    options: Mapping[str, Any]
    prefix: str

    def to_dict(self) -> dict[str, object]:
        """Give the entry as JSON holds it."""
        return {"name": self.name, "options": dict(self.options), "as": self.prefix}

    def make(self, model: Callable[..., object], seed: int) -> Method:
        """Construct the method."""
        found = find_method(self.name)
        _check_options(self.name, found, self.options)
        given = {"seed": seed, **self.options} if "seed" in found.options() else self.options
        try:
            return found(model, **given)
        except InputError as error:
            raise InputError(f"options of {self.name}: {error}") from error


def read_methods(method: object, options: object) -> tuple[MethodSpec, ...]:
    """Read the fields ``method`` and ``options`` of a job. Nothing is imported that the job names by its module."""
    if not isinstance(options, Mapping):
        raise bad_argument("options", "a mapping", type(options).__name__)
    if isinstance(method, str):
        return (_read({"name": method, "options": options}),)
    if options:
        expected = 'none beside a list or a mapping; give each its own, as {"name": ..., "options": {...}}'
        raise bad_argument("options", expected, repr(dict(options)))
    if isinstance(method, Mapping):
        return (_read(method),)
    if not isinstance(method, Sequence) or not method:
        raise bad_argument("method", "a name, package.module:Class, or a list of them", repr(method))
    found = tuple(_read({"name": entry} if isinstance(entry, str) else entry) for entry in method)
    prefixes = [entry.prefix for entry in found]
    for prefix in prefixes:
        if prefixes.count(prefix) > 1:
            expected = 'different names; {"name": ..., "as": ...} gives another'
            raise bad_argument("method", expected, f"{prefix!r} twice")
    return found


def _read(entry: object) -> MethodSpec:
    if not isinstance(entry, Mapping):
        raise bad_argument("method", "a name or a mapping with name and options", type(entry).__name__)
    check_keys("method", entry, ("name", "options", "as"))
    name, given = entry.get("name"), entry.get("options") or {}
    if not isinstance(name, str):
        raise bad_argument("method", "a name or package.module:Class", repr(name))
    if not isinstance(given, Mapping):
        raise bad_argument(f"options of {name}", "a mapping", type(given).__name__)
    options: dict[str, Any] = plain(f"options of {name}", given)  # type: ignore[assignment]  # of a mapping
    if ":" in name:
        check_reference("method", name)
    else:
        _check_options(name, find_method(name), options)
    prefix = entry.get("as") or name.rpartition(":")[2].rpartition(".")[2]
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        raise bad_argument("method.as", "up to 40 letters, digits, _, + and -", repr(prefix))
    return MethodSpec(name, options, prefix)


def _check_options(name: str, found: type[Method], options: Mapping[str, Any]) -> None:
    known = found.options()
    if "seed" in options:
        raise bad_argument(f"options of {name}", "no seed; it is a field of the job itself", repr(options["seed"]))
    check_keys(f"options of {name}", options, known)
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise bad_argument(f"options of {name}", f"a value for {option!r}", nearest("", options))
