"""Estimators of scikit-learn as networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_positive
from xai_fast.errors import bad_argument
from xai_fast.neuralize.network import Front, Neuralized, Scoring, buffer
from xai_fast.neuralize.units import Centres, DistanceNetwork, Ellipsoids, ProductNetwork

__all__ = ["KernelKMeans", "neuralize"]


@dataclass(frozen=True, eq=False)
class KernelKMeans:
    """Clusters of kernel k-means: rows (N, D), the cluster of each (N,), from 0, and the kernel.

    That is "gaussian", exp(-gamma d^2), or "exponential", exp(-gamma d).
    """

    rows: Any
    assignments: Any
    gamma: float
    kernel: str = "gaussian"

    @property
    def n_features_in_(self) -> int:
        """D, by the name that scikit-learn gives it."""
        return int(np.shape(self.rows)[1])


def neuralize(
    estimator: Any,
    *,
    explained: str | None = None,
    reference: float | None = None,
    stiffness: float | None = None,
) -> Neuralized:
    """Rewrite an estimator as a network of two layers, equal to it, whose relevance has closed forms.

    Of scikit-learn: KernelDensity (gaussian, exponential), OneClassSVM, SVC, SVR (rbf, linear, poly), KMeans,
    GaussianMixture, LogisticRegression, LinearDiscriminantAnalysis and QuadraticDiscriminantAnalysis, also behind
    StandardScaler, MinMaxScaler and PCA in a Pipeline; and `KernelKMeans`.

    Args:
        estimator: fitted.
        explained: "outlierness" or "membership" (in a class or cluster), where an estimator has both: GaussianMixture
            (by default outlierness) and KMeans (by default membership).
        reference: of a regression: what the prediction is compared with; None for its intercept.
        stiffness: where the nearest rival of a cluster or class decides, how sharply: with beta the rivals share the
            score by the softmax of -beta h (NEON; its authors took 1 / the mean score). None: the nearest has all.

    Returns:
        The network, in evaluation mode; called on rows (B, D), it gives the estimator's own value.

    Raises:
        InputError: the estimator is of another kind, not fitted, or has a form that no such network has.
    """
    steps, last = [], estimator
    while type(last).__name__ == "Pipeline" and hasattr(last, "steps"):
        steps += [step for _, step in last.steps[:-1] if step not in (None, "passthrough")]
        last = last.steps[-1][1]
    kind = type(last).__name__
    if not type(last).__module__.startswith(("sklearn.", __name__)) or kind not in _BUILDERS:
        raise bad_argument("estimator", f"one of {', '.join(_BUILDERS)}, or a pipeline that ends in one", kind)
    choices, kernels, build = _BUILDERS[kind]
    if kernels:
        check_choice(f"kernel of {kind}", last.kernel, kernels)
    takers = (("reference", reference, ("SVR",)), ("stiffness", stiffness, ("KMeans", "KernelKMeans", "SVC")))
    for name, value, kinds in takers:
        if value is not None and kind not in kinds:
            raise bad_argument(name, f"None for a {kind}; it is an option of {', '.join(kinds)}", repr(value))
    options = {
        "explained": choices[0] if explained is None else check_choice("explained", explained, choices),
        "reference": reference,
        "pooling": None if stiffness is None else check_positive("stiffness", stiffness),
    }
    for part in [*steps, last]:
        if not hasattr(part, "n_features_in_"):
            raise bad_argument("estimator", "one that is fitted", f"a {type(part).__name__} that is not")
    front = Front([*steps, last][0].n_features_in_)
    for step in steps:
        front.append(*_linear_layer(step))
    return build(last, front, options).eval()


def _linear_layer(step: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Give weight, shift and inverse of a transformer, see `Front.append`."""
    kind = type(step).__name__
    if kind == "StandardScaler":
        scale = 1 / buffer(step.scale_ if step.with_std else np.ones(step.n_features_in_))
        return scale, -scale * buffer(step.mean_ if step.with_mean else 0), 1 / scale
    if kind == "MinMaxScaler" and not step.clip:
        return buffer(step.scale_), buffer(step.min_), 1 / buffer(step.scale_)
    if kind == "PCA":
        rows = buffer(step.components_)
        width = buffer(step.explained_variance_).sqrt().clamp(min=2**-52)[:, None] if step.whiten else 1
        return rows / width, -(rows / width) @ buffer(step.mean_), (rows * width).T
    raise bad_argument(
        "estimator", "StandardScaler, MinMaxScaler without clip, or PCA before its last step", repr(step)
    )


def _one_pool(units: Centres | Ellipsoids, logs: Tensor, own: str = "value", factor: float = -1.0) -> Neuralized:
    scoring = Scoring([[(0, 1)]], own, factor, 0.0 if own == "value" else -factor)
    return DistanceNetwork(units, [(torch.arange(len(logs)), logs, 0.0)], scoring)


