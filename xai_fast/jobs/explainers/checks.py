"""Checks of parameters before there is a model, so that a mistake is told at once and not by every worker."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from xai_fast.errors import InputError, bad_argument

__all__ = ["check_parameters"]


def check_parameters(name: str, parameters: Mapping[str, object]) -> None:
    """Check the values of parameters by making the explainer, with a stand-in for the model.

    Whether the model has the layer that is named can only be told with the model.

    Args:
        name: a registered name.
        parameters: known ones.

    Raises:
        InputError: a value is out of range; the message names explainer and parameter.
    """
    from xai_fast.jobs.explainers import make_explainer
    from xai_fast.jobs.explainers.named import ExplainerSpec

    given = dict(parameters)
    where = f"parameters of {name}"
    if "layer" in given:
        layer = given["layer"]
        if not isinstance(layer, str) or not layer:
            raise bad_argument(f"{where}: layer", "the dotted name of a layer", repr(layer))
        given["layer"] = "0" + "".join(layer.partition("#")[1:])
    try:
        make_explainer(ExplainerSpec(name, given, name), nn.Sequential(nn.Identity()).eval(), 0)
    except (InputError, TypeError, ValueError) as error:
        # Beside our own errors, those of a value of a kind that an option's check did not think of.
        raise InputError(f"{where}: {error}") from error
