"""Estimators as two layers, with the rules of relevance written out unit by unit, in numpy.

Kauffmann, Müller and Montavon 2020 (one-class models): h_j = gamma |x - u_j|^q, o = -log sum over j of w_j exp(-h_j);
R_j = p_j o, R_i = (x_i - u_ij)^2 / |x - u_j|^2 R_j. Kauffmann et al. 2022 (clusters): h_k = w_k (x - m_k) with the
midpoint m_k, f = min over k of h_k; R_k = p_k f, R_i = (x - m_k)_i w_ki / h_k R_k. Of o the part counts that it has
beyond its value at distance 0; a distance with a metric is shared by (x - u)_i [M (x - u)]_i, and behind linear layers
z = A x + b by [B (z - u)]_i [A^T M (z - u)]_i, where B undoes A by the smallest change.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]


def layers(estimator: Any, x: Row) -> tuple[Any, Row, Row, Row]:
    """Give the last step, z, A and B."""
    d = len(x)
    if not hasattr(estimator, "steps"):
        return estimator, x, np.eye(d), np.eye(d)
    front, last = estimator[:-1], estimator[-1]
    zero = front.transform(np.zeros((1, d)))
    a = (front.transform(np.eye(d)) - zero).T
    k = a.shape[0]
    b = (front.inverse_transform(np.eye(k)) - front.inverse_transform(np.zeros((1, k)))).T
    return last, front.transform(x[None])[0], a, b


class Literal:
    """One row of an estimator: its score for a target, and the relevance of the features."""

    def __init__(self, estimator: Any, x: Row, stiffness: float | None = None, reference: float | None = None) -> None:
        self.estimator, self.z, self.a, self.b = layers(estimator, x)
        self.stiffness, self.reference = stiffness, reference
        self.nothing = np.zeros(len(x))

    def explain(self, target: int | None, explained: str | None = None) -> tuple[float, Row]:
        name = type(self.estimator).__name__
        if explained is not None:
            name = f"{name}_{explained}"
        return getattr(self, name)(target)

    def product(self, change: Row, gradient: Row) -> Row:
        """Share sum over k of change_k gradient_k by the features."""
        found = self.nothing.copy()
        for i in range(len(found)):
            found[i] = (self.b @ change)[i] * (self.a.T @ gradient)[i]
        return found

    def pool(self, units: list[tuple[Row, Row, float]], gamma: float, power: int, constant: float = 0.0) -> Any:
        """Give o and its relevance; a unit is its place, its metric, and the log of its weight."""
        h = [gamma * float((self.z - u) @ m @ (self.z - u)) ** (power / 2) for u, m, _ in units]
        exponents = [log - one for (_, _, log), one in zip(units, h, strict=True)]
        top = max([*exponents, math.log(constant) if constant else -math.inf])
        o = -top - math.log(constant * math.exp(-top) + sum(math.exp(one - top) for one in exponents))
        high = max(log for _, _, log in units)
        o_0 = -high - math.log(constant * math.exp(-high) + sum(math.exp(log - high) for _, _, log in units))
        found = self.nothing.copy()
        for (u, m, log), one in zip(units, h, strict=True):
            r = math.exp(log - one + o) * (o - o_0)
            square = float((self.z - u) @ m @ (self.z - u))
            if square > 1e-22:  # else the row is that unit, but for rounding, and no feature differs
                found += self.product(self.z - u, m @ (self.z - u)) / square * r
        return o, found

    def least(self, rivals: list[tuple[float, Row]]) -> tuple[float, Row]:
        """Give the smallest, and what the rivals pass on."""
        f = min(h for h, _ in rivals)
        if self.stiffness is None or f <= 0:
            return f, next(r for h, r in rivals if h == f)
        p = np.array([math.exp(-self.stiffness * (h - f)) for h, _ in rivals])
        p = p / p.sum()
        return f, sum((p_k * f / h * r for p_k, (h, r) in zip(p, rivals, strict=True)), self.nothing)

    # Densities and one-class models.

    def KernelDensity(self, target: None) -> tuple[float, Row]:
        e, d = self.estimator, len(self.z)
        data = np.asarray(e.tree_.data)
        weights = np.ones(len(data)) if e.tree_.sample_weight is None else np.asarray(e.tree_.sample_weight)
        width = e.bandwidth_
        if e.kernel == "gaussian":
            norm, gamma, power = (2 * math.pi) ** (d / 2) * width**d, 0.5 / width**2, 2
        else:
            sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
            norm, gamma, power = sphere * math.gamma(d) * width**d, 1 / width, 1
        units = [(u, np.eye(d), math.log(w / weights.sum() / norm)) for u, w in zip(data, weights, strict=True)]
        return self.pool(units, gamma, power)

    def gaussians(self) -> list[tuple[Row, Row, float]]:
        e, d = self.estimator, len(self.z)
        units = []
        for k, (mean, weight) in enumerate(zip(e.means_, e.weights_, strict=True)):
            c = {"full": 0, "tied": 1, "diag": 2, "spherical": 3}[e.covariance_type]
            covariance = (
                e.covariances_[k] if c == 0 else e.covariances_ if c == 1
                else np.diag(e.covariances_[k]) if c == 2 else e.covariances_[k] * np.eye(d)
            )  # fmt: skip
            log = math.log(weight) - 0.5 * np.linalg.slogdet(2 * math.pi * covariance)[1]
            units.append((mean, np.linalg.inv(covariance), log))
        return units

    def GaussianMixture(self, target: None) -> tuple[float, Row]:
        return self.pool(self.gaussians(), 0.5, 2)

    def one_against_all(self, units: list[tuple[Row, Row, float]], c: int) -> tuple[float, Row]:
        others, mine = self.pool([u for k, u in enumerate(units) if k != c], 0.5, 2), self.pool([units[c]], 0.5, 2)
        return others[0] - mine[0], others[1] - mine[1]

    def GaussianMixture_membership(self, target: int) -> tuple[float, Row]:
        return self.one_against_all(self.gaussians(), target)

    def QuadraticDiscriminantAnalysis(self, target: int) -> tuple[float, Row]:
        e = self.estimator
        units = []
        for mean, scaling, rotation, prior in zip(e.means_, e.scalings_, e.rotations_, e.priors_, strict=True):
            covariance = rotation @ np.diag(scaling) @ rotation.T
            log = math.log(prior) - 0.5 * np.linalg.slogdet(covariance)[1]
            units.append((mean, np.linalg.inv(covariance), log))
        return self.one_against_all(units, target)

    # Clusters.

    def KMeans(self, target: int) -> tuple[float, Row]:
        centres = self.estimator.cluster_centers_
        rivals = []
        for k, centre in enumerate(centres):
            if k != target:
                w, m = 2 * (centres[target] - centre), (centres[target] + centre) / 2
                rivals.append((float(w @ (self.z - m)), self.product(self.z - m, w)))
        return self.least(rivals)

    def KMeans_outlierness(self, target: None) -> tuple[float, Row]:
        changes = [self.z - centre for centre in self.estimator.cluster_centers_]
        return self.least([(float(change @ change), self.product(change, change)) for change in changes])

    def KernelKMeans(self, target: int) -> tuple[float, Row]:
        e = self.estimator
        power = 2 if e.kernel == "gaussian" else 1
        pools = []
        for k in range(max(e.assignments) + 1):
            rows = [row for row, one in zip(e.rows, e.assignments, strict=True) if one == k]
            pools.append(self.pool([(row, np.eye(len(row)), -math.log(len(rows))) for row in rows], e.gamma, power))
        mine = pools.pop(target)
        return self.least([(o - mine[0], r - mine[1]) for o, r in pools])

    # Support vectors.

    def decision(self, alpha: Row, units: Row, bias: float) -> tuple[float, Row]:
        """Give the log-ratio of the two signs, or the decision itself, and its relevance."""
        e, found = self.estimator, self.nothing.copy()
        if e.kernel == "rbf":
            sides = []
            for sign in (1, -1):
                own = [
                    (u, np.eye(len(u)), math.log(sign * c)) for u, c in zip(units, alpha, strict=True) if sign * c > 0
                ]
                sides.append(self.pool(own, e._gamma, 2, max(sign * bias, 0.0)))
            return sides[1][0] - sides[0][0], sides[1][1] - sides[0][1]
        value = bias
        gamma, offset, degree = (1.0, 0.0, 1) if e.kernel == "linear" else (e._gamma, e.coef0, e.degree)
        for u, c in zip(units, alpha, strict=True):
            total = gamma * float(u @ self.z) + offset
            value += c * total**degree
            found += self.product(self.z, gamma * u) / total * (c * total**degree)
        return value, found

    def OneClassSVM(self, target: None) -> tuple[float, Row]:
        e = self.estimator
        if e.kernel != "rbf":
            value, found = self.decision(e.dual_coef_[0], e.support_vectors_, e.intercept_[0])
            return -value, -found
        pairs = zip(e.support_vectors_, e.dual_coef_[0], strict=True)
        return self.pool([(u, np.eye(len(u)), math.log(c / e.offset_[0])) for u, c in pairs], e._gamma, 2)

    def SVR(self, target: None) -> tuple[float, Row]:
        e = self.estimator
        reference = e.intercept_[0] if self.reference is None else self.reference
        return self.decision(e.dual_coef_[0], e.support_vectors_, e.intercept_[0] - reference)

    def SVC(self, target: int) -> tuple[float, Row]:
        e, count = self.estimator, len(self.estimator.classes_)
        if count == 2:
            value, found = self.decision(e.dual_coef_[0], e.support_vectors_, e.intercept_[0])
            return (value, found) if target == 1 else (-value, -found)
        ends = np.cumsum([0, *e.n_support_])
        rivals = []
        for p, (i, j) in enumerate(itertools.combinations(range(count), 2)):
            if target not in (i, j):
                continue
            rows_i, rows_j = range(ends[i], ends[i + 1]), range(ends[j], ends[j + 1])
            alpha = np.concatenate([e.dual_coef_[j - 1, rows_i], e.dual_coef_[i, rows_j]])
            units = np.concatenate([e.support_vectors_[rows_i], e.support_vectors_[rows_j]])
            value, found = self.decision(alpha, units, e.intercept_[p])
            rivals.append((value, found) if target == i else (-value, -found))
        return self.least(rivals)

    # Linear classifiers.

    def linear(self, means: Row, target: int) -> tuple[float, Row]:
        e = self.estimator
        weight, bias = e.coef_, e.intercept_
        if len(weight) == 1:
            weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
        units = []
        for k in range(len(weight)):
            if k != target:
                w, m = weight[target] - weight[k], (means[target] + means[k]) / 2
                h = float(w @ self.z) + bias[target] - bias[k]
                units.append((h, self.product(self.z - m, w) / h))
        f = -math.log(sum(math.exp(-h) for h, _ in units))
        return f, sum((math.exp(f - h) * h * share for h, share in units), self.nothing)

    def LogisticRegression(self, target: int) -> tuple[float, Row]:
        return self.linear(np.zeros((max(2, len(self.estimator.coef_)), len(self.z))), target)

    def LinearDiscriminantAnalysis(self, target: int) -> tuple[float, Row]:
        return self.linear(self.estimator.means_, target)