def _kernel_density(estimator: Any, front: Front, options: Mapping[str, Any]) -> Neuralized:
    check_choice("metric of KernelDensity", estimator.metric, ("euclidean",))
    width, d = float(estimator.bandwidth_), estimator.n_features_in_
    rows, index = np.unique(np.asarray(estimator.tree_.data), axis=0, return_inverse=True)
    weights = np.bincount(index.ravel(), estimator.tree_.sample_weight, len(rows))
    if estimator.kernel == "gaussian":
        units = Centres(front, buffer(rows), 0.5 / width**2)
        norm = d / 2 * math.log(2 * math.pi)
    else:
        units = Centres(front, buffer(rows), 1 / width, 1)
        norm = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2) + math.lgamma(d)
    return _one_pool(units, buffer(weights / weights.sum()).log() - norm - d * math.log(width))


def _mixture(estimator: Any, front: Front, options: Mapping[str, Any]) -> Neuralized:
    root = buffer(estimator.precisions_cholesky_)  # P = root root^T
    count, d = estimator.means_.shape
    if estimator.covariance_type in ("diag", "spherical"):
        scales = root.reshape(count, -1).expand(count, d)
        precisions, determinants = scales.square(), scales.log().sum(1)
    else:
        precisions = (root @ root.mT).expand(count, d, d)
        determinants = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    logs = buffer(estimator.weights_).log() + determinants - d / 2 * math.log(2 * math.pi)
    units = Ellipsoids(front, buffer(estimator.means_), precisions)
    return _one_pool(units, logs) if options["explained"] == "outlierness" else _against_all(units, logs)


def _against_all(units: Ellipsoids, logs: Tensor) -> Neuralized:
    """Compare each component with the sum of the others, given the logs of what multiplies exp(-h)."""
    parts = [part for row in _rivals(len(logs)) for part in ([k for k, _ in row], [row[0][1]])]
    pools = [(torch.tensor(part), logs[part], 0.0) for part in parts]
    return DistanceNetwork(units, pools, Scoring([[(2 * k, 2 * k + 1)] for k in range(len(logs))], "probability"))


def _rivals(count: int) -> list[list[tuple[int, int]]]:
    if count < 2:
        raise bad_argument("estimator", "at least two clusters, components or classes", "one")
    return [[(k, one) for k in range(count) if k != one] for one in range(count)]


def _quadratic(estimator: Any, front: Front, options: Mapping[str, Any]) -> Neuralized:
    scalings, rotations = ([buffer(one) for one in part] for part in (estimator.scalings_, estimator.rotations_))
    precisions = torch.stack([(r / s) @ r.T for r, s in zip(rotations, scalings, strict=True)])
    logs = buffer(estimator.priors_).log() - torch.stack([s.log().sum() for s in scalings]) / 2
    return _against_all(Ellipsoids(front, buffer(estimator.means_), precisions), logs)


def _k_means(estimator: Any, front: Front, options: Mapping[str, Any]) -> Neuralized:
    units = Centres(front, buffer(estimator.cluster_centers_), 1.0)
    count = len(estimator.cluster_centers_)
    pools = [(torch.tensor([k]), buffer([0.0]), 0.0) for k in range(count)]
    pairs = [[(k, count) for k in range(count)]] if options["explained"] == "outlierness" else _rivals(count)
    return DistanceNetwork(units, pools, Scoring(pairs, "root", pooling=options["pooling"]))


def _kernel_k_means(estimator: KernelKMeans, front: Front, options: Mapping[str, Any]) -> Neuralized:
    """Compare the means of the kernel over the clusters; own are the squared distances in the space of features."""
    rows, labels = buffer(estimator.rows), torch.as_tensor(estimator.assignments)
    clusters = set(labels.flatten().tolist())
    if labels.shape != rows.shape[:1] or clusters != set(range(len(clusters))):
        raise bad_argument("assignments", f"{len(rows)} clusters from 0, none empty", f"{labels.shape}, {clusters}")
    members = [labels.eq(k).nonzero()[:, 0] for k in sorted(clusters)]
    units = Centres(front, rows, check_positive("gamma", estimator.gamma), 2 if estimator.kernel == "gaussian" else 1)
    pools = [(m, torch.full((len(m),), -math.log(len(m)), dtype=torch.float64), 0.0) for m in members]

    def alike(m: Tensor) -> Tensor:
        return torch.cat([(-units(part)[:, m]).exp().mean(1) for part in torch.split(units.units[m], 256)]).mean()

    shift = 1 + torch.stack([alike(m) for m in members])
    return DistanceNetwork(units, pools, Scoring(_rivals(len(members)), "kernel", -2.0, shift, options["pooling"]))


