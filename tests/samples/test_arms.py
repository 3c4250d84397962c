"""Rows of a training by the arm of their request: in rank logs, in events, and by fractions of other arms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replayed_log import events_of, head_of, write_store
from small_dataset import make_dataset

from karec.errors import DataError
from karec.logs.write import RankLogWriter
from karec.online.read_log import EventSource
from karec.samples.arms import ArmRows, read_request_arms
from karec.samples.from_events import with_events

TEXTS = np.array(["dpp=wide;fusion=control", "dpp=narrow", "", "fusion=wide", "dpp=holdout"], object)
KNOWN = 500


def test_own_rows_and_rows_in_no_arm_are_kept():
    kept = ArmRows("dpp", "wide").keep(TEXTS, TEXTS)
    assert kept.tolist() == [True, False, True, True, False]
    assert ArmRows("dpp", "wide", other_arms=1.0).keep(TEXTS, TEXTS).all()
    assert ArmRows("fusion", "wide").keep(TEXTS, TEXTS).tolist() == [False, True, True, True, True]


@given(fractions=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 99))
def test_larger_fraction_of_other_arms_keeps_the_rows_of_a_smaller_one(fractions, seed):
    ids = np.array([f"{seed}-{i}" for i in range(400)], object)
    arms = np.full(400, "dpp=narrow", object)
    few, more = (ArmRows("dpp", "wide", fraction).keep(arms, ids) for fraction in sorted(fractions))
    assert not (few & ~more).any()
    assert abs(few.mean() - min(fractions)) < 0.15


def test_rows_of_one_request_are_kept_together():
    ids = np.repeat(np.array([f"r{i}" for i in range(50)], object), 4)
    kept = ArmRows("dpp", "wide", 0.5).keep(np.full(200, "dpp=narrow", object), ids).reshape(50, 4)
    assert (kept.all(axis=1) | ~kept.any(axis=1)).all() and 0 < kept.mean() < 1


@pytest.mark.parametrize("arms", [ArmRows("dpp", "other"), ArmRows("none", "wide")])
def test_log_without_a_request_in_the_arm_is_refused(arms):
    with pytest.raises(DataError, match=r"no request is in the arm '\w+' of the experiment '\w+', only in"):
        arms.check_log(TEXTS)
    ArmRows("dpp", "wide").check_log(TEXTS)


@pytest.fixture
def platform(tmp_path):
    """A dataset without its last exposures, a store with them, and the rank log of their requests: those of
    users with even numbers are in one arm, except the last ten, which the log lacks."""
    dataset = make_dataset()
    head = head_of(dataset)
    added = dataset.exposures.take(slice(KNOWN, None))
    events = events_of(added, head)
    requests = np.array([f"r{i}" for i in range(len(added))], object)
    request_of = dict(
        zip(zip(added.user_id, added.work_id, added.time_ms, strict=True), requests, strict=True)
    )
    keys = zip(events.user_id, events.item_id, events.time_ms, strict=True)
    events.request_id[:] = [request_of.get(key, "") for key in keys]
    url = write_store(tmp_path / "online.db", dataset.snapshot, head, events)
    with RankLogWriter(tmp_path / "log", ()) as log:
        for i in range(len(added) - 10):
            log.append(
                request_id=requests[i],
                user_id=int(added.user_id[i]),
                item_ids=added.work_id[i : i + 1],
                scene="home",
                time_ms=int(added.time_ms[i]),
                model_version=1,
                logits=np.empty((1, 0), np.float32),
                fused=np.zeros(1, np.float32),
                arms={"dpp": ("even", "odd")[added.user_id[i] % 2]},
            )
    return dataset, EventSource(url), tmp_path / "log"


def test_events_of_other_arms_are_left_out_of_a_training(platform):
    dataset, source, log = platform
    known = dataset.exposures.take(slice(0, KNOWN))
    start = type(dataset)(**{**vars(dataset), "exposures": known})
    extended = with_events(start, source, arm_rows=ArmRows("dpp", "even"), log=log)
    added = dataset.exposures.take(slice(KNOWN, None))
    is_kept = added.user_id % 2 == 0
    is_kept[-10:] = True
    assert len(extended.exposures) == KNOWN + is_kept.sum()
    n_left_out = len(added) - is_kept.sum()
    assert f"online store: {n_left_out} exposures of other arms, left out" in extended.notes
    pooled = with_events(start, source, arm_rows=ArmRows("dpp", "even", 1.0), log=log)
    assert len(pooled.exposures) == len(dataset.exposures)


def test_arms_of_requests_are_read_from_the_rank_log(platform):
    _, _, log = platform
    arms = read_request_arms(log)
    assert set(arms.values()) == {"dpp=even", "dpp=odd"} and len(arms) == 90
