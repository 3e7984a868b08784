"""What a job computes: one description that can be stored, compared and made again in another process."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xai_fast.arguments import check_choice, check_integer
from xai_fast.errors import InputError, bad_argument, needs
from xai_fast.jobs.methods import MethodSpec, read_methods
from xai_fast.jobs.sources.describe import describe
from xai_fast.references import ModelRef, check_reference
from xai_fast.registry import find_method
from xai_fast.values import check_keys, plain, unique

__all__ = ["DECODERS", "DTYPES", "JobSpec", "flat"]

DTYPES = ("float16_scaled", "float32", "bfloat16", "int8_scaled")
"""How maps are stored."""

DECODERS = ("pillow",)
"""What reads pictures; any other is given as ``package.module:function``, from bytes to a PIL image."""

_SUFFIXES = (".yaml", ".yml", ".json")
_LARGEST = 64 << 20
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
_MAX_SEED = 2**32 - 1
_NOT_OF_RESULTS = ("batch_size", "max_attempts")
"""What may be another when a job is resumed: the rows at once stay those that the job began with."""


@dataclass(frozen=True)
class JobSpec:
    """What is computed, on what, and how it is stored.

    Args:
        source: what is explained, see `xai_fast.jobs.sources`: a folder or a list of picture files; "x.npy" or
            "x.safetensors" for the rows of an array; ".csv" or ".parquet" for the rows of a table, or ".csv" for pairs
            of pictures where the method takes pairs; ".tar" files or a glob of them for webdataset;
            "package.module:factory" for an indexable data set; or a mapping with "kind", "path" and options. Relative
            paths are made absolute.
        method: one of `xai_fast.methods`, "captum:NAME", a class "package.module:Class", or a list of these and of
            mappings {"name": ..., "options": {...}, "as": ...} to compute several in one pass; ``as`` is what its
            fields are called after, by default the name.
        options: of a single method.
        model: a `ModelRef`, or its text.
        target: None for the predicted class, an int, a list with a class for each item, "label" for the item's label,
            the name of a column of a table, or "package.module:function" from the model's output (R, C) to scores (R,).
        shard_size: items per file, at least 1.
        dtype: of maps in the store, one of `DTYPES`.
        seed: of what is random, 0 to 2**32 - 1.
        decoder: of pictures, see `DECODERS`.
        max_attempts: how often an item may kill the process that works on it alone.
        batch_size: rows that go through the model at once, see `xai_fast.Method.explain`; None for what suits the
            device.
        limit: items, at most: spread evenly over the list of a source whose items have names, such as pictures, the
            first ones of an array or a table; None for all.

    Nothing is imported or opened here, so that reading the description of a foreign store runs no code.

    Raises:
        InputError: a field is out of range; the message names it, what was expected and the known name nearest to it.
    """

    source: Any
    method: Any = "neflag"
    options: Mapping[str, object] = field(default_factory=dict)
    model: ModelRef = None  # type: ignore[assignment]  # has to be given, behind fields that have defaults
    target: int | list[int] | str | None = None
    shard_size: int = 1024
    dtype: str = "float16_scaled"
    seed: int = 0
    decoder: str = "pillow"
    max_attempts: int = 3
    batch_size: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        source = describe(self.source)
        methods = read_methods(self.method, self.options)
        registered = [find_method(entry.name) for entry in methods if ":" not in entry.name]
        if source["kind"] == "table" and any(method.pairs for method in registered):
            source = describe({**source, "kind": "pairs"})
        several = isinstance(self.method, list | tuple)
        checked = {
            "source": source,
            "method": [entry.to_dict() for entry in methods] if several else methods[0].name,
            "options": {} if several else dict(methods[0].options),
            "model": ModelRef.read(self.model),
            "target": _checked_target(self.target),
            "shard_size": check_integer("shard_size", self.shard_size, 1, 2**31 - 1),
            "seed": check_integer("seed", self.seed, 0, _MAX_SEED),
            "max_attempts": check_integer("max_attempts", self.max_attempts, 1),
            "batch_size": None if self.batch_size is None else check_integer("batch_size", self.batch_size, 1),
            "limit": None if self.limit is None else check_integer("limit", self.limit, 1),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        check_choice("dtype", self.dtype, DTYPES)
        if self.decoder not in DECODERS:
            if not isinstance(self.decoder, str) or ":" not in self.decoder:
                expected = f"one of {', '.join(DECODERS)}, or package.module:function"
                raise bad_argument("decoder", expected, repr(self.decoder))
            check_reference("decoder", self.decoder)

    @property
    def methods(self) -> tuple[MethodSpec, ...]:
        """The methods one by one, with their options."""
        return read_methods(self.method, self.options)

    @property
    def calls(self) -> list[str]:
        """What a job imports and calls by the names in its description, with the arguments; nothing is imported."""
        named: list[tuple[str, str, Mapping[str, object]]] = [
            (
                "source",
                self.source["path"] if self.source["kind"] == "indexable" else "",
                self.source.get("arguments", {}),
            ),
            ("decoder", self.decoder, {}),
            ("model", self.model.reference, self.model.arguments),
            *(("method", one.name, one.options) for one in self.methods),
            ("target", self.target if isinstance(self.target, str) else "", {}),
        ]
        return [f"{role}: {name}({_given(arguments)})" for role, name, arguments in named if ":" in name]

    def to_dict(self) -> dict[str, Any]:
        """Give the description as JSON holds it."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        values["model"] = self.model.to_dict()
        result: Any = plain("spec", values)
        return dict(result)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JobSpec:
        """Read what `to_dict` gave, or what a user wrote.

        Args:
            values: field to value; those that are missing have their defaults.

        Returns:
            The description.

        Raises:
            InputError: a key is unknown, the source is missing, or a value is out of range.
        """
        if not isinstance(values, Mapping):
            raise bad_argument("spec", "a mapping", type(values).__name__)
        check_keys("spec", values, [entry.name for entry in dataclasses.fields(cls)])
        if "source" not in values:
            raise bad_argument("spec", "a value for 'source'", "none")
        return cls(**values)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> JobSpec:
        """Read a description from a YAML or JSON file. Relative paths in it start at the file's folder.

        Args:
            path: a file that ends in .yaml, .yml or .json.

        Returns:
            The description.

        Raises:
            InputError: the file cannot be read, or says something else.
        """
        values = _read_file(Path(path))
        if "source" in values:
            values["source"] = describe(values["source"], base=Path(path).absolute().parent)
        return cls.from_dict(values)

    def differences(self, other: JobSpec) -> list[str]:
        """Return a line for each field that results depend on and that another description has otherwise."""
        mine, theirs = flat(self.of_results()), flat(other.of_results())
        lines = [
            f"{name}: {_shown(mine, name)} in the store, {_shown(theirs, name)} asked for"
            for name in [*mine, *(name for name in theirs if name not in mine)]
            if mine.get(name, _ABSENT) != theirs.get(name, _ABSENT)
        ]
        pins = [spec.model.weights_sha256 for spec in (self, other)]
        if None not in pins and pins[0] != pins[1]:
            lines.append(f"model.weights_sha256: {pins[0]} in the store, {pins[1]} asked for")
        return lines

    def of_results(self) -> dict[str, Any]:
        """Give what results depend on, as JSON holds it; weights and files are compared by their content."""
        values = {name: value for name, value in self.to_dict().items() if name not in _NOT_OF_RESULTS}
        values["model"].pop("weights_sha256")  # those that were found are compared, whether or not they were named
        if self.source["kind"] != "indexable":
            values["source"].pop("path")
            if str(values["source"].get("labels", "")).endswith(".npy"):
                values["source"].pop("labels")
        return values