def _support_vectors(estimator: Any, front: Front, options: Mapping[str, Any]) -> Neuralized:
    """Build an SVM: one sum of kernels, or one for each pair of classes, positive for the first of them."""
    kind, kernel = type(estimator).__name__, estimator.kernel
    if estimator._sparse:
        raise bad_argument("estimator", "one fitted to dense rows", f"a {kind} fitted to a sparse matrix")
    # For two classes the public coefficients have the other sign.
    units, alpha, bias = map(buffer, (estimator.support_vectors_, estimator._dual_coef_, estimator._intercept_))
    factor, shift, count = 1.0, 0.0, 0
    if kind == "SVR":
        shift = float(bias[0]) if options["reference"] is None else float(options["reference"])
        bias = bias - shift
    elif kind == "SVC":
        count = len(estimator.classes_)
        factor = -1.0 if count == 2 else 1.0
        owner = torch.arange(count).repeat_interleave(torch.as_tensor(estimator.n_support_))
        alpha = torch.stack([(owner == i) * alpha[j - 1] + (owner == j) * alpha[i] for i, j in _pairs(count)])

    def scoring(columns: list[tuple[int, int]], own: str) -> Scoring:
        return Scoring(_duels(count, columns) if count else [columns], own, factor, shift, options["pooling"])

    if kernel != "rbf":
        columns = [(p, len(bias)) for p in range(len(bias))]
        scored = scoring([(1, 0)] if kind == "OneClassSVM" else columns, "value")
        if kernel == "linear":
            return ProductNetwork(front, alpha @ units, bias, scored)
        form = (estimator._gamma, estimator.coef0, estimator.degree)
        return ProductNetwork(front, units, bias, scored, alpha=alpha, kernel=form)
    centres = Centres(front, units, float(estimator._gamma))
    if kind == "OneClassSVM":
        threshold = check_positive("the threshold of estimator", float(estimator.offset_[0]))
        return _one_pool(centres, (alpha[0] / threshold).log(), "kernel", threshold)
    pools = []
    for row, constant in zip(alpha, bias.tolist(), strict=True):
        for signed, rest in ((-row, -constant), (row, constant)):
            members = (signed > 0).nonzero()[:, 0]
            if not len(members) and rest <= 0:
                raise bad_argument(
                    "estimator", "support vectors of both signs", f"a {kind} whose log-ratio is infinite"
                )
            pools.append((members, signed[members].log(), max(rest, 0.0)))
    return DistanceNetwork(centres, pools, scoring([(p, p + 1) for p in range(0, len(pools), 2)], "kernels"))


def _pairs(count: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(count), 2))


def _duels(count: int, columns: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Give for each class its rivals, from the columns of each pair of classes, (plus, minus) for the first of them."""
    pairs = list(zip(_pairs(count), columns, strict=True))
    return [[own if k == one[0] else own[::-1] for one, own in pairs if k in one] for k in range(count)]


def _linear(estimator: Any, front: Front, options: Mapping[str, Any]) -> Neuralized:
    """Compare the classes by differences of their logits."""
    weight, bias = buffer(estimator.coef_), buffer(estimator.intercept_)
    if len(weight) > 1 and (getattr(estimator, "multi_class", "auto") == "ovr" or estimator.solver == "liblinear"):
        raise bad_argument("estimator", "the softmax of its logits as probabilities", "one class against the rest")
    if len(weight) == 1:
        weight, bias = (torch.cat([torch.zeros_like(value), value]) for value in (weight, bias))
    means = buffer(estimator.means_) if hasattr(estimator, "means_") else torch.zeros_like(weight)
    i, j = torch.tensor(_pairs(len(bias))).T
    scoring = Scoring(_duels(len(bias), [(p, len(i)) for p in range(len(i))]), "probability", pooling="softmin")
    return ProductNetwork(front, weight[i] - weight[j], bias[i] - bias[j], scoring, origins=(means[i] + means[j]) / 2)


_BOTH = ("outlierness", "membership")
_RADIAL = ("gaussian", "exponential")  # those of scikit-learn that are left out have densities of 0
_SVM = ("rbf", "linear", "poly")
_BUILDERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[..., Neuralized]]] = {
    "KernelDensity": (_BOTH[:1], _RADIAL, _kernel_density),
    "OneClassSVM": (_BOTH[:1], _SVM, _support_vectors),
    "SVC": (_BOTH[1:], _SVM, _support_vectors),
    "SVR": (("prediction",), _SVM, _support_vectors),
    "KMeans": (_BOTH[::-1], (), _k_means),
    "GaussianMixture": (_BOTH, (), _mixture),
    "LogisticRegression": (_BOTH[1:], (), _linear),
    "LinearDiscriminantAnalysis": (_BOTH[1:], (), _linear),
    "QuadraticDiscriminantAnalysis": (_BOTH[1:], (), _quadratic),
    "KernelKMeans": (_BOTH[1:], _RADIAL, _kernel_k_means),
}
"""What of an estimator can be explained, the default first, the kernels, and what builds its network."""
