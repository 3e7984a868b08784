"""Fitted estimators, by name, that networks and literal rules are compared on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, SVR, OneClassSVM

from xai_fast.neuralize import KernelKMeans

RNG = np.random.default_rng(0)
Y3 = np.repeat([0, 1, 2], 20)
Y2 = (Y3 > 0).astype(int)
X = RNG.normal(size=(60, 4)) * [1.0, 2.0, 0.5, 1.0] + 30.0
X[:, 0] += 1.5 * Y3
X[:, 3] += 0.5 * X[:, 1]
NUMBER = X[:, 0] - 30 + np.sin(X[:, 1])
ROWS = np.concatenate([RNG.normal(size=(5, 4)) * [2.0, 2.0, 1.0, 3.0] + 30.0, X[3:4], X[7:8] + 1e-9])
"""Seven: five new ones, one of the training data, and one beside another."""

OWN = {
    "KernelDensity": "score_samples",
    "GaussianMixture": "score_samples",
    "KMeans": "transform",
    "SVR": "predict",
    "SVC": "decision_function",
    "OneClassSVM": "decision_function",
}


@dataclass
class Case:
    """An estimator, its number of scores (None for a single one), and options of neuralize."""

    estimator: Any
    scores: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def own(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The estimator's own value."""
        last = self.estimator[-1] if hasattr(self.estimator, "steps") else self.estimator
        kind = type(last).__name__
        method = OWN.get(kind, "predict_proba")
        if kind == "GaussianMixture" and self.options:
            method = "predict_proba"
        return getattr(self.estimator, method)(rows)


def scaled(estimator: Any) -> Any:
    return make_pipeline(StandardScaler(), estimator)


def _cases() -> dict[str, Case]:
    found: dict[str, Case] = {}
    density = KernelDensity(bandwidth=0.7, leaf_size=1000)  # else its values are approximate
    weights = RNG.random(60)
    for kernel in ("gaussian", "exponential"):
        kde = clone(density).set_params(kernel=kernel)
        found[f"KDE {kernel}"] = Case(clone(kde).fit(X, sample_weight=weights))
        found[f"KDE {kernel}, duplicates"] = Case(clone(kde).fit(np.concatenate([X, X[:9]])))
    for kernel in ("rbf", "linear", "poly"):
        how = {"kernel": kernel, "coef0": 1.0} | ({"degree": 2} if kernel == "poly" else {})
        found[f"OneClassSVM {kernel}"] = Case(scaled(OneClassSVM(nu=0.4, **how)).fit(X))
        found[f"SVR {kernel}"] = Case(scaled(SVR(**how)).fit(X, NUMBER))
        found[f"SVC {kernel}, 2"] = Case(scaled(SVC(**how)).fit(X, Y2), 2)
        found[f"SVC {kernel}, 3"] = Case(scaled(SVC(decision_function_shape="ovo", **how)).fit(X, Y3), 3)
    found["SVR, reference"] = Case(SVR().fit(X, NUMBER), options={"reference": 0.7})
    found["SVC, stiffness"] = Case(SVC(decision_function_shape="ovo").fit(X, Y3), 3, {"stiffness": 0.5})
    kmeans = KMeans(4, n_init=1, random_state=0).fit(X)
    found["KMeans"] = Case(kmeans, 4)
    found["KMeans, stiffness"] = Case(kmeans, 4, {"stiffness": 0.3})
    found["KMeans, outlierness"] = Case(kmeans, options={"explained": "outlierness"})
    for kind in ("full", "tied", "diag", "spherical"):
        mixture = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
        found[f"GaussianMixture {kind}"] = Case(mixture)
        found[f"GaussianMixture {kind}, membership"] = Case(mixture, 3, {"explained": "membership"})
    found["LogisticRegression, 3"] = Case(scaled(LogisticRegression()).fit(X, Y3), 3)
    found["LogisticRegression, 2"] = Case(LogisticRegression(solver="liblinear").fit(X, Y2), 2)
    for solver in ("svd", "lsqr", "eigen"):
        found[f"LDA {solver}"] = Case(LinearDiscriminantAnalysis(solver=solver).fit(X, Y3), 3)
    found["LDA, 2"] = Case(LinearDiscriminantAnalysis().fit(X, Y2), 2)
    found["QDA, 3"] = Case(QuadraticDiscriminantAnalysis().fit(X, Y3), 3)
    found["QDA, 2"] = Case(QuadraticDiscriminantAnalysis(reg_param=0.1).fit(X, Y2), 2)
    svc = SVC(decision_function_shape="ovo")
    mixture = GaussianMixture(2, random_state=0)
    behind = (
        density,
        OneClassSVM(),
        svc,
        SVR(kernel="poly"),
        mixture,
        LogisticRegression(),
        LinearDiscriminantAnalysis(),
    )
    for estimator in behind:
        for steps in (
            (MinMaxScaler(),),
            (StandardScaler(), PCA(3)),
            (PCA(3, whiten=True), StandardScaler(with_mean=False), "passthrough", MinMaxScaler()),
        ):
            name = " ".join(type(s).__name__ for s in steps if s != "passthrough")
            classes = (
                3 if type(estimator).__name__ in ("SVC", "LogisticRegression", "LinearDiscriminantAnalysis") else None
            )
            pipeline = make_pipeline(*(s if s == "passthrough" else clone(s) for s in steps), clone(estimator))
            found[f"{name}, {type(estimator).__name__}"] = Case(pipeline.fit(X, Y3), classes)
    return found


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    CASES = _cases()
KERNELS = {kernel: KernelKMeans(X, Y3, 0.3, kernel) for kernel in ("gaussian", "exponential")}
