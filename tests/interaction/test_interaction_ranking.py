"""A ranking answers by name and number, leaves out what is redundant, and comes back from a file as it was."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xai_fast import InputError, InteractionRanking
from xai_fast.interaction.interaction_ranking import FeatureInteraction, OrderRanking

NAMES = ("alpha", "beta", "gamma", "delta")


def of_order(effects: dict[tuple[int, ...], float], **options: Any) -> OrderRanking:
    """Rank effects; the spread is a tenth of each."""
    chosen = sorted(effects.items(), key=lambda one: (-abs(one[1]), one[0]))
    order = len(next(iter(effects)))
    values = np.array([effect for _, effect in chosen])
    defaults = {
        "sets": np.array([members for members, _ in chosen]).reshape(-1, order),
        "effects": values,
        "spread": abs(values) / 10,
        "names": NAMES,
        "candidates": len(chosen),
        "exhaustive": True,
    }
    return OrderRanking(**{**defaults, **options})


EFFECTS: dict[int, dict[tuple[int, ...], float]] = {
    1: {(0,): 9.0, (1,): 0.5, (2,): 7.0, (3,): 0.0},
    2: {(0, 1): 3.0, (0, 2): -5.0, (1, 2): 1.0, (0, 3): 0.0, (1, 3): 2.0, (2, 3): 1.0},
    3: {(0, 1, 2): 4.0, (0, 1, 3): 0.0, (1, 2, 3): 1.0},
    4: {(0, 1, 2, 3): 1.5},
}


def ranking(effects: dict[int, dict[tuple[int, ...], float]] = EFFECTS) -> InteractionRanking:
    return InteractionRanking(
        feature_names=NAMES,
        orders={order: of_order(of) for order, of in effects.items()},
        representatives=("mean", "row 3"),
        representative_indices=(5, 3),
        scores=(0.25, -1.0),
        settings={"method": "T-NID", "order": 4, "representatives": ["mean", "random"]},
        remedy="GELU in place of ReLU",
    )


def test_sets_are_found_by_names_and_numbers_in_any_order() -> None:
    found = ranking()
    expected = FeatureInteraction(("alpha", "gamma"), (0, 2), -5.0, 0.5, 1)
    for key in (("alpha", "gamma"), ("gamma", "alpha"), (0, 2), (2, 0), ("alpha", 2), (np.int64(2), 0)):
        assert found[key] == expected
        assert key in found
    assert found["gamma"] == found[2] == found[("gamma",)] == FeatureInteraction(("gamma",), (2,), 7.0, 0.7, 2)
    assert found["alpha", "beta", "gamma", "delta"].order == 4
    assert (0, 2, 3) not in found
    with pytest.raises(KeyError, match="alpha, gamma, delta"):
        found["delta", "gamma", "alpha"]


@pytest.mark.parametrize("key", [("alpha", "zeta"), "zeta", 4, -1, (0, 0), ("alpha", 0), (), (True, 2), 1.0, None])
def test_keys_that_are_none_are_refused(key: Any) -> None:
    with pytest.raises(InputError, match="key: expected"):
        ranking()[key]


@pytest.mark.parametrize("key", [("alpha", "zeta"), "zeta", 4, (0, 0), (), 1.0, None])
def test_what_is_no_key_is_not_there(key: object) -> None:
    assert key not in ranking()


def test_what_is_gone_through_is_there() -> None:
    assert all(found in ranking() for found in ranking())


def test_places_in_an_order_are_integers() -> None:
    pairs = ranking().order(2)
    assert pairs[np.int64(1)] == pairs[1]
    for position in ("alpha", ("alpha", "beta"), 1.0, True, None):
        with pytest.raises(InputError, match="position: expected a place"):
            pairs[position]


def test_a_set_beyond_the_highest_order_is_told_so() -> None:
    lower = {order: effects for order, effects in EFFECTS.items() if order < 3}
    with pytest.raises(KeyError, match=r"alpha, beta, gamma.*goes up to order 2"):
        ranking(lower)["alpha", "beta", "gamma"]


def test_each_order_is_a_sequence_the_strongest_first() -> None:
    pairs = ranking().order(2)
    assert [found.indices for found in pairs] == [(0, 2), (0, 1), (1, 3), (1, 2), (2, 3), (0, 3)]
    assert [found.rank for found in pairs] == [1, 2, 3, 4, 5, 6]
    assert pairs[-1].effect == 0
    assert pairs[1:3] == [pairs[1], pairs[2]]
    assert len(pairs) == 6
    assert pairs.order == 2
    with pytest.raises(IndexError):
        pairs[6]
    with pytest.raises(InputError, match="order: expected one of 1, 2, 3, 4, got 5"):
        ranking().order(5)


def test_the_strongest_of_each_order_or_mixed_if_asked_without_main_effects() -> None:
    found = ranking()
    expected = sorted(
        ((-abs(effect), len(members), members) for order in (2, 3, 4) for members, effect in EFFECTS[order].items())
    )
    by_order = [[members for _, size, members in expected if size == order] for order in (2, 3, 4)]
    assert [one.indices for one in found] == list(itertools.chain(*by_order))
    for k in (1, 3, 6, 100):
        assert [one.indices for one in found.top(k)] == list(itertools.chain(*(sets[:k] for sets in by_order)))
        assert [one.indices for one in found.top(k, mixed=True)] == [members for _, _, members in expected[:k]]
    assert len(found) == 10
    assert found.max_order == 4
    with pytest.raises(InputError, match="k: expected"):
        found.top(0)


def test_support_is_the_subsets_with_their_effects() -> None:
    found = ranking().support(("delta", "beta", "alpha"))
    assert [one.indices for one in found] == [(0, 1), (0, 3), (1, 3), (0,), (1,), (3,)]
    assert [one.effect for one in found] == [3.0, 0.0, 2.0, 9.0, 0.5, 0.0]
    assert (0, 2, 3) not in [one.indices for one in ranking().support((0, 1, 2, 3))]


def test_pairs_as_a_matrix() -> None:
    without = {**EFFECTS, 2: {k: v for k, v in EFFECTS[2].items() if k != (1, 3)}}
    matrix = ranking(without).pair_matrix()
    expected = np.array([[0, 3, -5, 0], [3, 0, 1, np.nan], [-5, 1, 0, 1], [0, np.nan, 1, 0]])
    np.testing.assert_array_equal(matrix, expected)


def literal_prune(found: InteractionRanking) -> list[tuple[int, ...]]:
    """Go down the ranking; leave a set out if a superset was there before (Tsang et al. 2018)."""
    kept: list[tuple[int, ...]] = []
    for one in found.top(100, mixed=True):
        if not any(set(one.indices) < set(before) for before in kept):
            kept.append(one.indices)
    return kept


def test_redundant_are_those_of_which_a_superset_is_stronger() -> None:
    pruned = ranking().prune_redundant()
    assert [one.indices for one in pruned] == [(0, 2), (1, 3), (0, 1, 2), (0, 1, 2, 3)]
    assert [one.indices for one in pruned.top(100, mixed=True)] == literal_prune(ranking())
    assert len(pruned.order(1)) == 4
    assert pruned.order(2)[1].rank == 2


@pytest.mark.parametrize("seed", range(8))
def test_pruning_equals_going_down_the_ranking(seed: int) -> None:
    generator = np.random.default_rng(seed)
    effects = {
        order: {
            members: float(generator.integers(-4, 5))
            for members in itertools.combinations(range(4), order)
            if order < 3 or generator.random() < 0.8
        }
        for order in (1, 2, 3, 4)
    }
    found = ranking({order: of for order, of in effects.items() if of})
    assert [one.indices for one in found.prune_redundant().top(100, mixed=True)] == literal_prune(found)


def test_a_table_of_all_sets() -> None:
    pytest.importorskip("pandas")
    table = ranking().to_pandas()
    assert list(table.columns) == ["order", "rank", "features", "effect", "spread"]
    assert len(table) == 14
    assert table.iloc[4].tolist() == [2, 1, ("alpha", "gamma"), -5.0, 0.5]


def test_the_record_of_shapiq() -> None:
    pytest.importorskip("shapiq")
    values = ranking().to_shapiq()
    assert values.n_players == 4
    assert values[(0, 2)] == -5.0
    assert values[(0, 1, 2, 3)] == 1.5
    assert values[(2,)] == 7.0
    assert (values.min_order, values.max_order) == (0, 4)


@pytest.mark.parametrize("package", ["pandas", "shapiq"])
def test_what_is_not_installed_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"pip install {package}"):
        getattr(ranking(), f"to_{package}")()


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    written = ranking()
    written.save(tmp_path / "deep" / "r.json")
    read = InteractionRanking.load(str(tmp_path / "deep" / "r.json"))
    assert list(read) == list(written)
    assert list(read.order(1)) == list(written.order(1))
    for name in ("feature_names", "representatives", "representative_indices", "scores", "settings", "remedy"):
        assert getattr(read, name) == getattr(written, name), name
    assert [(r.candidates, r.exhaustive) for r in read.orders.values()] == [(4, True), (6, True), (3, True), (1, True)]
    read.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "deep" / "r.json").read_bytes()


def test_numbers_and_names_survive_exactly(tmp_path: Path) -> None:
    names = ("", 'é\n"', "x" * 1000, "日")
    values = {(0,): 0.1 + 0.2, (1,): 5e-324, (2,): 1e308, (3,): -0.0}
    written = InteractionRanking(names, {1: of_order(values, names=names)}, representative_indices=None)
    written.save(tmp_path / "r.json")
    read = InteractionRanking.load(tmp_path / "r.json")
    assert read.feature_names == names
    assert read.representative_indices is None
    assert read.order(1).effects.tobytes() == written.order(1).effects.tobytes()


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], str]:
    def text(about: dict[str, Any]) -> str:
        change(about)
        return json.dumps(about)

    return text


def in_order(order: int, name: str, value: Any) -> Callable[[dict[str, Any]], str]:
    return changed(lambda about: about["orders"][order - 1].__setitem__(name, value))


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "empty": (lambda about: "", "no JSON"),
    "cut off": (lambda about: json.dumps(about)[:-20], "no JSON"),
    "deep": (lambda about: "[" * 100_000, "no JSON"),
    "list": (lambda about: "[]", "another kind"),
    "other kind": (changed(lambda about: about.__setitem__("kind", "x")), "another kind"),
    "newer": (changed(lambda about: about.__setitem__("version", 2)), "version 2, where this release reads version 1"),
    "NaN": (lambda about: json.dumps(about).replace("9.0", "NaN"), "do not fit"),
    "scores infinite": (changed(lambda about: about.__setitem__("scores", [math.inf])), "do not fit"),
    "names beside": (changed(lambda about: about.__setitem__("more", 1)), "do not fit"),
    "overflow": (lambda about: json.dumps(about).replace("9.0", "1e999"), "do not fit"),
    "missing": (changed(lambda about: about.pop("scores")), "do not fit"),
    "names twice": (changed(lambda about: about.__setitem__("feature_names", ["a"] * 4)), "do not fit"),
    "name number": (changed(lambda about: about["feature_names"].__setitem__(0, 3)), "do not fit"),
    "orders number": (changed(lambda about: about.__setitem__("orders", 3)), "do not fit"),
    "order twice": (in_order(2, "order", 1), "do not fit"),
    "order too high": (in_order(4, "order", 5), "do not fit"),
    "sets of another size": (in_order(2, "sets", [[0, 1, 2]] * 6), "do not fit"),
    "sets beyond": (in_order(1, "sets", [[0], [1], [2], [9]]), "do not fit"),
    "sets negative": (in_order(1, "sets", [[0], [1], [2], [-1]]), "do not fit"),
    "sets huge": (in_order(1, "sets", [[0], [1], [2], [2**80]]), "do not fit"),
    "sets twice": (in_order(1, "sets", [[0], [1], [2], [2]]), "do not fit"),
    "sets falling": (in_order(4, "sets", [[3, 2, 1, 0]]), "do not fit"),
    "sets text": (in_order(1, "sets", "abcd"), "do not fit"),
    "effects unordered": (in_order(1, "effects", [0.0, 1.0, 2.0, 3.0]), "do not fit"),
    "effects text": (in_order(1, "effects", ["a", "b", "c", "d"]), "do not fit"),
    "effects few": (in_order(1, "effects", [1.0]), "do not fit"),
    "spread nested": (in_order(1, "spread", [[1.0], [1.0], [1.0], [1.0]]), "do not fit"),
    "few candidates": (in_order(1, "candidates", 1), "do not fit"),
    "exhaustive text": (in_order(1, "exhaustive", "yes"), "do not fit"),
    "settings list": (changed(lambda about: about.__setitem__("settings", [])), "do not fit"),
    "indices text": (changed(lambda about: about.__setitem__("representative_indices", "ab")), "do not fit"),
    "remedy number": (changed(lambda about: about.__setitem__("remedy", 4)), "do not fit"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_files_that_do_not_fit_are_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    ranking().save(path)
    text, message = HOSTILE[case]
    path.write_text(text(json.loads(path.read_text())), encoding="utf-8")
    with pytest.raises(InputError, match=f"path: expected a file that InteractionRanking.save wrote.*{message}"):
        InteractionRanking.load(path)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(b"\x80\x04\x95\xff\xfe")
    with pytest.raises(InputError, match="no JSON"):
        InteractionRanking.load(tmp_path / "r")
    with pytest.raises(FileNotFoundError):
        InteractionRanking.load(tmp_path / "none")


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="candidates: expected at least 4"):
        of_order(EFFECTS[1], candidates=3)
    with pytest.raises(InputError, match="effects: expected finite"):
        of_order({(0,): float("nan")})
    with pytest.raises(InputError, match=r"orders\[3\]"):
        InteractionRanking(NAMES, {3: of_order(EFFECTS[2])})
    with pytest.raises(InputError, match="a name twice"):
        InteractionRanking(("a", "a"), {})
    assert len(InteractionRanking(NAMES, {})) == 0
    assert InteractionRanking(NAMES, {}).top(3) == []
