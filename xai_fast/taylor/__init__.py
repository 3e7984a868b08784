"""Exact second and higher mixed derivatives of PyTorch functions, for many items and directions at once."""

from xai_fast.taylor.cross import cross_derivatives, plan_cross_derivatives
from xai_fast.taylor.function import Function, prepare
from xai_fast.taylor.hessian import METHODS, bilinear_form, hessian, plan_bilinear_form
from xai_fast.taylor.planner import Plan

__all__ = [
    "METHODS",
    "Function",
    "Plan",
    "bilinear_form",
    "cross_derivatives",
    "hessian",
    "plan_bilinear_form",
    "plan_cross_derivatives",
    "prepare",
]
