"""The steps that steer exposure: what prices do to scores, which works are explored, and how requests and the
writer share the prices.
"""

import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from steered_requests import FLOORS, NOW, TARGETS, asked, fifty_works, known, show, steering

from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.errors import ContractError
from karec.exposure.boosts import Behind
from karec.exposure.constraints import Cap, Spread, Target
from karec.exposure.controller import KEPT_VERSIONS, PUBLISH_FEEDS, Steering
from karec.exposure.dual_variables import steered
from karec.pipeline.cascade import Cascade, Recall
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.step import Source, Stage
from karec.pipeline.trace import Trace
from karec.pipeline.types import Candidates, Page, Request
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.scorers.exposure_control import (
    EXPLORED,
    NOBODY,
    Exposure,
    ExposurePrices,
    Exposures,
    Underexposed,
    thompson,
)
from karec.steps.selectors.top_k import TopK
from karec.steps.sources.merge import Merge
from karec.times import HOUR_MS


@pytest.fixture
def index():
    return fifty_works()


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.data())
def test_a_price_of_zero_changes_no_bit_and_another_is_in_deviations(scores, data):
    scores = np.array(scores, np.float32)
    prices = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 0.5, -2.0]), min_size=len(scores), max_size=len(scores)))
    )
    found = steered(scores, prices)
    wide = scores.astype(np.float64)
    deviation = wide.std() if wide.std() > 0 else 1.0
    np.testing.assert_allclose(
        found, wide - prices * deviation, rtol=1e-6, atol=1e-6 * abs(wide).max() + 1e-40
    )
    untouched = prices == 0
    assert found[untouched].tobytes() == scores[untouched].tobytes() and found.dtype == np.float32


def test_before_the_first_feed_the_step_hands_on_the_very_scores(index):
    of = steering(index, caps=(Cap("creator_id", 0.2),), floors=FLOORS, places_a_day=1000, explore=1)
    candidates = known(index, range(50), np.random.default_rng(1).normal(size=50).astype(np.float32))
    noted = Exposure(of).score(asked(index, of), candidates)
    assert noted.value is candidates.scores
    assert noted.notes["feeds"] == 0 and noted.notes["prices"] == {"type 1": 0.0, "younger than 12 h": 0.0}


def test_a_works_price_is_the_sum_of_its_groups_prices(index):
    of = steering(index, caps=(Cap("creator_id", 0.1),), floors=FLOORS, places_a_day=1000)
    show(of, index, [0, 1, 5, 7, 30], at=NOW + 12 * HOUR_MS)  # creators -1, 0, -1, 1, -1; the floor is due
    prices, at = of.newest, np.arange(50)
    (type_1, young), (works,) = prices.groups.tolist(), prices.works
    ((column, creators),) = prices.columns
    assert (
        column == "creator_id"
        and type_1 > 0
        and young < 0
        and creators.keys.tolist() == [0, 1]
        and len(works)
    )
    expected = type_1 * (at % 2) + young * (at < 24) * (at < 0)
    for column, keyed in ((at % 5 - 1, creators), (at + 1000, works)):
        for key, value in zip(keyed.keys.tolist(), keyed.values.tolist(), strict=True):
            expected = expected + value * (column == key)
    request = asked(index, of, time_ms=NOW + 12 * HOUR_MS)
    np.testing.assert_allclose(prices.of(request, known(index, at)), expected, rtol=1e-12)
    younger = prices.of(request.with_features({}), known(index, at))
    later = prices.of(asked(index, of, time_ms=NOW), known(index, at))
    np.testing.assert_allclose(later - younger, young * (at < 12), rtol=1e-9, atol=1e-12)


def test_a_candidate_without_a_row_is_refused_once_there_is_a_price(index):
    of = steering(index)
    show(of, index, [1, 3])
    with pytest.raises(ContractError, match="1 of 2 candidates have no row"):
        Exposure(of).score(asked(index, of), known(index, [1, 2]).with_rows(np.array([1, -1])))


def test_a_request_reads_one_version_of_the_prices_from_its_first_step_to_its_last(index):
    of = steering(index)
    show(of, index, [1, 3])
    request, candidates = asked(index, of), known(index, range(50), np.arange(50))
    before = Exposure(of).score(request, candidates)
    show(of, index, [1, 3])
    assert of.newest.version == before.notes["version"] + 1
    again = Exposure(of).score(request, candidates)
    assert again.notes is before.notes and again.value.tobytes() == before.value.tobytes()
    assert (Exposure(of).score(asked(index, of), candidates).value != before.value).any()
    show(of, index, [1, 3], times=PUBLISH_FEEDS * KEPT_VERSIONS)
    assert Exposure(of).score(request, candidates).notes["version"] == of.newest.version, (
        "it outlived what is kept"
    )


