"""Exact second and higher mixed derivatives of PyTorch functions, for many items and directions at once."""

from xai_fast.graph import ScoreFunction
from xai_fast.taylor.cross import cross_derivatives
from xai_fast.taylor.differentiable import differentiable
from xai_fast.taylor.hessian import METHODS, bilinear_form, hessian, plan_bilinear_form
from xai_fast.taylor.planner import Plan
from xai_fast.taylor.prepare import prepare

__all__ = [
    "METHODS",
    "Plan",
    "ScoreFunction",
    "bilinear_form",
    "cross_derivatives",
    "differentiable",
    "hessian",
    "plan_bilinear_form",
    "prepare",
]
