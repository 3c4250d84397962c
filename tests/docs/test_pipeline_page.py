"""The blocks of docs/pipeline.md run on a small bundle in the folder of the demo."""

from doc_pages import run_page
from small_bundle import publish_small_bundle

IDS = {"10000001": "1", "1000000001": "100", "1000000002": "107"}  # a user and works of the small bundle


def test_pipeline_page_runs(tmp_path):
    publish_small_bundle(tmp_path / "demo")
    run = run_page("docs/pipeline.md", tmp_path, replacements=IDS)
    assert run.output("cascade.side_effects").startswith("True ")
