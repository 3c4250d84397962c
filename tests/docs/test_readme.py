"""README.md and docs/quickstart.md run as they are written."""

import json
import shutil
import subprocess

import pytest
from demo_folder import write_demo_folder
from doc_pages import ROOT, free_port, page_blocks, run_page
from own_logs import shop_actions

PROGRAM = """
#include <karec/stages.hpp>
bool fail(const karec::Status& status);
bool run(const karec::StagesOptions& options, const karec::Request& request, karec::Page& page) {
%s
    return is_new.ok();
}
"""


def test_readme_vectors_give_a_page(tmp_path):
    (block,) = [block for block in page_blocks("README.md", {}) if block.language == "python"]
    exec(compile(block.text, block.place, "exec"), names := {})
    assert len(names["page"].ids) == 10


def test_cpp_block_of_readme_compiles(tmp_path):
    (block,) = [block for block in page_blocks("README.md", {}) if block.language == "cpp"]
    (tmp_path / "host.cpp").write_text(PROGRAM % block.text)
    command = ["g++", "-std=c++20", "-fsyntax-only", f"-I{ROOT / 'native' / 'include'}", "host.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_quickstart_shows_a_page_of_the_demo(tmp_path):
    (tmp_path / "build").mkdir()
    write_demo_folder(tmp_path / "build" / "demo")
    run_page("docs/quickstart.md", tmp_path, replacements={"10000001": "1"})


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_readme_trains_on_own_data_and_serves_a_page(tmp_path):
    shop_actions(tmp_path / "shop")
    port = str(free_port())
    ports = {"8080": port, "--workers 2": f"--workers 2 --port {port}"}
    run = run_page("README.md", tmp_path, replacements=ports)
    assert len(json.loads(run.output("curl"))["items"]) == 5
    assert (tmp_path / "run" / "bundles" / "current").is_dir()
