"""The preset kuairand on an official download."""

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


@pytest.fixture(scope="module")
def real(kuairand_root: Path) -> Dataset:
    return load_kuairand(kuairand_root)


GOLDEN = Path(__file__).parents[1] / "golden" / "kuairand.json"


def test_kuairand_download_has_its_golden_digests(real: Dataset, kuairand_root: Path) -> None:
    """The digests are those of the data behind docs/results.md."""
    if not any((folder / HISTORY).is_file() for folder in (kuairand_root, kuairand_root / "data")):
        pytest.skip(f"the digests are of files with {HISTORY}, which an official download lacks")
    assert dataset_digests(real) == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_kuairand_download_loses_only_repeated_rows(real: Dataset, kuairand_root: Path) -> None:
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
