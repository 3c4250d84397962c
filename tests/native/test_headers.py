"""The public C++ headers: karec.hpp includes all of them, and its example compiles."""

import re
import subprocess
from pathlib import Path

INCLUDE = Path(__file__).parents[2] / "native" / "include"
HEADER = INCLUDE / "karec" / "karec.hpp"
PROGRAM = """
#include <cstdint>
#include <span>
#include <vector>

#include <karec/karec.hpp>

int fail(const karec::Status& status) {{ return static_cast<int>(status.code()); }}

int recommend(const std::vector<float>& user_vector, const std::vector<std::int64_t>& candidates) {{
{example}
    return 0;
}}
"""


def test_karec_header_includes_every_public_header():
    headers = {path.name for path in INCLUDE.glob("karec/*.hpp")} - {"karec.hpp", "export.hpp"}
    assert set(re.findall(r'#include "karec/(.+)"', HEADER.read_text(encoding="utf-8"))) == headers


def test_example_of_karec_header_compiles(tmp_path):
    comment = HEADER.read_text(encoding="utf-8").split("#pragma once")[0]
    example = "\n".join(line[2:] for line in comment.splitlines() if line.startswith("//   "))
    (tmp_path / "host.cpp").write_text(PROGRAM.format(example=example), encoding="utf-8")
    command = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Werror", f"-I{INCLUDE}", "host.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)
