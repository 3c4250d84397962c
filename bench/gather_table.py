"""How much of what memory allows a search reaches: beside a loop that touches the same lines and does nothing
else.

    python bench/gather_table.py [rounds, 31]

One thread, k = 1000, D = 64; native/bench/gather_bench.cpp says what the loop does. Needs cmake, ninja and 4
GiB.
"""

from __future__ import annotations

import subprocess
import sys

from native_bench import built

CASES = (
    (1_000_000, "float32", 100_000, 0.80),
    (1_000_000, "float16", 100_000, 0.65),
    (10_000_000, "float16", 100_000, 0.75),
    (1_000_000, "float32", 10_000, None),
    (1_000_000, "float16", 10_000, None),
)


def main() -> None:
    rounds = sys.argv[1] if len(sys.argv) > 1 else "31"
    program = built("gather_bench")
    print("| works | rows | N | gather, ns a row | search, ns a row | share | target | |")
    print("|---|---|---|---|---|---|---|---|")
    for works, dtype, n, least in CASES:
        command = [str(program), str(works), dtype, str(n), rounds]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        alone, whole, share = map(float, printed.split())
        verdict = "" if least is None or share >= least else "missed"
        target = "" if least is None else f"≥ {least:g}"
        measured = f"{alone:.1f} | {whole:.1f} | {share:.2f}"
        print(f"| {works:.0e} | {dtype} | {n:,} | {measured} | {target} | {verdict} |", flush=True)


if __name__ == "__main__":
    main()
