"""Tests that the screening of one upload equals that of a whole day."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.data.database import open_database
from karec.screening.rules import load_block_lists, read_block_lists, rejection_reasons
from karec.screening.settings import read_settings
from karec.screening.upload_screening import UploadScreening

TEXT = """
keep = 10
uploads = "uploads"
quality = { column = "voice", min = 0.2 }
rules = [
  { reason = "too short", column = "seconds", min = 30 },
  { reason = "too loud", column = "voice", min = -1, max = 0.5 },
  { reason = "blocked", column = "creator_id", not_in = "blocked.txt" },
  { reason = "no video", column = "seconds", max = 60, where = { column = "type", value = "video" } },
  { reason = "old tool", column = "voice", min = 0.1, where = { column = "tool", min = 2, below = 5 } },
  { reason = "too old", age_days = 30 },
]
"""
KINDS = {
    "work_id": "text",
    "seconds": "integer",
    "voice": "number",
    "creator_id": "text",
    "type": "text",
    "tool": "integer",
}
TYPES = {"seconds": pa.int64(), "voice": pa.float64(), "tool": pa.int64()}
Row = st.fixed_dictionaries(
    {
        "seconds": st.sampled_from([None, 29, 30, 60, 61]),
        "voice": st.sampled_from([None, float("nan"), -1.5, 0.05, 0.5, 0.6]),
        "creator_id": st.sampled_from([None, "c1", "c2"]),
        "type": st.sampled_from([None, "video", "audio"]),
        "tool": st.sampled_from([None, 1, 2, 4, 5]),
    }
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    (folder / "blocked.txt").write_text("# who\nc2\n")
    (folder / "screen.toml").write_text(TEXT)
    return folder / "screen.toml"


@settings(max_examples=15)
@given(rows=st.lists(Row, min_size=40, max_size=40))
def test_upload_rules_equal_rules_in_sql(path, rows):
    settings = read_settings(path)
    blocked = read_block_lists(settings, KINDS)
    result = rejection_reasons(settings, KINDS, blocked)
    named = [{"work_id": f"w{at}", **row} for at, row in enumerate(rows)]
    columns = {name: pa.array([row[name] for row in named], TYPES.get(name, pa.string())) for name in KINDS}
    with open_database(path.parent) as base:
        load_block_lists(base, blocked)
        with base.table("works", pa.table(columns)):
            codes = [
                code for (code,) in base.rows(f"SELECT {result.sql} FROM works ORDER BY work_id[2:]::INT")
            ]
    screening = UploadScreening(path)
    reasons = [screening.rejection_reason(row) for row in rows]
    for code, row, reason in zip(codes, rows, reasons, strict=True):
        assert reason == (result.names[code] or ("low quality" if row["voice"] < 0.2 else ""))


def test_upload_without_quality_is_refused(tmp_path):
    (tmp_path / "screen.toml").write_text('keep = 10\nuploads = "uploads"\nquality = { column = "voice" }\n')
    screening = UploadScreening(tmp_path / "screen.toml")
    for voice in (None, float("nan"), "loud"):
        assert screening.rejection_reason({"voice": voice}) == "no quality"
    assert screening.rejection_reason({"voice": 0.0}) == ""


def test_upload_with_lists_or_huge_integers_is_refused(tmp_path):
    (tmp_path / "blocked.txt").write_text("c2\n")
    (tmp_path / "screen.toml").write_text(TEXT)
    screening = UploadScreening(tmp_path / "screen.toml")
    row = {"seconds": 45, "voice": 0.3, "creator_id": "c1", "type": "audio", "tool": 1}
    assert screening.rejection_reason(row) == ""
    assert screening.rejection_reason({**row, "seconds": [45.0]}) == "too short"
    assert screening.rejection_reason({**row, "tool": [3.0]}) == ""
    (tmp_path / "screen.toml").write_text(TEXT.partition("rules")[0])
    assert UploadScreening(tmp_path / "screen.toml").rejection_reason({"voice": 10**400}) == "no quality"
