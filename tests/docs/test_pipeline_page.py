"""The blocks of docs/pipeline.md run on a small bundle in the folder of the demo."""

import json

from doc_pages import ROOT, run_page
from small_bundle import publish_small_bundle

from karec.config.scenes import FileTable, SceneTable

IDS = {"10000001": "1", "1000000001": "100", "1000000002": "107"}  # a user and works of the small bundle


def test_pipeline_page_runs(tmp_path):
    publish_small_bundle(tmp_path / "demo")
    run = run_page("docs/pipeline.md", tmp_path, replacements=IDS)
    assert json.loads((tmp_path / "karec.schema.json").read_text())["title"] == "karec.toml"
    assert "picked by an editor" in run.output("picks.txt")


def test_pipeline_page_has_every_key_of_files_and_scenes():
    text = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    keys = {*FileTable.__struct_fields__, *SceneTable.__struct_fields__}
    assert sorted(key for key in keys if f"| `{key}` |" not in text) == []
