"""What a user meets: refusals, outliers, batches, jobs, and the log-ratio of networks."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("sklearn")
import numpy as np
from neuralize_cases import CASES, KERNELS, ROWS, Y2, Y3, X
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, SVR, OneClassSVM

from xai_fast import LRP, InputError, Neuralize, Saliency, jobs, log_ratio, neuralize
from xai_fast.neuralize import KernelKMeans


class OwnKMeans(KMeans):
    """One of the user's, which may predict something else."""


REFUSED: dict[str, tuple[str, Callable[[], object]]] = {
    "tophat": ("kernel of KernelDensity: .* got 'tophat'", lambda: neuralize(KernelDensity(kernel="tophat").fit(X))),
    "epanechnikov": ("kernel of .*'epanechnikov'", lambda: neuralize(KernelDensity(kernel="epanechnikov").fit(X))),
    "metric": ("metric of .*'manhattan'", lambda: neuralize(KernelDensity(metric="manhattan").fit(X))),
    "callable": ("kernel of SVC: .*<function", lambda: neuralize(SVC(kernel=lambda a, b: a @ b.T).fit(X, Y2))),
    "sigmoid": ("kernel of OneClassSVM: .*'sigmoid'", lambda: neuralize(OneClassSVM(kernel="sigmoid").fit(X))),
    "precomputed": ("kernel of SVR: .*", lambda: neuralize(SVR(kernel="precomputed").fit(X @ X.T, Y2))),
    "not fitted": ("a KernelDensity that is not", lambda: neuralize(KernelDensity())),
    "scaler not fitted": ("a StandardScaler that is not", lambda: neuralize(make_pipeline(StandardScaler(), SVC()))),
    "another": ("one of KernelDensity, .*got IsolationForest", lambda: neuralize(IsolationForest().fit(X))),
    "own": ("got OwnKMeans", lambda: neuralize(OwnKMeans(2).fit(X))),
    "transformer": ("got Polyn", lambda: neuralize(make_pipeline(PolynomialFeatures(), SVC()).fit(X, Y2))),
    "clip": ("clip=True", lambda: neuralize(make_pipeline(MinMaxScaler(clip=True), SVC()).fit(X, Y2))),
    "sparse": ("fitted to dense rows", lambda: neuralize(SVC().fit(sparse(X), Y2))),
    "one cluster": ("at least two clusters", lambda: neuralize(KMeans(1).fit(X))),
    "module": ("one of KernelDensity, .*got Linear", lambda: Neuralize(nn.Linear(3, 2))),
    "explained": ("explained: .*got 'membership'", lambda: neuralize(KernelDensity().fit(X), explained="membership")),
    "reference": ("reference: expected None for a SVC", lambda: neuralize(SVC().fit(X, Y2), reference=1.0)),
    "stiffness": ("stiffness: expected None", lambda: neuralize(GaussianMixture().fit(X), stiffness=1.0)),
    "stiffness 0": ("stiffness: expected a positive", lambda: neuralize(KMeans(2).fit(X), stiffness=0.0)),
    "assignments": ("assignments: expected 60", lambda: neuralize(KernelKMeans(X, Y3[:9], 1.0))),
    "empty cluster": ("assignments: .*none empty", lambda: neuralize(KernelKMeans(X, Y3 * 2, 1.0))),
    "kernel": ("kernel of KernelKMeans: expected one of gaussian", lambda: neuralize(KernelKMeans(X, Y3, 1.0, "rbf"))),
    "features": ("rows of 4 features", lambda: Neuralize(KMeans(2).fit(X)).explain(X[:, :3])),
    "callable target": ("target: expected None", lambda: Neuralize(KMeans(2).fit(X)).explain(X, lambda y: y[:, 0])),
    "target": ("target: expected classes from 0 to 1", lambda: Neuralize(KMeans(2).fit(X)).explain(X, 2)),
}


