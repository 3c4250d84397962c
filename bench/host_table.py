"""What a C++ host, a C host and Python pay above the raw kernel. One thread, contenders in turn, medians.

    OMP_NUM_THREADS=1 python bench/host_table.py [rounds, 41]

native/bench/host_bench.cpp compares C++ and C within one process. Python's call is timed here against the C++
figure for the same one candidate, so that nothing is left but the way there. Needs cmake and ninja.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import workloads
from native_bench import built

from karec._sealed_text import line, sealed_text
from karec.bundle import publish
from karec.index import ItemIndex

N = 100_000


def python_call(index: ItemIndex, rounds: int) -> float:
    """Median nanoseconds of a search with one candidate."""
    ids, query = index.ids[:1].copy(), workloads.works()[2]
    spent = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        for _ in range(2000):
            index.search(query, ids=ids, k=1)
        spent.append((time.perf_counter_ns() - start) / 2000)
    return statistics.median(spent)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 41
    program = built("host_bench")
    ids, vectors, _ = workloads.works()
    index = ItemIndex.build(ids, vectors)
    with tempfile.TemporaryDirectory() as folder:
        root, settings = Path(folder) / "bundles", Path(folder) / "stage.txt"
        publish(root, 0, lambda into: index.save(into / "index.karec"))
        steps = [line("step", "index_rows"), line("step", "has_embedding")]
        steps.append(line("step", "inner_product", {"k": workloads.K}))
        settings.write_text(sealed_text("karec-prerank", [line("scene", "home"), *steps]))
        command = [str(program), str(root), str(settings), str(N), str(rounds)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures = {name: tuple(map(float, rest)) for name, *rest in (row.split() for row in printed.splitlines())}
    python = python_call(index, rounds) - figures["one_kernel"][0]
    print(
        f"{len(ids):,} works, D = {workloads.DIM}, {index.isa}, k = {workloads.K}, N = {N:,} ids, {rounds} "
        f"rounds"
    )
    c_adds = figures["one_c_preranker"][2] - figures["one_preranker"][2]
    rows = (
        ("kernel, ItemIndex::search, ms", figures["kernel"][0] / 1e6, None),
        ("PreRanker over kernel, ratio", figures["preranker"][1], 1.05),
        ("karec_preranker_run over kernel, ratio", figures["c_preranker"][1], 1.05),
        ("one candidate: ItemIndex::search, µs", figures["one_kernel"][0] / 1e3, None),
        ("karec_index_search adds, µs", figures["one_c"][2] / 1e3, 1.0),
        ("PreRanker::run adds, µs", figures["one_preranker"][2] / 1e3, None),
        ("karec_preranker_run adds to that, µs", c_adds / 1e3, 1.0),
        ("Python's index.search adds, µs", python / 1e3, 20.0),
    )
    for what, value, most in rows:
        target = "" if most is None else f"≤ {most:g}{'' if value <= most else '  missed'}"
        print(f"{what:48} {value:9.3f}  {target}")


if __name__ == "__main__":
    main()
