"""The blocks of docs/diversity.md run on a small bundle, and its first one is the template's."""

import json
import tomllib

from doc_pages import page_blocks, run_page

from karec.config.templates import template_text

PAGE = "docs/diversity.md"
IDS = {"10000001": "1", "1000000001": "100"}  # a user and a work of the small bundle


def test_diversity_page_runs(demo_folder):
    run_page(PAGE, demo_folder, replacements=IDS)
    trace = json.loads((demo_folder / "explained.json").read_text())["trace"]
    (rules,) = [step for step in trace if step["step"] == "page_rules"]
    first = rules["notes"]["explanation"]["arranged"][0]
    assert (first["id"], first["owner"]) == (100, "work 100")


def test_diversity_page_has_the_rerank_stage_of_the_template():
    (block,) = [block for block in page_blocks(PAGE) if block.text.startswith("[[scenes.home.stages]]")]
    template = tomllib.loads(template_text("home"))
    assert tomllib.loads(block.text)["scenes"]["home"]["stages"] == template["scenes"]["home"]["stages"][-1:]
