"""The bound of the loss by exposure guarantees, against exact linear programs, policies and bad input."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from karec.cli.app import run
from karec.lab.studies.exposure_bound import ExposureProblem, bound_loss, generate_scores, read_scores
from karec.lab.studies.exposure_replay import (
    cap,
    control,
    drift_scores,
    max_min,
    measure_exposure,
    top_k,
    user_orders,
)

FILE_HINT = "Write it with numpy.savez"


def small_problem(seed, k=3, fraction=0.8):
    scores, groups = generate_scores(12, 10, 4, seed=seed)
    return ExposureProblem(scores, groups, np.full(4, fraction / 4), k)


def exact_loss(problem):
    """Returns the least loss of fractional pages: variables are users × items."""
    n_users, n_items = problem.scores.shape
    fill_pages = np.kron(np.eye(n_users), np.ones(n_items))
    is_member = problem.groups == np.arange(len(problem.shares))[:, None]
    counts = np.tile(is_member.astype(float), n_users)
    solved = linprog(
        -problem.scores.ravel().astype(float),
        A_ub=-counts,
        b_ub=-problem.shares * problem.n_impressions,
        A_eq=fill_pages,
        b_eq=np.full(n_users, problem.k),
        bounds=(0, 1),
    )
    return 1 + solved.fun / problem.best


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([0.3, 0.8, 1.0]))
def test_bound_equals_the_exact_linear_program(seed, k, fraction):
    problem = small_problem(seed, k, fraction)
    exact = exact_loss(problem)
    bound = bound_loss(problem).loss
    assert bound <= exact + 1e-9
    assert bound == pytest.approx(exact, rel=0.02, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0, 1))
def test_bound_is_never_above_the_loss_of_pages_that_keep_guarantees(seed, k, fraction):
    rng = np.random.default_rng(seed)
    scores, groups = generate_scores(12, 10, 4, seed=seed)
    noisy = scores + rng.random() * rng.random(scores.shape)
    pages = np.argsort(-noisy, axis=1)[:, :k]
    shares = fraction * np.bincount(groups[pages].ravel(), minlength=4) / pages.size
    problem = ExposureProblem(scores, groups, shares, k)
    loss = 1 - np.take_along_axis(scores, pages, axis=1).sum(dtype=float) / problem.best
    assert bound_loss(problem).loss <= loss + 1e-9


def test_bound_is_zero_without_guarantees():
    scores, groups = generate_scores(20, 15, 3)
    assert bound_loss(ExposureProblem(scores, groups, np.zeros(3), 4)).loss == 0


@pytest.fixture(scope="module")
def problem():
    scores, groups = generate_scores(1_200, 200, 8, seed=3)
    return ExposureProblem(scores, groups, np.full(8, 0.6 / 8), 10)


def test_exposure_control_keeps_guarantees_near_the_bound(problem):
    order = np.random.default_rng(0).permutation(len(problem.scores))
    bound = bound_loss(problem).loss
    for n_processes in (1, 4):
        outcome = control(problem, order, 0.005, n_processes=n_processes)
        assert outcome.fulfilment >= 0.95
        assert bound * 0.9 <= outcome.loss <= max(1.25 * bound, bound + 0.003)


def test_simple_policies_lose_as_their_pages_do(problem):
    assert top_k(problem).loss == pytest.approx(0, abs=1e-12)
    capped = cap(problem)
    assert 0 < capped.loss < 1
    order = np.arange(len(problem.scores))
    regularised = max_min(problem, order)
    assert regularised.fulfilment >= 0.95 and 0 < regularised.loss < capped.loss


def test_cap_allows_the_fewest_items_of_a_group_that_fill_pages():
    scores = np.array([[0.9, 0.8, 0.7, 0.2, 0.1]], np.float32)
    groups = np.array([0, 0, 0, 1, 1])
    outcome = cap(ExposureProblem(scores, groups, np.full(2, 0.5), 4))
    assert outcome.fulfilment == 1
    assert outcome.loss == pytest.approx(1 - (0.9 + 0.8 + 0.2 + 0.1) / (0.9 + 0.8 + 0.7 + 0.2))


def test_orders_are_permutations_and_drift_changes_groups_over_time():
    scores, groups = generate_scores(50, 30, 4)
    rng = np.random.default_rng(0)
    for order in user_orders(scores, groups, rng).values():
        assert np.sort(order).tolist() == list(range(50))
    ratios = drift_scores(scores, groups, rng) / scores
    for group in range(4):
        of_group = ratios[:, groups == group]
        np.testing.assert_allclose(of_group, of_group[:, :1].repeat(of_group.shape[1], 1), rtol=1e-5)
        assert np.ptp(of_group) == pytest.approx(0.2, abs=0.01)


def test_same_seed_gives_the_same_rows_but_for_times():
    scores, groups = generate_scores(60, 30, 4)
    times = {"score_us": None, "count_us": None}
    first, second = (measure_exposure(scores, groups, [0.5], k=4, seed=2) for _ in range(2))
    assert [row | times for row in first] == [row | times for row in second]
    assert {row["order"] for row in first} == {"random", "mean score", "favourite group", "time with drift"}


SCORES, GROUPS = generate_scores(6, 8, 3)


def changed(scores, at, value):
    scores = scores.copy()
    scores[at] = value
    return scores


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"scores": changed(SCORES, (2, 1), np.nan), "groups": GROUPS},
            r"scores\[2, 1\] is nan, expected a fin",
        ),
        ({"scores": SCORES.astype(float), "groups": GROUPS}, "expected float32 of shape"),
        (
            {"scores": SCORES[0], "groups": GROUPS},
            r"shape \(8,\), expected float32 of shape \(users, items\)",
        ),
        ({"scores": SCORES, "groups": GROUPS[1:]}, r"expected integers of shape \(8,\)"),
        ({"scores": SCORES, "groups": GROUPS.astype(float)}, "groups: float64 .* expected integers"),
        ({"scores": SCORES, "groups": changed(GROUPS, 0, -1)}, "groups: -1 is out of range"),
        ({"scores": SCORES, "groups": changed(GROUPS, 0, 2**40)}, f"groups: {2**40} is out of range"),
        ({"scores": SCORES, "groups": np.minimum(GROUPS * 2, 7)}, "no item has group 1. Number the groups"),
        ({"scores": SCORES}, FILE_HINT),
        ({"scores": np.array([object()]), "groups": GROUPS}, FILE_HINT),
    ],
)
def test_file_with_wrong_arrays_is_refused_with_its_name(tmp_path, arrays, message):
    file = tmp_path / "scores.npz"
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=rf"scores\.npz: .*{message}"):
        read_scores(file)


@pytest.mark.parametrize("write", [lambda file: file.write_text("x"), lambda file: np.save(file, SCORES)])
def test_file_that_is_not_an_npz_file_is_refused(tmp_path, write):
    file = tmp_path / "scores.npy"
    write(file)
    with pytest.raises(ValueError, match=FILE_HINT):
        read_scores(file)


@pytest.mark.parametrize(
    ("shares", "k", "message"),
    [
        (np.full(3, 0.4), 4, "guarantees add up to 1.2 of the impressions, expected at most 1"),
        (np.array([0.2, 0.2, -0.1]), 4, "expected a number ≥ 0"),
        (np.full(2, 0.1), 4, "expected a number ≥ 0 for each of 3 groups"),
        (np.full(3, 0.1), 9, "k is 9, expected 1 to 8, the number of items"),
        (np.array([0.0, 0.0, 0.9]), 4, "group 2 has 1 items: they fill at most 0.25 of pages of 4"),
    ],
)
def test_guarantees_that_no_pages_keep_are_refused(shares, k, message):
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    with pytest.raises(ValueError, match=message):
        ExposureProblem(SCORES, groups, shares, k)


def test_scores_without_relevance_are_refused():
    with pytest.raises(ValueError, match="add up to 0, expected more than 0"):
        ExposureProblem(np.zeros_like(SCORES), GROUPS, np.zeros(3), 2)


def test_command_writes_the_rows_of_an_own_file(tmp_path, capsys):
    file, out = tmp_path / "scores.npz", tmp_path / "rows.json"
    scores, groups = generate_scores(60, 30, 4)
    np.savez(file, scores=scores, groups=groups)
    words = [
        "lab",
        "exposure-bound",
        "--file",
        str(file),
        "--k",
        "4",
        "--guarantee",
        "0.5",
        "--out",
        str(out),
    ]
    assert run(words) == 0
    assert "exposure control, 4 processes" in capsys.readouterr().out
    rows = json.loads(out.read_text())
    assert len(rows) == 8 and all(row["bound"] <= row["loss"] for row in rows if row["fulfilment"] >= 1)
    with pytest.raises(ValueError, match=r"guarantees add up to 1\.2"):
        run([*words, "--guarantee", "1.2"])
    with pytest.raises(FileNotFoundError, match="Create it, or name another file"):
        run([*words, "--out", str(tmp_path / "missing" / "rows.json")])