def test_feeds_are_counted_ten_by_ten_and_at_the_flush(index):
    of = steering(index)
    show(of, index, [1, 3], times=PUBLISH_FEEDS - 1)
    assert (of.held, of.newest.version) == (PUBLISH_FEEDS - 1, 0)
    of.settle()
    assert (of.held, of.newest.version, of.snapshot()["feeds"]) == (0, 1, PUBLISH_FEEDS - 1)
    of.settle()
    assert of.newest.version == 1, "nothing to count"


def behind(index, **settings):
    """Works 1000 … 1023 are new, and 12 hours later none of them was shown but 1000."""
    settings = {"targets": (), "floors": FLOORS, "places_a_day": 1000, "explore": 2, **settings}
    of = steering(index, **settings)
    show(of, index, [0, 30], at=NOW + HOUR_MS // 2)
    return of


def explored_ids(request):
    ids = request.features[EXPLORED][0]
    return ids[ids != NOBODY]


def test_what_is_explored_is_behind_its_floor_and_the_same_for_the_same_request(index):
    of = behind(index)
    late = set(of.newest.behind.ids.tolist())
    assert late and late <= set(range(1001, 1024))
    drawn = {name: tuple(explored_ids(asked(index, of, request_id=name))) for name in map(str, range(40))}
    assert all(len(works) == 4 and set(works) <= late for works in drawn.values())
    assert drawn == {name: tuple(explored_ids(asked(index, of, request_id=name))) for name in drawn}
    assert len(set(drawn.values())) > 20, "another request explores others"
    first = drawn["0"][0]
    assert first not in explored_ids(asked(index, of, request_id="0", shown=(int(first),)))


def test_the_source_brings_what_is_explored_up_to_its_quota(index):
    of = behind(index)
    request = asked(index, of)
    found = Underexposed(of, quota=9).recall(request)
    assert found.ids.tolist() == explored_ids(request).tolist() and found.pinned.all()
    assert Underexposed(of, quota=1).recall(request).ids.tolist() == explored_ids(request)[:1].tolist()
    nobody = steering(index)
    assert len(Underexposed(nobody, quota=9).recall(asked(index, nobody))) == 0


def test_pinned_items_get_a_score_of_the_first_half_of_the_page(index):
    of = behind(index, bound=1e-9)  # a boost that changes no order
    places = []
    for name in map(str, range(60)):
        request = asked(index, of, request_id=name)
        scores = -np.arange(50, dtype=np.float32)
        scores[:24] -= 100
        candidates = known(index, range(50), scores)
        candidates = candidates.with_pinned(np.isin(candidates.ids, explored_ids(request)))
        noted = Exposure(of).score(request, candidates)
        assert noted.notes["explored"] == 2
        feed = candidates.ids[np.argsort(-noted.value, kind="stable")][:6].tolist()
        lifted = candidates.ids[candidates.pinned][:2].tolist()
        assert set(lifted) <= set(feed[:4]) and sum(work < 1024 for work in feed) == 2
        places += [feed.index(work) for work in lifted]
    assert set(places) == {0, 1, 2, 3}


def test_thompson_sampling_prefers_works_that_are_enjoyed():
    ids = np.arange(10)
    rates = Behind(ids, ids, 0 * ids, np.where(ids == 4, 90.0, 1.0), np.where(ids == 4, 10.0, 99.0))
    first = [int(thompson(rates, Request(1, request_id=str(i)), 1)[0]) for i in range(200)]
    assert np.mean(np.array(first) == 4) > 0.8
    even = Behind(ids, ids, 0 * ids, np.ones(10), np.ones(10))
    first = np.bincount(
        [int(thompson(even, Request(1, request_id=str(i)), 1)[0]) for i in range(2_000)], minlength=10
    )
    assert first.min() > 50 and first[0] > first[9], "those that are farther behind come first in the order"


def test_rates_and_earlier_shows_are_those_of_the_snapshot(index):
    works = Table(
        np.arange(1000, 1050),
        {"count_exposed": np.full(50, 3, np.float32), "count_like": np.ones(50, np.float32)},
    )
    snapshot = Snapshot(NOW, works, Table(np.array([1]), {}), {}, {}, meaning=Meaning(enjoyed=("like",)))
    of = Steering(index, snapshot, floors=FLOORS, places_a_day=1000, explore=1)
    show(of, index, [0], at=NOW + 12 * HOUR_MS)
    late = of.newest.behind.ids.tolist()
    assert late == list(range(1001, 1012)), "the works younger than a day by then, each shown 3 of 4 times"
    np.testing.assert_allclose(of.newest.behind.alpha, 20 / 3 + 1)
    np.testing.assert_allclose(of.newest.behind.beta, 40 / 3 + 2)


class Everything(Source):
    def __init__(self, quota):
        self.quota, self.name = quota, "everything"

    def recall(self, request):
        return Candidates.from_ids(np.arange(1000, 1050))


def cascade(index, of):
    stage = Stage("rank", (IndexRows(index.schema), Exposure(of), TopK()))
    for step in stage.steps:
        step.name = type(step).__name__.lower()
    observer = Exposures(of)
    observer.name = "exposures"
    sources = (Underexposed(of, quota=4), Everything(50))
    recall = Recall(sources, Merge((4, 50), 54))
    return Cascade("home", (ExposurePrices(of),), recall, (stage,), (SideEffectQueue(observer),), index=index)


def test_threads_serve_while_prices_move_and_every_feed_is_counted(index):
    of = behind(index, targets=TARGETS)
    before = of.snapshot()["feeds"]
    with cascade(index, of) as serving:
        seen = []

        def serve(user):
            for i in range(60):
                feed = serving.run(Request(user, 6, time_ms=NOW + HOUR_MS + i, request_id=f"{user}-{i}"))
                notes = {
                    json.dumps(dict(step.notes), sort_keys=True)
                    for step in feed.trace.steps
                    if step.step == "exposure"
                }
                seen.append((len(feed), *notes))

        threads = [threading.Thread(target=serve, args=(user,)) for user in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (counts,) = serving.close()
    assert (counts.done, counts.failed, counts.dropped) == (240, 0, 0)
    assert of.snapshot()["feeds"] == before + 240
    assert len(seen) == 240 and all(n == 6 for n, *_ in seen)
    by_version: dict[int, set[str]] = {}
    for _, notes in seen:
        told = json.loads(notes)
        told.pop("explored")
        by_version.setdefault(told["version"], set()).add(json.dumps(told))
    assert all(len(each) == 1 for each in by_version.values()), (
        "a version is one set of prices, whoever reads it"
    )


def test_published_prices_are_never_written_again(index):
    of = behind(
        index,
        targets=TARGETS,
        caps=(Cap("creator_id", 0.2),),
        spread=(Spread(1.0), Spread(1.0, "creator_id")),
    )
    prices = of.newest
    tables = [*prices.works, *(keyed for _, keyed in prices.columns)]
    arrays = [
        prices.groups,
        *(array for keyed in tables for array in (keyed.keys, keyed.values, keyed.slots)),
    ]
    assert not any(array.flags.writeable for array in arrays)
    copies = [array.copy() for array in arrays]
    show(of, index, [1, 3, 5], times=50)
    assert all((array == copy).all() for array, copy in zip(arrays, copies, strict=True))


def test_a_feed_that_says_it_is_of_the_future_counts_as_of_now(index):
    """Else what was shown would not fade until then."""
    of = steering(index, targets=(), spread=(Spread(1.0),))
    show(of, index, [7], at=4_000_000_000_000)
    assert of.kept()["time_ms"] <= time.time_ns() // 1_000_000
    assert of.newest.works[0].keys.tolist() == [1007]


def test_the_observer_flushes_what_it_holds_back_a_second_later(index):
    of = steering(index)
    observer = Exposures(of)
    assert observer.due() is None
    request = asked(index, of)
    observer.run(request, Page(request, known(index, [1, 2]), Trace()))
    assert observer.due() is not None and of.held == 1
    observer.flush()
    assert observer.due() is None and observer.counts() == {"price_version": 1, "behind_floors": 0}
    observer.run(request, Page(request, known(index, [1]).with_rows(np.array([-1])), Trace()))
    observer.close()
    assert of.snapshot()["feeds"] == 2, "a work that the index does not know counts as a place of no group"


@pytest.mark.parametrize(
    "wants", [{"targets": (Target({"1": 0.3}, column="tone"),)}, {"targets": (), "caps": (Cap("tone", 0.3),)}]
)
def test_a_column_of_no_integers_is_refused(index, wants):
    with pytest.raises(ValueError, match=r"s\[0\]: the column 'tone' has dtype float64, expected integers$"):
        steering(index, **wants)


@pytest.mark.parametrize("step", [ExposurePrices, Exposure, Exposures, lambda none: Underexposed(none, 4)])
def test_a_step_without_the_scenes_table_is_refused(step):
    with pytest.raises(
        ValueError,
        match=r"^the scene has no table `exposure`: write "
        r"\[scenes.NAME.exposure\]",
    ):
        step(None)