def sparse(rows: NDArray[np.float64]) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix(rows)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_a_network_is_named(name: str) -> None:
    message, call = REFUSED[name]
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.scores])
def test_scores_are_largest_for_what_is_predicted(name: str) -> None:
    case = CASES[name]
    scores = Neuralize(neuralize(case.estimator, **case.options))
    predicted = torch.from_numpy(case.estimator.predict(X)).long()
    found = scores.explain(X)
    # A class that wins none of a classifier's pairs has no positive score; scikit-learn then counts other votes.
    sure = (
        found.scores > 0
        if isinstance(scores.model.scoring.pooling, float) or "SVC" in name
        else found.scores == found.scores
    )
    assert sure.float().mean() > 0.9
    assert torch.equal(found.targets[sure], predicted[sure])


def test_single_scores_say_what_their_estimator_says() -> None:
    svm, kde = CASES["OneClassSVM rbf"].estimator, CASES["KDE gaussian"].estimator
    found = Neuralize(svm).explain(X)
    np.testing.assert_array_equal(found.scores.numpy() > 0, svm.predict(X) < 0)
    assert found.targets is None
    np.testing.assert_allclose(Neuralize(kde).explain(ROWS).scores, -kde.score_samples(ROWS), atol=1e-10)
    against = Neuralize(kde).explain(ROWS, 0)
    assert torch.equal(against.attributions, -Neuralize(kde).explain(ROWS, 1).attributions)


