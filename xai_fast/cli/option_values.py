"""Options of methods on the command line, read from their signatures."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from xai_fast.errors import InputError, bad_argument
from xai_fast.options import HasOptions
from xai_fast.registry import find_method

__all__ = ["add_options", "described_options", "given_options", "option_parameters", "read_option"]

_WORDS = {"none": None, "true": True, "false": False}
_PREFIX = "option_"


def add_options(
    parser: argparse.ArgumentParser,
    source: type[HasOptions] | Callable[..., Any],
    *,
    leave_out: Collection[str] = (),
    defaults: Mapping[str, object] = {},
) -> None:
    """Add the options of a method, or the keyword-only arguments of a function, to a command that has its own already.

    Each becomes ``--its-name``, with the type of its annotation and the text of the docstring. One whose name the
    command has itself becomes ``--METHOD-its-name``, such as ``--taylor-cam-method``; one that text cannot say, such as
    a module, is not offered. ``defaults`` are what the command uses where the user gives nothing.
    """
    title = str(getattr(source, "name", source.__name__))
    group = parser.add_argument_group(f"options of {title}")
    texts = described_options(source)
    for name, parameter in option_parameters(source).items():
        if name in leave_out or not _readable(parameter.annotation):
            continue
        flag = f"--{name.replace('_', '-')}"
        if flag in parser._option_string_actions:  # argparse does not tell in another way
            flag = f"--{title.replace('_', '-')}{flag[1:]}"
        default = defaults.get(name, parameter.default)
        about = "required" if default is parameter.empty else f"default: {_shown(default)}"
        described: dict[str, Any] = {
            "dest": _PREFIX + name,
            "default": argparse.SUPPRESS,
            "help": f"{texts.get(name, '')} ({about})".strip().replace("%", "%%"),
        }
        if parameter.annotation is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **described)
        else:
            metavar = _metavar(parameter.annotation)
            group.add_argument(flag, type=_reader(parameter.annotation), metavar=metavar, **described)


def option_parameters(source: type[HasOptions] | Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Give the options of a method, or the keyword-only arguments of a function, annotations evaluated."""
    if isinstance(source, type) and issubclass(source, HasOptions):
        return source.options()
    parameters = inspect.signature(source, eval_str=True).parameters
    return {name: one for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}


def given_options(options: argparse.Namespace) -> dict[str, object]:
    """Return the options of the method that the user gave, by name."""
    given = vars(options).items()
    return {name.removeprefix(_PREFIX): value for name, value in given if name.startswith(_PREFIX)}


def read_option(method: str, text: str) -> tuple[str, object]:
    """Read NAME=VALUE by the types in the signature of the method; an `InputError` says what does not fit."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise bad_argument("--option", "NAME=VALUE", repr(text))
    known = find_method(method).options()
    if name not in known:
        raise bad_argument("--option", f"an option of {method}: {', '.join(known) or 'it has none'}", repr(name))
    try:
        return name, _reader(known[name].annotation)(value)
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--option {name}: {error}") from error


def described_options(source: type | Callable[..., Any]) -> dict[str, str]:
    """Return the text of each argument, on one line, from the docstring of a function, or of a class and its bases."""
    found: dict[str, str] = {}
    for documented in reversed(source.__mro__) if isinstance(source, type) else (source,):
        text = inspect.cleandoc(documented.__doc__ or "")
        section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
        for entry in re.split(r"^    (?=\w)", section[1], flags=re.MULTILINE) if section else ():
            name, colon, about = entry.partition(":")
            if colon:
                found[name.split(" ")[0]] = " ".join(about.replace("`", "").split())
    return found


def _members(annotation: Any) -> tuple[Any, ...]:
    if isinstance(annotation, str):  # an alias that is written as text
        return (str,)
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _is_sequence(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    return isinstance(origin, type) and origin is not str and issubclass(origin, Sequence)


def _readable(annotation: Any) -> bool:
    """Say whether text can be read as a value of this kind: a module, a tensor or a function cannot."""
    plain = (inspect.Parameter.empty, Any, str, int, float, bool)
    return any(m in plain or typing.get_origin(m) is typing.Literal or _is_sequence(m) for m in _members(annotation))


def _reader(annotation: Any) -> Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return _value(text, annotation)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {_metavar(annotation)}, got {text!r}") from None

    return read


def _value(text: str, annotation: Any) -> object:
    """Read text as the first kind of a union that takes it; ValueError where none does."""
    for member in sorted(_members(annotation), key=_rank):
        with contextlib.suppress(ValueError):
            return _read(text, member)
    raise ValueError(text)


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
    if "," not in text and any(str in _members(member) for member in members):
        raise ValueError(text)
    parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
    fixed = typing.get_origin(kind) is tuple and Ellipsis not in members
    if fixed and len(parts) != len(members):
        raise ValueError(text)
    kinds = members if fixed else (members[:1] or (inspect.Parameter.empty,)) * len(parts)
    return [_value(part, one) for part, one in zip(parts, kinds, strict=True)]


def _metavar(annotation: Any) -> str:
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


def _shown(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value}"
