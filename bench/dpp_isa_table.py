"""dpp_select on each instruction set that this machine has, interleaved, medians, one thread. Prints a
Markdown table.

    python bench/dpp_isa_table.py [rounds, 5]

The set is chosen once a process, so that each measurement is a process of its own with KAREC_FORCE_ISA; a
round runs every set once. What is selected is compared: it must not depend on the set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import workloads

CASES = (
    (workloads.Dpp(10_000, 100, 64), "random"),
    (workloads.Dpp(10_000, 100, 64), "clustered"),
    (workloads.Dpp(10_000, 100, 64), "flat"),
    (workloads.Dpp(10_000, 1000, 128), "clustered"),
)
SETS = ("avx512", "avx2", "generic")


def measure_here() -> None:
    """Prints [[median seconds, picks], …] of the cases, as JSON."""
    from karec.diversity import dpp_select

    found = []
    for size, kind in CASES:
        embeddings, relevance = workloads.items(size.n, size.dim, kind)
        taken = []
        while len(taken) < 3 or (sum(taken) < 0.1 and len(taken) < 50):
            start = time.perf_counter()
            result = dpp_select(embeddings, relevance, size.k, alpha=0.5)
            taken.append(time.perf_counter() - start)
        found.append([float(np.median(taken)), result.indices.tolist()])
    print(json.dumps(found))


def on(isa: str) -> list[tuple[float, list[int]]] | None:
    """The cases on that set; None where this machine lacks it."""
    variables = {**os.environ, "KAREC_FORCE_ISA": isa, "OMP_NUM_THREADS": "1"}
    check = "import numpy as np, karec; print(karec.ItemIndex.build([1], np.ones((1, 1))).isa)"
    ran = subprocess.run(
        [sys.executable, "-c", check], env=variables, capture_output=True, text=True, check=False
    )
    if ran.stdout.strip() != isa:
        return None
    done = subprocess.run(
        [sys.executable, __file__, "here"], env=variables, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    if sys.argv[1:] == ["here"]:
        measure_here()
        return
    taken: dict[str, list[list[float]]] = {isa: [] for isa in SETS}
    picks = None
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        for isa in SETS:
            found = on(isa)
            if found is None:
                continue
            picks = picks or [case[1] for case in found]
            assert picks == [case[1] for case in found], f"{isa} selects otherwise"
            taken[isa].append([case[0] for case in found])
    print(
        "| ms | " + " | ".join(f"{kind}, {size}" for size, kind in CASES) + " |\n|---|" + "---|" * len(CASES)
    )
    for isa, rounds in taken.items():
        cells = (
            [f"{seconds * 1e3:.3g}" for seconds in np.median(rounds, axis=0)]
            if rounds
            else ["not on this machine"]
        )
        print(f"| `{isa}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
