"""Text as values of options, by the kinds that a signature names, and calls as text: ``name(option=value, ...)``."""

from __future__ import annotations

import contextlib
import inspect
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from xai_fast.errors import InputError, bad_argument

__all__ = ["metavar", "read_assignment", "read_value", "readable", "split_call", "split_list"]

_WORDS = {"none": None, "true": True, "false": False}
_BRACKETS = {"(": ")", "[": "]", "{": "}"}


def split_list(where: str, text: str) -> list[str]:
    """Split text at the commas that stand outside of brackets and quotes; an `InputError` names a bracket left open."""
    parts, waiting, quoted = [""], [], ""
    for letter in text:
        if quoted or letter in "\"'":
            quoted = "" if letter == quoted else quoted or letter
        elif letter in _BRACKETS:
            waiting.append(_BRACKETS[letter])
        elif waiting and letter == waiting[-1]:
            waiting.pop()
        elif letter == "," and not waiting:
            parts.append("")
            continue
        parts[-1] += letter
    if waiting:
        raise bad_argument(where, f"{waiting[-1]!r} for each bracket that opens", repr(text))
    return [part.strip() for part in parts if part.strip()]


def split_call(where: str, text: str) -> tuple[str, list[str]]:
    """Split "name(option=value, ...)" into the name and texts such as "option=value"."""
    name, opened, rest = text.strip().partition("(")
    if not name or (opened and not rest.endswith(")")):
        raise bad_argument(where, "a name, or name(option=value, ...)", repr(text))
    return name.strip(), split_list(where, rest[:-1])


def read_assignment(where: str, text: str, of: str, known: Mapping[str, inspect.Parameter]) -> tuple[str, object]:
    """Read NAME=VALUE by the annotation of the parameter; an `InputError` says what does not fit."""
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name:
        raise bad_argument(where, "NAME=VALUE", repr(text))
    if name not in known:
        raise bad_argument(where, f"an option of {of}: {', '.join(known) or 'it has none'}", repr(name))
    try:
        return name, read_value(value, known[name].annotation)
    except ValueError:
        raise InputError(f"{where} {name}: expected {metavar(known[name].annotation)}, got {value!r}") from None


def readable(annotation: Any) -> bool:
    """Say whether text can be read as a value of this kind: a module, a tensor or a function cannot."""
    plain = (inspect.Parameter.empty, Any, str, int, float, bool)
    return any(m in plain or typing.get_origin(m) is typing.Literal or _is_sequence(m) for m in _members(annotation))


def read_value(text: str, annotation: Any) -> object:
    """Read text as the first kind of a union that takes it; ValueError where none does."""
    members = sorted(_members(annotation), key=_rank)
    if str in members and any(map(_is_sequence, members)):  # where a word may stand, a list may have some
        members.insert(-1, Sequence[float | str])
    for member in members:
        with contextlib.suppress(ValueError):
            return _read(text, member)
    raise ValueError(text)


def metavar(annotation: Any) -> str:
    """Name the kind of a value for people."""
    words = {int: "N", float: "X", str: "TEXT", bool: "true|false", types.NoneType: "none"}
    shown = []
    for member in _members(annotation):
        if typing.get_origin(member) is typing.Literal:
            shown.append("|".join(map(str, typing.get_args(member))))
        elif _is_sequence(member):
            shown.append("A,B,...")
        elif member in words:
            shown.append(words[member])
    return "|".join(dict.fromkeys(shown)) or "VALUE"


def _members(annotation: Any) -> tuple[Any, ...]:
    if isinstance(annotation, str):  # an alias that is written as text
        return (Any,)
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _is_sequence(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    return isinstance(origin, type) and origin is not str and issubclass(origin, Sequence)


def _rank(kind: Any) -> int:
    """Order kinds by how little text they take, so that "7" is a number where numbers and words are possible."""
    order = (types.NoneType, bool, int, float)
    return order.index(kind) if kind in order else 6 if kind is str else 5


def _read(text: str, kind: Any) -> object:
    """Read text as a value of a kind that is no union; ValueError where it is none."""
    if kind in (int, float):
        return kind(text)
    if kind in (bool, types.NoneType):
        value = _WORDS.get(text.lower(), text)
        if isinstance(value, kind):
            return value
        raise ValueError(text)
    if typing.get_origin(kind) is typing.Literal:
        choices = {str(choice): choice for choice in typing.get_args(kind)}
        if text in choices:
            return choices[text]
        raise ValueError(text)
    if kind is str:
        return text
    if _is_sequence(kind):
        return _read_sequence(text, kind)
    if kind in (inspect.Parameter.empty, Any):
        try:
            return _WORDS[text.lower()] if text.lower() in _WORDS else json.loads(text)
        except ValueError:
            return text
    raise ValueError(text)


def _read_sequence(text: str, kind: Any) -> list[object]:
    """Read values between commas, or a list as JSON has it, such as one of lists."""
    if text.startswith("["):
        return list(json.loads(text))
    members = typing.get_args(kind)
    # A word is a word where words are possible.
    if "," not in text and any(not {str, Any}.isdisjoint(_members(member)) for member in members):
        raise ValueError(text)
    parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
    fixed = typing.get_origin(kind) is tuple and Ellipsis not in members
    if fixed and len(parts) != len(members):
        raise ValueError(text)
    kinds = members if fixed else (members[:1] or (inspect.Parameter.empty,)) * len(parts)
    return [read_value(part, one) for part, one in zip(parts, kinds, strict=True)]
