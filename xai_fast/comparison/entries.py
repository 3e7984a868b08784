"""What a comparison is about: methods and metrics as users write them, ``name(option=value, ...)``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xai_fast.comparison.conclusions import BASELINES
from xai_fast.errors import bad_argument
from xai_fast.jobs.methods import MethodSpec
from xai_fast.method import Method
from xai_fast.metrics import METRICS
from xai_fast.option_text import read_assignment, split_call, split_list
from xai_fast.options import plain
from xai_fast.registry import find_method
from xai_fast.values import nearest

__all__ = ["METHODS", "METRICS_OF_PICTURES", "METRICS_OF_ROWS", "Entry", "read_methods", "read_metrics"]

METHODS = (
    "gradient_x_input",
    "integrated_gradients(steps=20)",
    "smoothgrad(samples=16)",
    "neflag(points=16)",
    "kernel_shap(samples=160)",
)
"""Methods that are compared unless a user says, where nothing is known about the model."""

METRICS_OF_PICTURES = (
    "insertion_deletion(steps=8)",
    "abpc(region=28,steps=10)",
    "faithfulness_correlation(subsets=16)",
    "random_logit",
    "max_sensitivity(samples=1)",
    "sparseness",
)
"""Metrics of pictures unless a user says: faithful by three definitions, of the class, robust, and concise."""

METRICS_OF_ROWS = (
    "insertion_deletion(steps=10,score=auto,baselines=[0.0])",
    "faithfulness_correlation(subsets=40)",
    "faithfulness_estimate",
    "infidelity(samples=40)",
    "max_sensitivity(samples=4)",
    "sparseness",
)
"""The same of rows of numbers (B, N)."""

_OF_THE_CALL = ("target", "additional_forward_args", "item_ids", "internal_batch_size")


@dataclass(frozen=True)
class Entry:
    """A method or a metric of a comparison.

    Args:
        text: as it was asked for, and is shown: "neflag(points=20)".
        name: "neflag".
        options: of it, as JSON holds them.
        made: a method that was constructed already.
    """

    text: str
    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    made: Method | None = None

    @property
    def key(self) -> str:
        """The text with nothing but what names of files and fields may have."""
        return re.sub(r"[^A-Za-z0-9_.+]+", "-", self.text).strip("-.")

    def fits(self, shape: Sequence[int]) -> bool:
        """Say whether it can explain items of a shape: edges are of pictures (C, H, W)."""
        return self.name != "edges" or len(shape) == 3

    def with_defaults(self, known: Mapping[str, object], **values: object) -> Entry:
        """Give those of the values that it has an option for, where the user gave none."""
        return replace(self, options={n: v for n, v in values.items() if n in known} | dict(self.options))

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold."""
        return {"text": self.text, "name": self.name, "options": dict(self.options)}

    def method(self, model: Callable[..., object], seed: int) -> Method:
        """Construct the method."""
        if self.made is not None:
            return self.made.with_model(model)
        return MethodSpec(self.name, self.options, self.key).make(model, seed)


def read_methods(asked: str | Sequence[str | Method]) -> list[Entry]:
    """Read methods, "neflag(points=20,score=output)" or constructed ones, and put the baselines before them."""
    given = _listed("methods", asked, Method)
    entries = []
    for one in [*BASELINES, *(one for one in given if one not in BASELINES)]:
        if isinstance(one, Method):
            entries.append(_entry_of(one))
            continue
        known = find_method(split_call("methods", one)[0]).options()
        # Metrics need maps of the size of pictures.
        entries.append(_read("methods", one, known).with_defaults(known, upsample=True))
    return _different("methods", entries)


def read_metrics(texts: str | Sequence[str], *, boxes: bool) -> list[Entry]:
    """Read metrics, such as "insertion_deletion(steps=14,ranking=per_channel)"; ``boxes``: whether there are some."""
    entries = []
    for text in _listed("metrics", texts):
        name = split_call("metrics", text)[0]
        if name not in METRICS:
            raise bad_argument("metrics", nearest(name, METRICS), repr(name))
        if METRICS[name].needs == "boxes" and not boxes:
            raise bad_argument("metrics", f"boxes of what {name} shall find in each item", "none")
        if not METRICS[name].alone:
            expected = "metrics of an item by itself"
            raise bad_argument("metrics", expected, f"{name}, which depends on the items that come along")
        entries.append(_read("metrics", text, metric_options(name)))
    return _different("metrics", entries)


def metric_options(name: str) -> dict[str, inspect.Parameter]:
    """Give the options of a metric by name."""
    found = inspect.signature(METRICS[name].function, eval_str=True).parameters
    return {n: one for n, one in found.items() if one.kind is one.KEYWORD_ONLY and n not in _OF_THE_CALL}


def call_options(name: str) -> tuple[str, ...]:
    """Name what a metric takes of how the method was called, and of what it said."""
    found = inspect.signature(METRICS[name].function).parameters
    if any(one.kind is one.VAR_KEYWORD for one in found.values()):
        return (*_OF_THE_CALL, "clean") if METRICS[name].needs == "method" else _OF_THE_CALL
    return tuple(option for option in _OF_THE_CALL if option in found)


def _listed(where: str, given: Any, *kinds: type) -> list[Any]:
    found = split_list(where, given) if isinstance(given, str) else given
    if not isinstance(found, Sequence) or not found or not all(isinstance(one, (str, *kinds)) for one in found):
        raise bad_argument(where, 'names, such as ["saliency", "neflag(points=20)"]', repr(given))
    return list(found)


def _entry_of(method: Method) -> Entry:
    """Describe a method by the options that are not its defaults."""
    defaults = {name: plain(parameter.default) for name, parameter in method.options().items()}
    options = {name: value for name, value in method.settings.items() if value != defaults[name]}
    texts = ",".join(f"{name}={value}" for name, value in options.items())
    return Entry(f"{method.name}({texts})" if texts else method.name, method.name, options, method)


def _read(where: str, text: str, known: Mapping[str, inspect.Parameter]) -> Entry:
    name, assignments = split_call(where, text)
    return Entry("".join(text.split()), name, dict(read_assignment(where, one, name, known) for one in assignments))


def _different(where: str, entries: list[Entry]) -> list[Entry]:
    keys = [entry.key for entry in entries]
    for entry in entries:
        if keys.count(entry.key) > 1:
            raise bad_argument(where, "entries that differ", f"{entry.text!r} twice")
    return entries
