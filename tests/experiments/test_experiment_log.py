"""Units of an experiment from a rank log and events: exposures, outcomes, and what is left out."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from experiment_logs import HEAD, SALT, START_MS, events_of, write_drawn_logs, write_events, write_requests

from karec.errors import DataError
from karec.experiments.design import Design
from karec.experiments.experiment_log import read_experiment_log
from karec.experiments.metrics import Metrics
from karec.experiments.settings import Arm, Experiment, Experiments, Layer
from karec.experiments.units import check_assignment
from karec.online.event_files import to_table
from karec.times import DAY_MS, HOUR_MS

COUNTS = ("like", "like/impression", "play_s", "follow", "request", "degraded")
EXPERIMENT = Experiment(
    layer="diversity",
    start=datetime.fromtimestamp(START_MS / 1e3, UTC),
    end=datetime(2027, 1, 1, tzinfo=UTC),
    arms={
        "control": Arm(weight=0.5),
        "diverse": Arm(weight=0.5, patches={"scenes.home.rerank.dpp.diversity": 1}),
    },
    metrics=Metrics(primary="like", others=COUNTS[1:], days=2),
)
NOW_MS = START_MS + 30 * DAY_MS
LIKE = 1


def experiments(unit="user", **values):
    layers = {"diversity": Layer(salt=SALT, paths=("scenes.home.rerank.dpp",), unit=unit)}
    return Experiments(layers=layers, experiments={"dpp": EXPERIMENT.replace(**values)})


def request(user, hours, arm="control", name=None, degraded=()):
    arms = {"dpp": arm} if arm else {}
    return (name or f"{user}-{hours}", user, START_MS + round(hours * HOUR_MS), arms, degraded)


def event(user, hours, kind="impression", **columns):
    return {
        "kind": kind,
        "user_id": user,
        "item_id": 1,
        "time_ms": START_MS + round(hours * HOUR_MS),
    } | columns


LAST = event(99, 24 * 20)  # until when events are known


@pytest.fixture
def read(tmp_path):
    def read(requests, rows, *, unit="user", now_ms=NOW_MS, is_table=False, **values):
        write_requests(tmp_path / "log", requests)
        events = events_of([*rows, LAST])
        if is_table:
            source = to_table(events, HEAD)
        else:
            source = tmp_path / "events"
            write_events(source, events)
        design = Design.from_experiment(experiments(unit, **values), "dpp")
        return read_experiment_log(design, tmp_path / "log", source, now_ms)

    return read


REQUESTS = [
    request(1, 1),
    request(1, 30),
    request(2, 5, "diverse"),
    request(3, 2, arm=None),  # a user in no arm
]
EVENTS = [
    event(1, -1, labels=LIKE),  # before the exposure
    event(1, -60, labels=LIKE),  # earlier than the days before
    event(1, 1.5),
    event(1, 2, labels=LIKE),
    event(1, 48.9, "label", labels=LIKE),
    event(1, 49.1, labels=LIKE),  # after the two days
    event(1, 3, "play", play_ms=2_500),
    event(2, 6, "follow", creator_id=4),
    event(3, 3, labels=LIKE),
    event(4, 3, labels=LIKE),  # a user without a request
]


@pytest.mark.parametrize("is_table", [False, True])
def test_outcome_is_the_sum_over_the_days_after_the_first_exposure(read, is_table):
    log = read(REQUESTS, EVENTS, is_table=is_table)
    units = log.units
    assert units.user.tolist() == [1, 2] and units.arm.tolist() == [0, 1] and log.left_out == {}
    assert {name: values.tolist() for name, values in units.values.items()} == {
        "like": [2, 0],
        "impression": [2, 0],
        "play_s": [2.5, 0],
        "follow": [0, 1],
        "request": [2, 1],
        "degraded": [0, 0],
    }
    assert units.before["like"].tolist() == [1, 0] and units.has_before.tolist() == [True, False]
    assert units.end_ms.tolist() == [START_MS + 49 * HOUR_MS, START_MS + 53 * HOUR_MS]
    assert [(one.arm, one.units, one.requests) for one in log.facts] == [("control", 1, 2), ("diverse", 1, 1)]


def test_events_that_are_stored_twice_count_once(read):
    rows = [event(1, 2, labels=LIKE, number=5), event(1, 2, labels=LIKE, number=5)]
    assert read(REQUESTS, rows).units.values["like"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "now_ms"),
    [
        ({}, START_MS + 50 * HOUR_MS),  # events are known until then
        ({"end": datetime.fromtimestamp(START_MS / 1e3 + 50 * 3_600, UTC)}, NOW_MS),
    ],
)
def test_units_whose_days_are_not_over_are_exposed_but_not_in_the_result(read, values, now_ms):
    log = read(REQUESTS, [*EVENTS, event(98, 50)], now_ms=now_ms, **values)
    assert log.units.user.tolist() == [1] and log.until_ms == START_MS + 50 * HOUR_MS
    assert [(one.units, one.complete) for one in log.facts] == [(1, 1), (1, 0)]


def test_unit_in_two_arms_is_left_out_and_counted(read):
    log = read([*REQUESTS, request(1, 9, "diverse")], EVENTS)
    assert log.units.user.tolist() == [2] and log.left_out == {"users in two arms": 1}


def test_requests_of_other_times_arms_and_holdout_are_left_out(read):
    far = 24 * 400
    wrong = [request(5, -1), request(6, far), request(7, 1, "holdout"), request(8, 1, "third")]
    log = read([*REQUESTS, *wrong], EVENTS, now_ms=START_MS + 2 * far * HOUR_MS)
    assert log.units.user.tolist() == [1, 2]
    assert log.left_out == {
        "requests after the end": 1,
        "requests before the start": 1,
        "requests of an arm that the file lacks": 1,
        "requests of the holdout": 1,
    }


def test_requests_later_than_the_look_are_left_out_and_counted(read):
    log = read([*REQUESTS, request(9, 24 * 99)], EVENTS)
    assert log.units.user.tolist() == [1, 2] and log.left_out == {"requests later than the look": 1}


def test_events_of_wrong_clocks_are_left_out_and_counted(read):
    rows = [
        event(1, -5, labels=LIKE, request_id="1-1"),  # from before its own request
        event(1, 0.99, labels=LIKE, request_id="1-1"),  # half a minute before: at the request's time
        event(1, 4, labels=LIKE, logged_ms=START_MS + HOUR_MS),  # three hours before it was logged
        event(1, 24 * 90, labels=LIKE, logged_ms=START_MS + 24 * 90 * HOUR_MS),
    ]
    log = read(REQUESTS, rows)
    assert log.units.values["like"].tolist() == [1, 0] and log.units.before["like"].tolist() == [0, 0]
    assert log.left_out == {
        "events before their request": 1,
        "events from the future": 1,
        "events later than the look": 1,
    }
    assert log.until_ms == LAST["time_ms"]


def test_log_ends_at_the_time_of_the_last_event_not_of_its_storage(read):
    late = event(1, 49, logged_ms=START_MS + 90 * HOUR_MS)
    assert read(REQUESTS, [late], now_ms=START_MS + 100 * HOUR_MS).until_ms == START_MS + 49 * HOUR_MS


def test_sessions_have_the_events_that_name_their_requests(read):
    requests = [request(1, 1), request(1, 30, "diverse"), request(1, 40, "diverse"), request(2, 3)]
    rows = [
        event(1, 2, labels=LIKE, request_id="1-1"),
        event(1, 31, labels=LIKE, request_id="1-30"),
        event(1, 41, "label", labels=LIKE, request_id="1-40"),
        event(1, 95, "label", labels=LIKE, request_id="1-40"),  # after two days
        event(1, 2, labels=LIKE),
    ]
    log = read(requests, rows, unit="session")
    assert log.units.user.tolist() == [1, 1, 2] and log.units.arm.tolist() == [0, 1, 0]
    assert log.units.values["like"].tolist() == [1, 2, 0]
    assert log.units.values["request"].tolist() == [1, 2, 1] and log.left_out == {}
    assert [(one.units, one.complete) for one in log.facts] == [
        (2, 2),
        (0, 0),
    ]  # by each user's first request


@pytest.mark.parametrize("unit", ["user", "session"])
def test_log_always_has_the_number_of_requests(read, unit):
    log = read(REQUESTS, EVENTS, unit=unit, metrics=Metrics(primary="like", days=2))
    assert log.units.values["request"].tolist() == [2, 1]


def test_facts_count_degraded_pages_and_pages_that_got_control(read):
    missing = "request.experiments: dpp.diverse"
    requests = [
        request(2, 1, "diverse", degraded=("recall.social",)),
        request(2, 2, "diverse", degraded=(missing, "rank: fallback")),
        request(2, 3, "diverse"),
        request(2, 4, "diverse", degraded=("request.experiments: other.diverse",)),
        request(1, 1),
    ]
    log = read(requests, [])
    control, diverse = log.facts
    assert (diverse.degraded, diverse.got_control) == (0.75, 0.25) and control.degraded == 0
    assert log.units.values["degraded"].tolist() == [0, 3]
    assert (control.p99_ms, diverse.p99_ms) == (1, 1)


def test_p99_is_computed_over_the_pages_of_an_arm(read):
    requests = [(f"r{i}", i, START_MS + i, {"dpp": "control"}, ()) for i in range(200)]
    control, diverse = read(requests, []).facts
    assert control.p99_ms == np.quantile(1 + np.arange(200) % 10, 0.99) and diverse.p99_ms is None


def test_creators_are_counted_over_equal_numbers_of_units(read):
    requests = [request(user, 1, "diverse" if user == 9 else "control") for user in (1, 2, 3, 9)]
    rows = [event(user, 2, creator_id=10 * user + i) for user in (1, 2, 3) for i in range(4)]
    rows += [event(9, 2, creator_id=i) for i in range(3)]
    assert [one.creators for one in read(requests, rows).facts] == [4, 3]


def test_creators_missing_in_events_come_from_the_works(read, tmp_path):
    rows = [event(1, 2, item_id=item) for item in (5, 6, 7)] + [event(2, 6, item_id=5, creator_id=9)]
    assert [one.creators for one in read(REQUESTS, rows).facts] == [None, 1]
    works = {"item_id": np.array([5, 6]), "creator_id": np.array([50, 60])}
    design = Design.from_experiment(experiments(), "dpp")
    log = read_experiment_log(design, tmp_path / "log", tmp_path / "events", NOW_MS, works)
    assert [one.creators for one in log.facts] == [2, 1]


@pytest.mark.parametrize("metric", ["lke", "like/lke"])
def test_unknown_metric_is_refused(read, metric):
    with pytest.raises(DataError, match=r"'lke' is unknown \(did you mean 'like'\?\)"):
        read(REQUESTS, EVENTS, metrics=Metrics(primary=metric))


def test_log_without_requests_of_the_experiment_is_refused(read, tmp_path):
    with pytest.raises(DataError, match=r"no request of 'dpp' counts; its requests are in \['other=a'\]"):
        read([("r", 1, START_MS, {"other": "a"}, ())], EVENTS)
    read(REQUESTS, EVENTS)
    design = Design.from_experiment(experiments(), "dpp")
    with pytest.raises(DataError, match="holds no rank log"):
        read_experiment_log(design, tmp_path / "none", tmp_path / "events", NOW_MS)
    with pytest.raises(DataError, match=r"has no exported events"):
        read_experiment_log(design, tmp_path / "log", tmp_path / "none", NOW_MS)


@pytest.mark.parametrize(("unit", "values"), [("creator", {}), ("user", {"interleave": True})])
def test_experiments_whose_users_are_not_in_one_arm_are_refused(unit, values):
    with pytest.raises(DataError, match="interleaved, or by creator"):
        Design.from_experiment(experiments(unit, **values), "dpp")


def test_experiment_without_events_is_refused(read):
    with pytest.raises(DataError, match="there are no events"):
        read(REQUESTS, EVENTS, now_ms=START_MS - 99 * DAY_MS)


def test_damaged_part_is_refused(read, tmp_path):
    read(REQUESTS, EVENTS)
    next((tmp_path / "log").glob("*.parquet")).write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read"):
        read_experiment_log(
            Design.from_experiment(experiments(), "dpp"), tmp_path / "log", tmp_path / "events", NOW_MS
        )


def test_assignment_of_another_version_is_refused(tmp_path):
    write_drawn_logs(tmp_path, n_users=300, days=5, before=1)
    settings = experiments()
    design = Design.from_experiment(settings, "dpp")
    units = read_experiment_log(design, tmp_path / "rank_log", tmp_path / "events", NOW_MS).units
    assert len(units) > 100
    check_assignment(units, settings, "dpp", lambda users: users)
    with pytest.raises(DataError, match="in another arm than version 2 assigns"):
        check_assignment(units, experiments(version=2), "dpp", lambda users: users)
    check_assignment(units, experiments(version=2), "dpp", lambda users: np.full(len(users), None))
    check_assignment(replace(units, kind="session"), experiments(version=2), "dpp", lambda users: users)


def test_design_from_scenes_has_all_users_in_one_arm(tmp_path):
    write_drawn_logs(tmp_path, n_users=300, days=2, before=9)
    begin = START_MS - 6 * DAY_MS
    design = Design.from_scenes(experiments(), "dpp", begin, START_MS)
    units = read_experiment_log(design, tmp_path / "rank_log", tmp_path / "events", START_MS).units
    assert set(units.arm) == {0} and len(units) > 100 and units.end_ms.max() <= START_MS
    assert units.has_before.any() and units.values["like"].sum() > 0
