"""Tests of the quality model of screening."""

import shutil
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import screened_library

from karec.errors import ConfigError, DataError
from karec.learn.run.quality_model import train_quality
from karec.models.onnx_model import OnnxModel
from karec.screening.quality import ModelScorer
from karec.screening.settings import read_settings


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path, _, model = screened_library.make(tmp_path_factory.mktemp("library"))
    return path, model


@pytest.fixture
def copy(trained, tmp_path):
    """The path of a screen.toml that a test may change."""
    shutil.copytree(trained[0].parent, tmp_path / "library")
    return tmp_path / "library" / "screen.toml"


def batch_of(path, day):
    return pq.read_table(path.parent / "uploads" / f"day={day}").combine_chunks().to_batches()[0]


def test_quality_is_the_expected_fraction_of_long_views(trained):
    path, model = trained
    assert model.auc > 0.6 and model.rows > 1000 and model.first == "2026-10-01"
    batch = batch_of(path, "2026-10-06")
    outcomes = pq.read_table(path.parent / "outcomes" / "day=2026-10-06")
    quality = ModelScorer(path.parent / "quality.onnx").score(batch)
    exposures, long_views = (outcomes[name].to_numpy() for name in ("exposures", "long_views"))
    assert (quality * exposures).sum() == pytest.approx(long_views.sum(), rel=0.15)
    best, worst = quality >= np.quantile(quality, 0.8), quality <= np.quantile(quality, 0.2)
    best_rate, worst_rate = (long_views[rows].sum() / exposures[rows].sum() for rows in (best, worst))
    assert best_rate > 1.4 * worst_rate


def test_quality_model_reads_columns_and_accepts_missing_cells(trained):
    path, model = trained
    settings = read_settings(path)
    assert OnnxModel(model.path).inputs == settings.learn.features
    batch = batch_of(path, "2026-10-06")
    column = batch.schema.get_field_index("pitch_score")
    holes = batch.set_column(column, "pitch_score", pa.nulls(len(batch), pa.float32()))
    assert np.isfinite(ModelScorer(model.path).score(holes)).all()


def test_quality_model_reports_its_last_training_day(trained):
    assert (
        ModelScorer(trained[1].path).trained_until == date(2026, 10, 2) == date.fromisoformat(trained[1].last)
    )


def test_train_quality_is_reproducible(trained, copy):
    before = (copy.parent / "quality.onnx").read_bytes()
    train_quality(read_settings(copy), copy)
    assert (copy.parent / "quality.onnx").read_bytes() == before


def test_train_quality_does_not_read_days_after_until(trained, copy):
    for day in (3, 4, 5, 6):
        shutil.rmtree(copy.parent / "uploads" / f"day=2026-10-0{day}")
    before = (copy.parent / "quality.onnx").read_bytes()
    train_quality(read_settings(copy), copy)
    assert (copy.parent / "quality.onnx").read_bytes() == before


def test_quality_model_notes_days_without_outcomes(trained, copy):
    assert trained[1].notes == ()
    copy.write_text(copy.read_text().replace("last_day = 2026-10-02", "last_day = 2026-10-04"))
    shutil.rmtree(copy.parent / "outcomes" / "day=2026-10-03")
    model = train_quality(read_settings(copy), copy)
    assert model.last == "2026-10-04"
    assert model.notes == ("2026-10-03 is left out: it has no outcomes, or no uploads",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows | {"long_views": [n + 1 for n in rows["exposures"]]},
            "has more long_views than exposures",
        ),
        (
            lambda rows: {name: values for name, values in rows.items() if name != "long_views"},
            "no column 'long_views'",
        ),
    ],
)
def test_train_quality_refuses_wrong_outcomes(copy, change, message):
    path = copy.parent / "outcomes" / "day=2026-10-01" / "part-0.parquet"
    pq.write_table(pa.table(change(pq.read_table(path).to_pydict())), path)
    with pytest.raises(DataError, match=message):
        train_quality(read_settings(copy), copy)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "last_day = ",
            "min_exposures = 1_000_000\nlast_day = ",
            "passed the rules and had 1000000 exposures",
        ),
        ("last_day = 2026-10-02", "last_day = 2026-10-01", "expected at least 2"),
        ('"is_duet"', '"is_duet", "tag"', "column 'tag' is text, expected integer or number or boolean"),
    ],
    ids=["no fair exposure", "one day", "text feature"],
)
def test_train_quality_refuses_unusable_settings(copy, old, new, message):
    copy.write_text(copy.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        train_quality(read_settings(copy), copy)


def test_train_quality_refuses_settings_without_learn_or_model(trained):
    path, _ = trained
    settings = read_settings(path)
    with pytest.raises(ConfigError, match="the table 'learn' is missing"):
        train_quality(settings.replace(learn=None), path)
    with pytest.raises(ConfigError, match=r"quality\.model is missing"):
        train_quality(settings.replace(quality={"model": None, "column": "pitch_score"}), path)
