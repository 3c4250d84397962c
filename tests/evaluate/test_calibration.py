"""Calibration of scores by outcomes: the join of logs and events, the map, and its error on held-out days."""

import numpy as np
import pytest

from karec.aggregates.events import IMPRESSION, LABEL, Events, Head
from karec.catalog.schema import Meaning
from karec.errors import DataError
from karec.evaluate.calibration import ServedOutcomes, calibrate, served_outcomes
from karec.logs.read import read_rank_log
from karec.logs.write import RankLogWriter
from karec.times import DAY_MS

MEANING = Meaning(enjoyed=("sing",))


def truth(score):
    return 1 / (1 + np.exp(1.5 - 2.0 * score))


def outcomes_of(n, *, days=4, seed=0, probability=truth):
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n).astype(np.float32)
    is_enjoyed = rng.random(n) < probability(score)
    return ServedOutcomes(rng.integers(0, n // 10, n), np.arange(n) * days * DAY_MS // n, score, is_enjoyed)


def test_calibration_finds_the_probability_of_a_score():
    calibration, error = calibrate(outcomes_of(20_000), "rank")
    scores = np.linspace(-2, 2, 50)
    assert np.abs(calibration.apply(scores) - truth(scores)).max() < 0.02
    assert error.ece <= 0.02 and error.n_rows == 5_000
    assert error.interval[0] <= error.ece <= error.interval[1]


def test_error_is_measured_on_days_that_were_not_fitted():
    outcomes = outcomes_of(20_000)
    outcomes.is_enjoyed[15_000:] = False  # nobody enjoys anything on the last day
    error = calibrate(outcomes, "rank")[1]
    assert error.ece > 0.2


@pytest.mark.parametrize("probability", [lambda score: truth(-score), lambda score: 0.3 + 0.0 * score])
def test_score_that_does_not_rise_with_outcomes_gets_about_the_rate(probability):
    outcomes = outcomes_of(20_000, probability=probability)
    calibration, _ = calibrate(outcomes, "rank")
    rate = outcomes.is_enjoyed.mean()
    assert calibration.rate == rate
    assert calibration.apply(np.array([-2.0, 0.0, 2.0])) == pytest.approx([rate] * 3, abs=0.03)


@pytest.mark.parametrize("is_enjoyed", [False, True])
def test_calibrate_refuses_outcomes_of_one_kind(is_enjoyed):
    outcomes = outcomes_of(5_000)
    outcomes.is_enjoyed[:] = is_enjoyed
    with pytest.raises(DataError, match="with 20 enjoyed and others"):
        calibrate(outcomes, "rank")


@pytest.mark.parametrize("n", [0, 300])
def test_calibrate_refuses_few_outcomes_with_their_number(n):
    outcomes = outcomes_of(max(n, 10)).take(np.arange(n))
    with pytest.raises(DataError, match=r"shown items before the last day.*Expected at least 500"):
        calibrate(outcomes, "rank")


def rank_log_of(folder, rows, item_type):
    """``rows``: (request id, scene, ranked items, items of the page, scores)."""
    with RankLogWriter(folder, (), item_type=item_type) as writer:
        for request_id, scene, items, page, scores in rows:
            writer.append(
                request_id=request_id,
                user_id=5,
                item_ids=np.array(items),
                scene=scene,
                time_ms=1_000,
                model_version=1,
                logits=np.empty((len(items), 0), np.float32),
                fused=np.array(scores, np.float32),
                page_ids=np.array(page),
            )


def events_of(rows):
    """``rows``: (kind, time, item, item type, labels, request id) of user 5."""
    kinds, times, items, types, labels, requests = zip(*rows, strict=True)
    n = len(rows)
    return Events.from_columns(
        np.array([{"impression": IMPRESSION, "label": LABEL}[kind] for kind in kinds]),
        source=np.ones(n, np.uint64),
        number=np.arange(n).astype(np.uint64),
        time_ms=np.array(times),
        user_id=np.full(n, 5),
        item_id=np.array(items),
        item_type=np.array(types, object),
        labels=np.array(labels, np.uint64),
        request_id=np.array(requests, object),
    )


def test_outcomes_join_log_and_events_by_request_item_and_type(tmp_path):
    rank_log_of(
        tmp_path,
        [
            ("r1", "feed", [1, 2, 3], [-1, 2, 1], [0.1, 0.2, 0.3]),  # 3 is not on the page
            ("r2", "feed", [1, 2], [1, 2], [0.4, 0.5]),  # 2 was never reported
            ("r3", "songs", [1], [1], [0.6]),  # another scene
        ],
        "song",
    )
    events = events_of(
        [
            ("impression", 10, 1, "song", 0, "r1"),
            ("impression", 11, 2, "song", 0b10, "r1"),  # with its label
            ("impression", 20, 1, "song", 0, "r2"),
            ("label", 21, 1, "song", 0b10, ""),  # belongs to r2, the last impression before it
            ("label", 22, 2, "", 0b10, ""),  # of the work 2, not of the song 2
            ("impression", 30, 3, "song", 0, "r1"),
            ("impression", 31, 1, "song", 0b10, "r3"),
        ]
    )
    head = Head(("click", "sing"))
    found = served_outcomes(read_rank_log(tmp_path, ()), head, events, "feed", "song", MEANING)
    rows = sorted(zip(found.score.tolist(), found.is_enjoyed.tolist(), strict=True))
    assert rows == [(pytest.approx(0.1), False), (pytest.approx(0.2), True), (pytest.approx(0.4), True)]
    none = served_outcomes(read_rank_log(tmp_path, ()), head, events, "feed", "live", MEANING)
    assert len(none.score) == 0
