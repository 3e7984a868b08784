"""Which explainers there are, and what users write for them. Nothing is imported but our own methods' names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xai_fast.errors import bad_argument
from xai_fast.jobs.explainers.checks import check_parameters
from xai_fast.jobs.references import check_reference
from xai_fast.jobs.values import check_keys, nearest, plain

__all__ = ["PARAMETERS", "ExplainerSpec", "read_explainers"]

_NEFLAG = ("radius", "points", "max_steps", "step", "score", "precision", "aggregate", "tolerance", "compile")
_GRADCAM = ("layer", "score", "relu", "upsample")
_TAYLOR_CAM = (
    "layer",
    "order",
    "scope",
    "score",
    "smooth",
    "method",
    "symmetric",
    "grid",
    "memory_limit",
    "top_k",
    "full",
)
_TNID = ("sets", "order", "scales", "score", "smooth", "effect", "memory_limit")

PARAMETERS: dict[str, tuple[str, ...]] = {
    "neflag": _NEFLAG,
    "gradcam": _GRADCAM,
    "gradcam++": _GRADCAM,
    "taylor_cam": _TAYLOR_CAM,
    "tnid": _TNID,
}
"""Names of explainers to the parameters that they take; the seed is the job's."""

_FIELD_PREFIX = re.compile(r"[A-Za-z0-9_+-]{1,40}", re.ASCII)


@dataclass(frozen=True)
class ExplainerSpec:
    """One explainer of a job.

    Attributes:
        name: as the user wrote it, a registered name or ``package.module:Class``.
        parameters: its options.
        prefix: what its fields are called after where there are several.
    """

    name: str
    parameters: Mapping[str, object]
    prefix: str

    @property
    def reference(self) -> str:
        """The registered name or the reference."""
        return self.name

    def to_dict(self) -> dict[str, object]:
        """Give the entry as JSON holds it."""
        return {"name": self.name, "parameters": dict(self.parameters), "as": self.prefix}


def read_explainers(explainer: object, parameters: object) -> tuple[ExplainerSpec, ...]:
    """Read the fields ``explainer`` and ``parameters`` of a job.

    Args:
        explainer: a name, a reference, or a list of names, references and mappings.
        parameters: a mapping, for a single explainer.

    Returns:
        The explainers, at least one.

    Raises:
        InputError: a name or a parameter is unknown, or two explainers have the same name.
    """
    if not isinstance(parameters, Mapping):
        raise bad_argument("parameters", "a mapping", type(parameters).__name__)
    if isinstance(explainer, str):
        return (_read({"name": explainer, "parameters": parameters}),)
    if isinstance(explainer, Mapping):
        if parameters:
            raise bad_argument("parameters", "none beside an explainer with its own", repr(dict(parameters)))
        return (_read(explainer),)
    if not isinstance(explainer, Sequence) or not explainer:
        raise bad_argument("explainer", f"{nearest('', PARAMETERS)}, package.module:Class, or a list", repr(explainer))
    if parameters:
        raise bad_argument(
            "parameters", 'none beside a list; give each its own, as {"name": ..., "parameters": {...}}', "some"
        )
    found = tuple(_read({"name": entry} if isinstance(entry, str) else entry) for entry in explainer)
    prefixes = [entry.prefix for entry in found]
    for prefix in prefixes:
        if prefixes.count(prefix) > 1:
            raise bad_argument(
                "explainer", 'different names; {"name": ..., "as": ...} gives another', f"{prefix!r} twice"
            )
    return found


def _read(entry: object) -> ExplainerSpec:
    if not isinstance(entry, Mapping):
        raise bad_argument("explainer", "a name or a mapping with name and parameters", type(entry).__name__)
    check_keys("explainer", entry, ("name", "parameters", "as"))
    name = entry.get("name")
    if isinstance(name, str) and ":" in name:
        check_reference("explainer", name)
    elif not isinstance(name, str) or name not in PARAMETERS:
        raise bad_argument("explainer", f"{nearest(name, PARAMETERS)}, or package.module:Class", repr(name))
    given = entry.get("parameters") or {}
    if not isinstance(given, Mapping):
        raise bad_argument(f"parameters of {name}", "a mapping", type(given).__name__)
    if "seed" in given and name in PARAMETERS:
        raise bad_argument(f"parameters of {name}", "no seed; it is a field of the job itself", repr(given["seed"]))
    if name in PARAMETERS:
        check_keys(f"parameters of {name}", given, PARAMETERS[name])
    parameters: dict[str, object] = plain(f"parameters of {name}", given)  # type: ignore[assignment]  # of a mapping
    if name in PARAMETERS:
        check_parameters(name, parameters)
    prefix = entry.get("as") or name.rpartition(":")[2].rpartition(".")[2]
    if not isinstance(prefix, str) or not _FIELD_PREFIX.fullmatch(prefix):
        raise bad_argument("explainer.as", "up to 40 letters, digits, _, + and -", repr(prefix))
    return ExplainerSpec(name, parameters, prefix)
