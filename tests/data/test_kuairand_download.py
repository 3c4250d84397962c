"""The preset kuairand on an official download, where there is one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from dataset_digests import dataset_digests
from kuairand_files import HISTORY, LOG, load_kuairand, moment

from karec.catalog.dataset import Dataset
from karec.times import DAY_MS, HOUR_MS


@pytest.fixture(scope="module")
def real(kuairand_root: Path) -> Dataset:
    return load_kuairand(kuairand_root)


GOLDEN = Path(__file__).parents[1] / "golden" / "kuairand.json"


def test_what_is_learned_of_the_real_files_is_what_it_has_been(real: Dataset, kuairand_root: Path) -> None:
    """The digests were written by the loader that made docs/results.md, before the preset took its place;
    those of ``history`` again when histories came to hold 100 works, which added four to the ready-made lists
    of 50."""
    if not any((folder / HISTORY).is_file() for folder in (kuairand_root, kuairand_root / "data")):
        pytest.skip(f"the digests are of files with {HISTORY}, which an official download lacks")
    assert dataset_digests(real) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_the_real_log_loses_nothing_but_repeats(real: Dataset, kuairand_root: Path) -> None:
    folder = kuairand_root if (kuairand_root / LOG).is_file() else kuairand_root / "data"
    raw = pa.csv.read_csv(folder / LOG).to_pydict()
    distinct = {
        key[:3]
        for key in zip(raw["user_id"], raw["video_id"], raw["time_ms"], raw["date"], strict=True)
        if key[3] >= 20220425
    }
    before = [key for key in distinct if key[2] < moment(4, 25, 0)]
    assert len(real.exposures) == len(distinct) - len(before)
    assert real.snapshot.works["count_exposed"].sum() == len(before)
    keys = np.stack([real.exposures.user_id, real.exposures.work_id, real.exposures.time_ms])
    assert np.unique(keys, axis=1).shape[1] == len(real.exposures)


def test_the_date_of_the_real_log_is_the_day_in_china_or_the_next(kuairand_root: Path) -> None:
    """``date`` is the day on which a row was recorded: never before the exposure, and rarely the day
    after."""
    folder = kuairand_root if (kuairand_root / LOG).is_file() else kuairand_root / "data"
    raw = pa.csv.read_csv(
        folder / LOG, convert_options=pa.csv.ConvertOptions(include_columns=["date", "time_ms"])
    )
    date = raw["date"].to_numpy()
    days = np.array(
        [np.datetime64(f"{d // 10000}-{d // 100 % 100:02d}-{d % 100:02d}") for d in np.unique(date)]
    )
    recorded = days[np.searchsorted(np.unique(date), date)].astype(np.int64)
    in_china = (raw["time_ms"].to_numpy() + 8 * HOUR_MS) // DAY_MS
    assert set(np.unique(recorded - in_china)) <= {0, 1}
    assert (recorded == in_china).mean() > 0.99


def test_the_splits_and_label_rates_are_those_of_the_published_log(real: Dataset) -> None:
    parts = real.split()
    assert [len(part) > 20_000 for part in parts] == [True, True, True]
    assert 0.43 < real.exposures.labels["click"].mean() < 0.46
    assert 0.30 < real.exposures.labels["long_view"].mean() < 0.33
    assert 0.015 < real.exposures.labels["like"].mean() < 0.02
    assert (np.diff(real.exposures.time_ms) >= 0).all()
    assert real.exposures.time_ms[0] >= real.snapshot.time_ms
