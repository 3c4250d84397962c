"""Cross features: C++ and the portable twin against plain loops, for one user and for a user an item."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from karec import _native
from karec.kernels import portable

BACKENDS = pytest.mark.parametrize("backend", [_native, portable], ids=["native", "portable"])
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
    drawn = np.random.default_rng(dim).normal(size=(5, dim))
    return (drawn * (np.arange(5) > 0)[:, None]).astype(np.float32)


def crosses(backend, user, items, cowatch=None):
    return backend.crosses(*(user[name] for name in LISTS), [0, 2], items, 1, cowatch)


def expected(user, n, items, cowatch):
    """One row, by loops."""
    histories = user["history"][n], user["skipped"][n]
    row = []
    for each in histories:
        row += [math.log1p((each[:, i] == items[n, i]).sum()) if items[n, i] else 0.0 for i in range(C)]
    for each in histories:
        held = [each[:, i].tolist() for i in range(C)]
        row += [
            1 / (1 + held[i].index(items[n, i])) if items[n, i] and items[n, i] in held[i] else 0
            for i in range(C)
        ]
    row += [float(items[n, 1] > 0 and items[n, 1] in user[name][n]) for name in ("follows", "friends")]
    row += [float(items[n, i] > 0 and items[n, i] == user["alike"][n, p]) for p, i in enumerate((0, 2))]
    if cowatch is not None:
        vectors, history, skipped, own = cowatch
        kept, passed = (
            [vectors[r].astype(float) @ vectors[own[n]] for r in each[n] if r] for each in (history, skipped)
        )
        row += [max(kept, default=0.0), np.mean(kept) if kept else 0.0, np.mean(passed) if passed else 0.0]
    return row


@BACKENDS
@given(user=users, items=works, rows=rows, dim=st.sampled_from([0, 3, 16, 64]))
def test_each_item_is_crossed_with_its_user(backend, user, items, rows, dim):
    cowatch = (vectors_of(dim), *rows) if dim else None
    found = crosses(backend, user, items, cowatch)
    assert found.dtype == np.float32
    wanted = [expected(user, n, items, cowatch) for n in range(N)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@BACKENDS
@given(user=users, items=works, rows=rows)
def test_one_user_for_all_items_has_the_bits_of_the_same_user_for_each(backend, user, items, rows):
    first = {name: value[:1] for name, value in user.items()}
    each = {name: np.repeat(value, N, axis=0) for name, value in first.items()}
    vectors, (history, skipped, own) = vectors_of(16), rows
    one = crosses(backend, first, items, (vectors, history[:1], skipped[:1], own))
    many = crosses(
        backend, each, items, (vectors, np.repeat(history[:1], N, 0), np.repeat(skipped[:1], N, 0), own)
    )
    assert one.tobytes() == many.tobytes()


@given(user=users, items=works)
def test_both_backends_give_the_same_bits_but_for_cosines(user, items):
    assert crosses(_native, user, items).tobytes() == crosses(portable, user, items).tobytes()


def test_a_long_history_is_counted_whole():
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
    found, twin = (
        each.crosses(*(user[name] for name in LISTS), [], items, 0, cowatch) for each in (_native, portable)
    )
    np.testing.assert_array_equal(found[:, :-3], twin[:, :-3])
    np.testing.assert_allclose(found[:, -3:], twin[:, -3:], rtol=1e-5, atol=1e-6)


@BACKENDS
def test_no_items_give_no_rows_and_other_shapes_are_refused(backend):
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
    assert crosses(backend, user, np.zeros((0, C), np.int64)).shape == (0, 4 * C + 2 + P)
    with pytest.raises(
        ValueError, match=r"history has shape \(1, 2, 3\), expected \(1, H, 4\) as items has shape \(5, 4\)"
    ):
        crosses(backend, user, np.zeros((5, 4), np.int64))
    with pytest.raises(ValueError, match="skipped has shape"):
        crosses(backend, {**user, "skipped": np.zeros((2, 2, C), np.int64)}, np.zeros((N, C), np.int64))
    with pytest.raises(ValueError, match="float64"):
        crosses(backend, user, np.zeros((N, C)))
    outside = vectors_of(4), np.full((1, 2), 5), np.zeros((1, 2), np.int64), np.ones(N, np.int64)
    with pytest.raises(ValueError, match="a row of the co-watch vectors is 5"):
        crosses(backend, user, np.zeros((N, C), np.int64), outside)
    with pytest.raises(ValueError, match="outside of items"):
        backend.crosses(*(user[name] for name in LISTS), [0, 3], np.zeros((N, C), np.int64), 1, None)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("of", [0, 1, 3])
def test_a_vector_that_is_not_finite_gives_the_same_on_both_backends(odd, of):
    """Place 0 to 2 of the history, or of the skipped works; the largest is NaN where one cosine is."""
    vectors = vectors_of(5).repeat(2, axis=0)[1:].astype(np.float32)
    vectors[3, 1] = odd
    history, skipped = np.array([[1, 2, 4]]), np.array([[1, 2]])
    (history[0], skipped[0])[of == 3][of % 3] = 3
    user = {
        name: np.zeros((1, *shape), np.int64) for name, shape in (("history", (3, 1)), ("skipped", (2, 1)))
    }
    user |= {name: np.zeros((1, 0), np.int64) for name in LISTS[2:]}
    items, own = np.zeros((4, 1), np.int64), np.array([0, 1, 2, 3])
    native, twin = (
        each.crosses(*(user[name] for name in LISTS), [], items, -1, (vectors, history, skipped, own))[:, -3:]
        for each in (_native, portable)
    )
    np.testing.assert_allclose(native, twin, rtol=1e-5, atol=1e-6)
    assert not native[0].any()
    assert (np.isnan(native[1:, 2 * (of == 3)]) | ~np.isnan(odd)).all()
    assert (~np.isfinite(native[1:])).any(axis=1).all()


def refusal(call):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    return error.type, str(error.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shared": [-1, 0]}, r"a column lies outside of items (5, 3)"),
        ({"shared": [0.5, 1.0]}, "shared has dtype float64 and shape (2,), expected int64"),
        ({"shared": [2**70, 0]}, "shared has dtype object and shape (2,), expected int64"),
        ({"history": [[[1]], [[1, 2]]]}, ""),
        ({"cowatch": (np.ones((2, 3), np.float32),)}, "cowatch has 1 parts, expected 4 arrays"),
        ({"cowatch": 3}, "'int' object is not iterable"),
    ],
)
def test_both_backends_refuse_in_the_same_words(changed, said):
    user = {
        name: np.zeros((1, *shape), np.int64) for name, shape in (("history", (2, C)), ("skipped", (2, C)))
    }
    user |= {"follows": np.zeros((1, 1), np.int64), "friends": np.zeros((1, 1), np.int64)}
    given = {
        **user,
        "alike": np.zeros((1, P), np.int64),
        "shared": [0, 2],
        "items": np.ones((N, C), np.int64),
    }
    given = {**given, "creator": 1, "cowatch": None, **changed}
    native, twin = (
        refusal(lambda backend=backend: backend.crosses(*given.values())) for backend in (_native, portable)
    )
    assert native == twin
    assert said in native[1]


def test_lists_are_as_good_as_arrays():
    arrays_of = [np.ones((1, 2, 1), np.int64)] * 2 + [np.ones((1, 1), np.int64)] * 3
    for backend in (_native, portable):
        lists_of = [each.tolist() for each in arrays_of]
        found = backend.crosses(*lists_of, [0], [[1], [2]], 0, None)
        np.testing.assert_array_equal(
            found, backend.crosses(*arrays_of, np.array([0]), np.array([[1], [2]]), 0, None)
        )
