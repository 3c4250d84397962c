"""Cross features against plain loops, for one user and for one user for each item."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from karec import _native

N, C, H, S, L, P = 5, 3, 6, 4, 3, 2
UNSEEN = 1 << 62
LISTS = "history", "skipped", "follows", "friends", "alike"
codes = st.sampled_from([0, 1, 2, 3, UNSEEN, UNSEEN + 5])
lists = {
    "history": arrays(np.int64, (N, H, C), elements=codes),
    "skipped": arrays(np.int64, (N, S, C), elements=codes),
    "follows": arrays(np.int64, (N, L), elements=codes),
    "friends": arrays(np.int64, (N, L), elements=codes),
    "alike": arrays(np.int64, (N, P), elements=codes),
}
users, works = st.fixed_dictionaries(lists), arrays(np.int64, (N, C), elements=codes)
rows = st.tuples(*(arrays(np.int64, shape, elements=st.integers(0, 4)) for shape in ((N, H), (N, S), (N,))))


def vectors_of(dim):
    vectors = np.random.default_rng(dim).normal(size=(5, dim))
    return (vectors * (np.arange(5) > 0)[:, None]).astype(np.float32)


RATES = np.array([0.3, 0.1, 0.55, 0.2])
SHARES = [np.array([0.05, 0.5, 0.2]), np.array([0.01, 0.3, 0.3, 0.4]), np.array([1.0])]


def affinities_of(user, kind):
    """Returns the argument ``affinities``: the lists of ``user``, and rates or shares."""
    priors = {"rates": (RATES, ()), "shares": ([], tuple(SHARES))}
    return (user["history"], user["skipped"], *priors[kind])


def crosses(user, items, cowatch=None, affinities=None, positions=None):
    lists = (user[name] for name in LISTS)
    return _native.CrossInputs(*lists, [0, 2], items, 1, cowatch, affinities, positions).crosses()


def expected(user, n, items, cowatch, creator=1, shared=(0, 2)):
    """Returns row ``n`` by loops."""
    histories = user["history"][n], user["skipped"][n]
    columns = range(items.shape[1])
    row = []
    for entry in histories:
        row += [math.log1p((entry[:, i] == items[n, i]).sum()) if items[n, i] else 0.0 for i in columns]
    for entry in histories:
        content = [entry[:, i].tolist() for i in columns]
        row += [
            1 / (1 + content[i].index(items[n, i])) if items[n, i] and items[n, i] in content[i] else 0
            for i in columns
        ]
    row += [
        float(items[n, creator] > 0 and items[n, creator] in user[name][n]) for name in ("follows", "friends")
    ]
    row += [float(items[n, i] > 0 and items[n, i] == user["alike"][n, p]) for p, i in enumerate(shared)]
    if cowatch is not None:
        vectors, history, skipped, own, *als = cowatch
        enjoyed_cosines, skipped_cosines = (
            [vectors[r].astype(float) @ vectors[own[n]] for r in entry[n] if r]
            for entry in (history, skipped)
        )
        row += [max(enjoyed_cosines, default=0.0)]
        row += [np.mean(cosines) if cosines else 0.0 for cosines in (enjoyed_cosines, skipped_cosines)]
        if als:
            factors, (gram,) = als
            enjoyed = factors[np.unique(history[n][history[n] > 0])].astype(float)
            user = np.linalg.solve(gram + enjoyed.T @ enjoyed, enjoyed.sum(axis=0))
            row += [user @ factors[own[n]]]
    return row


def expected_affinities(user, n, items, kind):
    """Returns the affinities of row ``n`` in float64, by the formulas of karec.features.affinities."""

    def prior(values, code):
        return values[code if 0 < code < len(values) else 0]

    history, skipped = user["history"][n], user["skipped"][n]
    n_enjoyed = (history[:, 0] > 0).sum()
    slots = np.concatenate([history, skipped])
    rates = np.array([prior(RATES, code) if code else 0.0 for code in slots[:, 0]])
    row = []
    for i, code in enumerate(items[n]):
        enjoyed = (history[:, i] == code).sum()
        if kind == "rates":
            share_of_rates = rates[slots[:, i] == code].sum() / rates.sum() if rates.any() else 0.0
            ratio = (enjoyed + 20 * RATES[0]) / (share_of_rates * n_enjoyed + 20 * RATES[0])
        else:
            ratio = (enjoyed / prior(SHARES[i], code) + 20) / (n_enjoyed + 20)
        row.append(np.log(ratio) if code else 0.0)
    return row


@given(user=users, items=works, kind=st.sampled_from(["rates", "shares"]))
def test_affinities_equal_a_plain_computation(user, items, kind):
    for name in ("history", "skipped"):  # a missing item has no values
        user[name] = np.where(user[name][:, :, :1] == 0, 0, user[name])
    result = crosses(user, items, affinities=affinities_of(user, kind))[:, -C:]
    target = [expected_affinities(user, n, items, kind) for n in range(N)]
    np.testing.assert_allclose(result, target, rtol=1e-6, atol=1e-7)
    single = {name: value[:1] for name, value in user.items()}
    repeated = {name: np.repeat(value, N, axis=0) for name, value in single.items()}
    one, each = (crosses(entry, items, affinities=affinities_of(entry, kind)) for entry in (single, repeated))
    assert one.tobytes() == each.tobytes()


def test_log_position_is_the_last_column_and_0_if_unknown():
    user = {
        name: np.zeros((1, *shape), np.int64) for name, shape in (("history", (2, C)), ("skipped", (2, C)))
    }
    user |= {"follows": np.zeros((1, 1), np.int64), "friends": np.zeros((1, 1), np.int64)}
    user["alike"], items = np.zeros((1, P), np.int64), np.zeros((4, C), np.int64)
    known, unknown = crosses(user, items, positions=[1, 0, 2, 7]), crosses(user, items, positions=[])
    np.testing.assert_allclose(known[:, -1], [0, 0, np.log(2), np.log(7)], rtol=1e-7)
    assert known.shape == unknown.shape == (4, crosses(user, items).shape[1] + 1) and not unknown[:, -1].any()
    with pytest.raises(ValueError, match=r"positions has shape \(2,\)"):
        crosses(user, items, positions=[1, 2])


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((), "shares has 0 parts, expected one for each category"),
        ((*SHARES[:2], []), "the number of shares must be positive"),
    ],
)
def test_affinities_refuse_shares_of_other_categories(shares, message):
    user = {
        name: np.zeros((1, *shape), np.int64) for name, shape in (("history", (2, C)), ("skipped", (2, C)))
    }
    user |= {"follows": np.zeros((1, 1), np.int64), "friends": np.zeros((1, 1), np.int64)}
    user["alike"], items = np.zeros((1, P), np.int64), np.zeros((4, C), np.int64)
    with pytest.raises(ValueError, match=message):
        crosses(user, items, affinities=(user["history"], user["skipped"], [], shares))


def als_of(dim):
    """Returns factors of the items of ``vectors_of`` at one moment, and their gram."""
    factors = vectors_of(dim)[:, ::-1].copy()
    return factors, (factors.T.astype(float) @ factors + np.eye(dim))[None]


@given(
    user=users,
    items=works,
    rows=rows,
    dim=st.sampled_from([0, 3, 16, 64]),
    als=st.sampled_from([0, 1, 3, 20]),
)
def test_crosses_equal_a_plain_computation(user, items, rows, dim, als):
    cowatch = (vectors_of(dim), *rows, *(als_of(als) if als else ())) if dim else None
    result = crosses(user, items, cowatch)
    assert result.dtype == np.float32
    target = [expected(user, n, items, cowatch) for n in range(N)]
    np.testing.assert_allclose(result, target, rtol=1e-5, atol=1e-5)


@given(user=users, items=works, rows=rows)
def test_crosses_of_one_user_equal_those_of_a_repeated_user(user, items, rows):
    single = {name: value[:1] for name, value in user.items()}
    repeated = {name: np.repeat(value, N, axis=0) for name, value in single.items()}
    vectors, (history, skipped, own) = vectors_of(16), rows
    als = als_of(5)
    expected_rows = crosses(single, items, (vectors, history[:1], skipped[:1], own, *als))
    lists = np.repeat(history[:1], N, 0), np.repeat(skipped[:1], N, 0)
    assert expected_rows.tobytes() == crosses(repeated, items, (vectors, *lists, own, *als)).tobytes()


def test_als_reads_the_gram_of_the_moment_of_a_row():
    """Two moments have the same factors, so that only their grams differ."""
    (factors, gram), own = als_of(4), np.array([1, 2])
    user = {
        name: np.zeros((2, *shape), np.int64) for name, shape in (("history", (2, C)), ("skipped", (0, C)))
    }
    user |= {name: np.zeros((2, 0), np.int64) for name in ("follows", "friends")}
    user["alike"], items = np.zeros((2, P), np.int64), np.zeros((2, C), np.int64)
    history, none = np.array([[3, 4]] * 2), np.zeros((2, 0), np.int64)

    def scores(vectors, grams, rows):
        lists = np.where(history > 0, history + rows, 0), none, own + rows
        als = np.tile(factors, (len(grams), 1)), np.concatenate(grams)
        return crosses(user, items, (np.tile(vectors, (len(grams), 1)), *lists, *als))[:, -1]

    vectors = vectors_of(3)
    for moment, moment_gram in enumerate((gram, 3 * gram)):
        np.testing.assert_array_equal(
            scores(vectors, [gram, 3 * gram], moment * len(factors)), scores(vectors, [moment_gram], 0)
        )
    assert (scores(vectors, [gram], 0) != scores(vectors, [3 * gram], 0)).all()
    with pytest.raises(ValueError, match="a gram of ALS is not positive definite"):
        scores(vectors, [-gram], 0)
    with pytest.raises(ValueError, match=r"the rows of als \(5, 4\) are not those of 2 moments"):
        crosses(user, items, (vectors, history, none, own, factors, np.concatenate([gram, gram])))


def test_crosses_count_all_of_a_long_history():
    rng = np.random.default_rng(1)
    user = {
        name: rng.integers(0, 30, (1, *shape))
        for name, shape in (
            ("history", (300, 2)),
            ("skipped", (0, 2)),
            ("follows", (100,)),
            ("friends", (0,)),
            ("alike", (0,)),
        )
    }
    items, own = rng.integers(0, 40, (200, 2)), rng.integers(0, 50, 200)
    cowatch = (
        rng.normal(size=(50, 24)).astype(np.float32),
        rng.integers(0, 50, (1, 300)),
        np.zeros((1, 0), int),
        own,
    )
    cowatch[0][0] = 0
    lists = (user[name] for name in LISTS)
    result = _native.CrossInputs(*lists, [], items, 0, cowatch, None, None).crosses()
    entry = {name: np.repeat(value, 200, axis=0) for name, value in user.items()}
    vectors, history, skipped, _ = cowatch
    repeated = vectors, np.repeat(history, 200, 0), np.repeat(skipped, 200, 0), own
    target = [expected(entry, n, items, repeated, creator=0, shared=()) for n in range(200)]
    np.testing.assert_allclose(result, target, rtol=1e-5, atol=1e-5)


def test_crosses_of_no_items_are_empty_and_bad_shapes_are_rejected():
    user = {
        name: np.zeros((1, *shape), np.int64)
        for name, shape in (
            ("history", (2, C)),
            ("skipped", (2, C)),
            ("follows", (1,)),
            ("friends", (1,)),
            ("alike", (P,)),
        )
    }
    assert crosses(user, np.zeros((0, C), np.int64)).shape == (0, 4 * C + 2 + P)
    with pytest.raises(
        ValueError, match=r"history has shape \(1, 2, 3\), expected \(1, H, 4\) as items has shape \(5, 4\)"
    ):
        crosses(user, np.zeros((5, 4), np.int64))
    with pytest.raises(ValueError, match="skipped has shape"):
        crosses({**user, "skipped": np.zeros((2, 2, C), np.int64)}, np.zeros((N, C), np.int64))
    with pytest.raises(ValueError, match="float64"):
        crosses(user, np.zeros((N, C)))
    outside = vectors_of(4), np.full((1, 2), 5), np.zeros((1, 2), np.int64), np.ones(N, np.int64)
    with pytest.raises(ValueError, match="a row of the co-watch vectors is 5"):
        crosses(user, np.zeros((N, C), np.int64), outside)
    with pytest.raises(ValueError, match="outside of items"):
        _native.CrossInputs(
            *(user[name] for name in LISTS), [0, 3], np.zeros((N, C), np.int64), 1, None, None, None
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_crosses_of_a_non_finite_vector_are_not_finite(value, place):
    """Places 0 to 2 are of the history, 3 is of the skipped works. The largest cosine is NaN if one is."""
    vectors = vectors_of(5).repeat(2, axis=0)[1:].astype(np.float32)
    vectors[3, 1] = value
    history, skipped = np.array([[1, 2, 4]]), np.array([[1, 2]])
    (history[0], skipped[0])[place == 3][place % 3] = 3
    user = {
        name: np.zeros((1, *shape), np.int64) for name, shape in (("history", (3, 1)), ("skipped", (2, 1)))
    }
    user |= {name: np.zeros((1, 0), np.int64) for name in LISTS[2:]}
    items, own = np.zeros((4, 1), np.int64), np.array([0, 1, 2, 3])
    cowatch = vectors, history, skipped, own
    result = _native.CrossInputs(
        *(user[name] for name in LISTS), [], items, -1, cowatch, None, None
    ).crosses()[:, -3:]
    assert not result[0].any()
    assert (np.isnan(result[1:, 2 * (place == 3)]) | ~np.isnan(value)).all()
    assert (~np.isfinite(result[1:])).any(axis=1).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shared": [-1, 0]}, r"a column is outside of items (5, 3)"),
        ({"shared": [0.5, 1.0]}, "shared has dtype float64 and shape (2,), expected int64"),
        ({"shared": [2**70, 0]}, "shared has dtype object and shape (2,), expected int64"),
        ({"history": [[[1]], [[1, 2]]]}, "inhomogeneous shape"),
        ({"cowatch": (np.ones((2, 3), np.float32),)}, "cowatch has 1 parts, expected 4 or 6 arrays"),
        ({"cowatch": 3}, "'int' object is not iterable"),
        ({"affinities": (np.ones((1, 1)),)}, "affinities has 1 parts, expected 4"),
    ],
)
def test_crosses_name_the_argument_that_they_reject(changed, message):
    user = {
        name: np.zeros((1, *shape), np.int64) for name, shape in (("history", (2, C)), ("skipped", (2, C)))
    }
    user |= {"follows": np.zeros((1, 1), np.int64), "friends": np.zeros((1, 1), np.int64)}
    arguments = {
        **user,
        "alike": np.zeros((1, P), np.int64),
        "shared": [0, 2],
        "items": np.ones((N, C), np.int64),
    }
    arguments |= {"creator": 1, "cowatch": None, "affinities": None, "positions": None, **changed}
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        _native.CrossInputs(*arguments.values())
