"""The log of an arm is read as it was written; damaged logs are rejected by name."""

import numpy as np
import pytest

from karec.errors import DataError
from karec.lab.simulate.arm_log import ARRAYS, BEFORE, EXPOSURES, NEVER, ArmLog, read_day, write_day


def make_log(n=7, days=3, **changes):
    random = np.random.default_rng(0)
    exposures = {name: random.integers(0, 2, n).astype(dtype) for name, dtype in EXPOSURES.items()}
    exposures["day"] = np.sort(random.integers(0, days, n))
    fields = {
        "name": "an arm",
        "days": days,
        "n_users": 4,
        "creators": [1, 3],
        "exposures": exposures,
        "work_upload_day": [BEFORE, 0, NEVER],
        "work_creator": [1, 3, 3],
        "upload_ms": [5, 6, 7],
        "sessions": random.integers(0, 3, (days, 4)),
        "quit_day": [-1, 2],
        "facts": {"requests": 3},
    }
    return ArmLog(**{**fields, **changes})


def write(log, folder):
    folder.mkdir()
    bounds = np.searchsorted(log.exposures["day"], np.arange(log.days + 1))
    for day in range(log.days):
        rows = slice(bounds[day], bounds[day + 1])
        write_day(folder, day, {name: column[rows] for name, column in log.exposures.items()})
    log.write_end(folder)


def test_arm_log_equals_the_written_one(tmp_path):
    log = make_log()
    write(log, tmp_path / "arm")
    copy = ArmLog.read(tmp_path / "arm")
    assert (copy.name, copy.days, copy.n_users, copy.facts) == (log.name, log.days, log.n_users, log.facts)
    for name, dtype in ARRAYS.items():
        assert getattr(copy, name).dtype == dtype
        np.testing.assert_array_equal(getattr(copy, name), getattr(log, name))
    for name, dtype in EXPOSURES.items():
        assert copy.exposures[name].dtype == dtype
        np.testing.assert_array_equal(copy.exposures[name], log.exposures[name])


def test_days_are_read_one_by_one(tmp_path):
    log = make_log()
    write(log, tmp_path / "arm")
    for day in range(log.days):
        works = log.exposures["work"][log.exposures["day"] == day]
        np.testing.assert_array_equal(read_day(tmp_path / "arm", day)["work"], works)


def test_arm_log_rejects_an_arm_that_has_not_ended(tmp_path):
    write(make_log(), tmp_path / "arm")
    (tmp_path / "arm" / "arm.json").unlink()
    with pytest.raises(DataError, match="not an arm of a simulation, or one that has not ended"):
        ArmLog.read(tmp_path / "arm")


def test_arm_log_names_a_damaged_day(tmp_path):
    write(make_log(), tmp_path / "arm")
    (tmp_path / "arm" / "day-0001.npz").write_bytes(b"no day")
    with pytest.raises(DataError, match=r"day-0001\.npz"):
        ArmLog.read(tmp_path / "arm")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sessions": np.zeros((2, 4))}, "sessions has shape"),
        ({"quit_day": [1]}, "quit_day has shape"),
        ({"exposures": {}}, "exposures of an arm have the columns"),
    ],
)
def test_arm_log_rejects_arrays_of_other_shapes(changes, message):
    with pytest.raises(DataError, match=message):
        make_log(**changes)