_ABSENT = object()


def _checked_target(target: object) -> int | list[int] | str | None:
    if target is None:
        return None
    if isinstance(target, str):
        if ":" in target:
            check_reference("target", target)
        if not target:
            raise bad_argument("target", "the name of a column, or package.module:function", "an empty text")
        return target
    if callable(target):
        raise bad_argument(
            "target", '"package.module:function", which other processes can import', f"a {type(target).__name__}"
        )
    values = target.tolist() if hasattr(target, "tolist") else target
    if isinstance(values, list | tuple):
        return [check_integer("target", value, 0) for value in values]
    return check_integer("target", values, 0)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested mappings as one."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[prefix + name] = value
    return result


def _given(arguments: Mapping[str, object]) -> str:
    return _cut(", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items()), 120)


def _shown(values: Mapping[str, Any], name: str) -> str:
    return _cut(json.dumps(values[name], ensure_ascii=False), 200) if name in values else "nothing"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


def _read_file(path: Path) -> dict[str, Any]:
    """Read the mapping in a file."""
    if path.suffix.lower() not in _SUFFIXES:
        raise bad_argument("job file", f"a file that ends in {', '.join(_SUFFIXES)}", repr(str(path)))
    try:
        if path.stat().st_size > _LARGEST:
            raise bad_argument("job file", f"at most {_LARGEST} bytes", f"{path.stat().st_size}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"job file: {path} cannot be read: {reason}") from error
    kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
    try:
        values: object = json.loads(text, object_pairs_hook=unique) if kind == "JSON" else _yaml(text)
    except (ValueError, RecursionError) as error:  # beside bad JSON, numbers of too many digits
        raise InputError(f"job file: {path} is no {kind}: {error}") from error
    if not isinstance(values, dict):
        raise bad_argument("job file", "keys and values, such as source: photos", f"{type(values).__name__} in {path}")
    return values


def _yaml(text: str) -> object:
    yaml: Any = needs("yaml", "a job in YAML", "'xai-fast[jobs]'")

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped base
        """Plain values only, and each key once."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        loader.flatten_mapping(node)
        return unique(
            [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
        )

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    # YAML 1.1, which PyYAML reads, takes 1e-3 for a text: it wants 1.0e-3.
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("+-.0123456789"))
    try:
        values: object = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    return values
