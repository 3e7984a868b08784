"""Options of methods on the command line, read from their signatures."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from xai_fast.option_text import metavar, read_assignment, read_value, readable
from xai_fast.options import HasOptions
from xai_fast.registry import find_method

__all__ = ["add_options", "described_options", "given_options", "option_parameters", "read_option"]

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
        if name in leave_out or not readable(parameter.annotation):
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
            shown = metavar(parameter.annotation)
            group.add_argument(flag, type=_reader(parameter.annotation), metavar=shown, **described)


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
    return read_assignment("--option", text, method, find_method(method).options())


def described_options(source: type | Callable[..., Any]) -> dict[str, str]:
    """Return the text of each argument, on one line, from the docstring of a function, or of a class and its bases."""
    found: dict[str, str] = {}
    classes = source.__mro__ if isinstance(source, type) else (source,)
    inherited = re.compile(rf"see (there|{'|'.join(one.__name__ for one in classes)})\b[^;.]*")
    for documented in reversed(classes):
        text = inspect.cleandoc(documented.__doc__ or "")
        section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
        for entry in re.split(r"^    (?=\w)", section[1], flags=re.MULTILINE) if section else ():
            head, colon, about = entry.partition(":")
            if colon:
                name, text = head.split(" ")[0], " ".join(about.replace("`", "").split())
                referred = inherited.match(text)  # such as "see SampledMethod; points is the limit."
                found[name] = found[name].rstrip(".") + text[referred.end() :] if referred and name in found else text
    return found


def _reader(annotation: Any) -> Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return read_value(text, annotation)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {metavar(annotation)}, got {text!r}") from None

    return read


def _shown(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value}"