def test_in_the_tails_the_value_is_the_density_and_not_what_scikit_learn_rounds_it_to() -> None:
    """By default its trees are off: here by 3 nats at a log density of -43 (kd-tree), and by 15 at -59 (ball tree)."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 5))
    far = rng.normal(size=(20, 5)) + 4 / np.sqrt(5)
    exact = KernelDensity(bandwidth=0.3, leaf_size=1000).fit(rows).score_samples(far)
    for tree, least in (("kd_tree", 3.0), ("ball_tree", 10.0)):
        density = KernelDensity(bandwidth=0.3, algorithm=tree).fit(rows)
        np.testing.assert_allclose(neuralize(density)(torch.from_numpy(far)), exact, rtol=0, atol=1e-10)
        wrong = np.abs(density.score_samples(far) - exact)
        assert wrong.max() > least
        assert -60 < exact[wrong.argmax()] < -40


MIXES = {
    "mixed at random": np.eye(8) + 0.2 * np.random.default_rng(7).normal(size=(8, 8)),
    "one common factor": np.linalg.cholesky(0.15 * np.eye(8) + 0.85).T,
    "pairs": np.kron(np.eye(4), np.linalg.cholesky([[1.0, 0.85], [0.85, 1.0]]).T),
}
"""Features that correlate at up to 0.85."""


def drawn_from(mix: str, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    return rng.normal(size=(count, 8)) @ MIXES[mix] + 5.0


DETECTORS: dict[str, Any] = {
    "KDE gaussian": lambda: KernelDensity(bandwidth=0.5),
    "KDE exponential": lambda: KernelDensity(kernel="exponential", bandwidth=0.3),
    "OneClassSVM": lambda: OneClassSVM(nu=0.1),
    **{f"GaussianMixture {k}": lambda k=k: GaussianMixture(2, covariance_type=k, random_state=0)
       for k in ("full", "tied", "diag", "spherical")},
    "KMeans": lambda: KMeans(4, n_init=1, random_state=0),
}  # fmt: skip


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("name", DETECTORS)
def test_the_feature_of_a_planted_outlier_has_the_most_relevance(name: str, mix: str) -> None:
    """It is at six of its standard deviations, and is one of its own: the others leave a tenth of its variance."""
    covariance = MIXES[mix].T @ MIXES[mix]
    assert (np.diag(np.linalg.inv(covariance)) * np.diag(covariance)).max() < 10
    for seed in range(1, 5):
        rng = np.random.default_rng(seed)
        rows, planted = drawn_from(mix, rng, 300), drawn_from(mix, rng, 200)
        which, signs = rng.integers(0, 8, 200), rng.choice([-1, 1], 200)
        planted[np.arange(200), which] = rows.mean(0)[which] + 6 * signs * rows.std(0)[which]
        pipeline = make_pipeline(StandardScaler(), DETECTORS[name]()).fit(rows)
        method = Neuralize(neuralize(pipeline, explained="outlierness"))
        found = method.explain(planted)
        assert float((found.attributions.argmax(1).numpy() == which).mean()) >= 0.95
        assert found.scores.median() > method.explain(drawn_from(mix, rng, 200)).scores.quantile(0.95)


def test_a_row_that_was_fitted_is_told() -> None:
    density = make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.2)).fit(X)
    apart = X.copy()
    apart[0, 0] += 50
    found = Neuralize(make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.2)).fit(apart)).explain(apart[:1])
    assert found.facts["own_unit"].all()
    assert found.attributions.abs().max() < 1e-9
    fresh = Neuralize(density).explain(apart[:1])
    assert not fresh.facts["own_unit"].any()
    assert fresh.attributions.argmax() == 0
    rounded = Neuralize(density).explain(
        X.astype(np.float32)
    )  # as single precision stores them, they are still the same
    assert torch.equal(rounded.facts["own_unit"], Neuralize(density).explain(X).facts["own_unit"])
    assert rounded.attributions.dtype == torch.float32


def test_ten_thousand_rows_take_no_more_memory_than_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    method = Neuralize(KernelDensity(bandwidth=0.5).fit(rng.normal(size=(500, 5))))
    seen: list[int] = []
    activate = method.model.activate
    monkeypatch.setattr(method.model, "activate", lambda x: seen.append(len(x)) or activate(x))
    rows = rng.normal(size=(10_000, 5))
    whole = method.explain(rows)
    assert max(seen) * 500 <= 2**17
    assert sum(seen) == 10_000
    few = method.explain(rows[7000:7020], internal_batch_size=3)
    torch.testing.assert_close(few.attributions, whole.attributions[7000:7020], rtol=0, atol=1e-12)


def test_the_memory_does_not_grow_with_the_batch() -> None:
    """In a process of its own: the heap of this one has been larger."""
    pytest.importorskip("resource")
    program = (
        "import resource, numpy as np, xai_fast; from sklearn.neighbors import KernelDensity; "
        "rng = np.random.default_rng(0); rows = rng.normal(size=(3000, 8)); "
        "method = xai_fast.Neuralize(KernelDensity().fit(rows)); method.explain(rows[:50]); "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "before = peak(); method.explain(rows); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert int(done.stdout.split()[-1]) < 50 * 1024  # KiB; all distances are 72 MB


def test_networks_are_moved_copied_and_pickled() -> None:
    for case in (CASES["KDE gaussian"], CASES["SVC rbf, 3"], CASES["LDA svd"], CASES["SVR poly"]):
        network, rows = neuralize(case.estimator, **case.options), torch.from_numpy(ROWS)
        for same in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(same(rows), network(rows))
        assert all(b.device.type == "meta" for b in copy.deepcopy(network).to("meta").buffers())
    clusters = neuralize(KERNELS["gaussian"])
    assert torch.equal(pickle.loads(pickle.dumps(clusters))(rows), clusters(rows))


def test_kernel_k_means_measures_distances_in_the_space_of_features() -> None:
    found = neuralize(KERNELS["exponential"])(torch.from_numpy(ROWS)).numpy()

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(-0.3 * np.linalg.norm(a[:, None] - b, axis=2))

    for k in range(3):
        own = X[k == Y3]
        expected = 1 - 2 * kernel(ROWS, own).mean(1) + kernel(own, own).mean()
        np.testing.assert_allclose(found[:, k], expected, atol=1e-10)


def test_other_methods_explain_the_network_too() -> None:
    network = neuralize(CASES["KDE gaussian"].estimator)
    rows = torch.from_numpy(ROWS[:3])
    found: Any = Saliency(network, magnitude=False).explain(rows).attributions
    step = 1e-5 * torch.eye(4, dtype=torch.float64)
    numeric = (network((rows[:, None] + step).flatten(0, 1)) - network((rows[:, None] - step).flatten(0, 1))) / 2e-5
    torch.testing.assert_close(found, numeric.reshape(3, 4), rtol=1e-6, atol=1e-6)


def test_pixels_keep_their_shape() -> None:
    density = KernelDensity(bandwidth=1.0).fit(X)
    flat = Neuralize(density).explain(ROWS)
    pictures = Neuralize(density).explain(ROWS.reshape(-1, 1, 2, 2))
    assert torch.equal(pictures.attributions, flat.attributions.reshape(-1, 1, 2, 2))


@pytest.mark.parametrize("target", [0, 2])
def test_the_log_ratio_of_a_network(target: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 4)).double().eval()
    x = torch.randn(5, 6, dtype=torch.float64)
    model = log_ratio(net, target)
    p = net(x).softmax(1)[:, target]
    torch.testing.assert_close(model(x), (p / (1 - p)).log(), rtol=1e-10, atol=1e-10)
    found = LRP(model, composite="epsilon").explain(x)
    hidden = net[1](net[0](x))
    last: Any = net[2]
    expected = torch.zeros_like(x)
    for row in range(5):
        others = [k for k in range(4) if k != target]
        w = [last.weight[target] - last.weight[k] for k in others]
        h = torch.stack(
            [w_k @ hidden[row] + last.bias[target] - last.bias[k] for w_k, k in zip(w, others, strict=True)]
        )
        for w_k, share in zip(w, (-h).softmax(0), strict=True):  # R_k = p_k h_k, shared by contributions
            expected[row] += share * ((w_k * (hidden[row] > 0)) @ net[0].weight) * x[row]
    torch.testing.assert_close(found.attributions, expected.detach(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, model(x).detach(), rtol=1e-12, atol=1e-12)


def test_the_class_of_a_log_ratio_has_to_be_one() -> None:
    with pytest.raises(InputError, match="target: expected an integer, from 0 to 3"):
        log_ratio(nn.Linear(3, 4).eval(), 4)(torch.zeros(1, 3))


def test_a_logistic_regression_equals_its_log_ratio_by_relevance() -> None:
    estimator = LogisticRegression(max_iter=5000).fit(X, Y3)
    layer = nn.Linear(4, 3).double()
    layer.load_state_dict({"weight": torch.from_numpy(estimator.coef_), "bias": torch.from_numpy(estimator.intercept_)})
    rows = torch.from_numpy(ROWS)
    for target in range(3):
        by_rules = LRP(log_ratio(layer.eval(), target), composite="epsilon").explain(rows)
        found = Neuralize(estimator).explain(rows, target)
        torch.testing.assert_close(found.scores, by_rules.scores, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.attributions, by_rules.attributions, rtol=1e-4, atol=1e-4)


def fitted() -> nn.Module:
    """The model of a job."""
    return neuralize(CASES["KDE gaussian"].estimator)


def test_a_job_explains_a_table_in_double_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("safetensors")
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(ROWS, columns=list("abcd")).to_csv(tmp_path / "rows.csv", index=False)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    spec = jobs.JobSpec(str(tmp_path / "rows.csv"), model="test_neuralize:fitted", method="neuralize", dtype="float32")
    jobs.run(spec, tmp_path / "out", runner="local", workers=0)
    store, found = jobs.open(tmp_path / "out"), Neuralize(fitted()).explain(ROWS)
    for index in range(len(ROWS)):
        got: Tensor = store[index].fields["attributions"]
        torch.testing.assert_close(got.double(), found.attributions[index], rtol=1e-6, atol=1e-6)


def test_the_error_for_a_black_box_names_the_method() -> None:
    with pytest.raises(InputError, match=re.escape("xai_fast.Neuralize")):
        Saliency(KernelDensity().fit(X))  # type: ignore[arg-type]
