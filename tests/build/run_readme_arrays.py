"""Runs the array example of README.md with an installed karec, once for each instruction set of the machine.

    python tests/build/run_readme_arrays.py README.md

Fails if two instruction sets give different pages. Needs no package but karec's own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

INSTRUCTION_SETS = ("generic", "avx2", "avx512", "avx512bf16", "amx", "neon", "neonbf16")


def page_of(example: str, isa: str) -> str | None:
    """Returns what the example prints; None if the processor lacks the instruction set."""
    environment = {**os.environ, "KAREC_FORCE_ISA": isa}
    command = [sys.executable, "-P", "-c", example]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "KAREC_FORCE_ISA names" in done.stderr:
        return None
    if done.returncode != 0:
        sys.exit(f"{isa}: the example fails\n{done.stderr}")
    return done.stdout


def main() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", Path(sys.argv[1]).read_text(encoding="utf-8"), re.DOTALL)
    pages = {isa: page for isa in INSTRUCTION_SETS if (page := page_of(example, isa))}
    for isa, page in pages.items():
        print(f"{isa}: {page.strip()}")
    if len(set(pages.values())) != 1:
        sys.exit("expected one page on all instruction sets")


if __name__ == "__main__":
    main()
