"""docs/screening.md runs on a synthetic library, and its files are what the page promises."""

import json

import pyarrow.parquet as pq
from doc_pages import run_page

from karec.cli import main


def test_screening_page_leaves_the_files_that_it_names(tmp_path):
    run_page("docs/screening.md", tmp_path)
    result = json.loads((tmp_path / "screened" / "screen.json").read_text())
    assert len(pq.read_table(tmp_path / "screened" / "kept.parquet")) == result["keep"] == 2000
    assert (tmp_path / "screened" / "report" / "screening.html").is_file()
    assert json.loads((tmp_path / "small.json").read_text())["works"]["kept"] == 1000


def test_screen_refuses_a_report_without_outcomes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "screen.toml").write_text('keep = 1\nuploads = "uploads"\n[quality]\ncolumn = "score"\n')
    assert main(["screen", "screen.toml", "--out", "out", "--report", "report"]) == 2
    assert not (tmp_path / "report").exists()
