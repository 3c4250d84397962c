"""dpp_select against its peers in one run: cases in turn, interleaved, medians of the thread's processor
time.

    python bench/dpp_table.py
    OPENBLAS_CORETYPE=HASWELL python bench/dpp_table.py      # peers on another kernel of NumPy's BLAS: the
    best counts

Prints Markdown tables. α = 0.5 on standardised relevance; random and clustered embeddings, of which the worse
ratio counts, and flat relevance, the worst case for laziness, by itself. Peers that are not installed are
left out, and named. Then time by the number of types, and time with three facets as a ratio to vectors alone,
also at the diversity that scenes start with in prerank.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import scipy.linalg
import workloads
from bench_dpp import numpy_gram_schmidt

from karec.diversity import dpp_select


def unit(embeddings, dtype=np.float32):
    f = embeddings.astype(dtype)
    return f / np.linalg.norm(f, axis=1, keepdims=True)


def pyversity_dpp(embeddings, relevance, size):
    from pyversity import diversify

    return diversify(embeddings, relevance, size.k, strategy="dpp", diversity=0.5)


def whole_kernel(embeddings, relevance, size):
    """Chen's incremental Cholesky in NumPy float64 on the N × N kernel, which it builds."""
    q = np.exp(0.5 * (relevance - relevance.max())).astype(np.float64)
    f = unit(embeddings, np.float64)
    kernel = q[:, None] * (f @ f.T) * q
    kernel[np.diag_indices(size.n)] += 1e-2 * q * q
    rows = np.zeros((size.k, size.n))
    left = kernel.diagonal().copy()
    for t in range(size.k):
        best = int(np.argmax(left))
        rows[t] = (kernel[best] - rows[:t, best] @ rows[:t]) / np.sqrt(left[best])
        left -= rows[t] ** 2
        left[best] = -np.inf


def pivoted_qr(embeddings, relevance, size):
    q = np.exp(0.5 * (relevance - relevance.max()))
    scipy.linalg.qr((q[:, None] * unit(embeddings)).T, mode="r", pivoting=True, check_finite=False)


def gram_schmidt(embeddings, relevance, size):
    numpy_gram_schmidt(embeddings, relevance, size.k)


def sliding_cholesky(kernel, size):
    """The last w − 1 picks factored anew at each step, on a kernel that is there already."""
    first = kernel.diagonal()
    picks: list[int] = []
    for _ in range(size.k):
        near = picks[max(0, len(picks) - size.window + 1) :]
        left = first.copy()
        if near:
            factor = np.linalg.cholesky(kernel[np.ix_(near, near)])
            left -= (scipy.linalg.solve_triangular(factor, kernel[near], lower=True) ** 2).sum(axis=0)
        left[picks] = -np.inf
        picks.append(int(np.argmax(left)))


def prebuilt_kernel(embeddings, relevance):
    q = np.exp(0.5 * (relevance - relevance.max()))
    f = q[:, None] * unit(embeddings)
    kernel = f @ f.T
    kernel[np.diag_indices(len(f))] += 1e-2 * q * q
    return kernel


def medians(
    ours: Callable[[], object], peer: Callable[[], object], seconds: float = 1.0
) -> tuple[float, float]:
    """Processor seconds of each, ours run between any two runs of the peer."""
    taken: tuple[list[float], list[float]] = ([], [])
    ours()
    end = time.perf_counter() + seconds
    while len(taken[1]) < 3 or time.perf_counter() < end:
        for function, times, repeats in ((ours, taken[0], 3), (peer, taken[1], 1)):
            for _ in range(repeats):
                start = time.thread_time()
                function()
                times.append(time.thread_time() - start)
        if len(taken[1]) >= 50:
            break
    return float(np.median(taken[0])), float(np.median(taken[1]))


CASES = (
    ("pyversity dpp", pyversity_dpp, workloads.Dpp(1000, 100, 64), 10),
    ("pyversity dpp", pyversity_dpp, workloads.Dpp(10_000, 100, 64), 22),
    ("pyversity dpp", pyversity_dpp, workloads.Dpp(10_000, 1000, 128), 110),
    ("pyversity dpp", pyversity_dpp, workloads.Dpp(50_000, 100, 64), 40),
    ("pyversity dpp", pyversity_dpp, workloads.Dpp(100, 10, 64), 5),
    ("N × N kernel, float64, built", whole_kernel, workloads.Dpp(10_000, 100, 64), 400),
    ("SciPy pivoted QR", pivoted_qr, workloads.Dpp(10_000, 64, 64), 20),
    ("NumPy Gram–Schmidt", gram_schmidt, workloads.Dpp(10_000, 100, 64), 12),
    ("NumPy window Cholesky, kernel prebuilt", None, workloads.Dpp(10_000, 100, 64, 10), 40),
)


def compare(
    name: str, peer: Callable | None, size: workloads.Dpp, target: float, kinds: tuple[str, ...]
) -> None:
    found = []
    for kind in kinds:
        embeddings, relevance = workloads.items(size.n, size.dim, kind)
        if peer is None:
            kernel = prebuilt_kernel(embeddings, relevance)
            run = lambda kernel=kernel: sliding_cholesky(kernel, size)  # noqa: E731
        else:
            run = lambda e=embeddings, r=relevance: peer(e, r, size)  # noqa: E731
        ours = lambda e=embeddings, r=relevance: dpp_select(e, r, size.k, alpha=0.5, window=size.window)  # noqa: E731
        mine, theirs = medians(ours, run)
        found.append((theirs / mine, mine, theirs, kind))
    ratio, mine, theirs, kind = min(found)
    verdict = "" if ratio >= target else "missed"
    print(
        f"| {name} | {size} | {kind} | {mine * 1e3:.3g} | {theirs * 1e3:.4g} | {ratio:.1f} | {target} | "
        f"{verdict} |",
        flush=True,
    )


def fits() -> None:
    """Exponents of time ∝ N^a and ∝ k^b, by least squares on logarithms, and the time beside N·k·D
    operations."""

    def best(n: int, k: int) -> float:
        embeddings, relevance = workloads.items(n, 64, "random")
        return medians(lambda: dpp_select(embeddings, relevance, k, alpha=0.5), lambda: None, 0.2)[0]

    ns, ks = np.array([1000, 3000, 10_000, 30_000]), np.array([10, 30, 100, 300])
    by_n, by_k = [best(int(n), 100) for n in ns], [best(10_000, int(k)) for k in ks]
    a = np.polyfit(np.log(ns), np.log(by_n), 1)[0]
    b = np.polyfit(np.log(ks), np.log(by_k), 1)[0]
    print(f"\ntime ∝ N^{a:.2f} (k = 100) and ∝ k^{b:.2f} (N = 10,000), D = 64; N·k·D would be 1 and 1")


def types() -> None:
    """Time by the number of types, as a ratio to two types: calls in turn, medians of the thread's processor
    time."""
    print("\n| types at N=10000,k=1000,D=64 | karec ms | ratio to 2 types | target |\n|---|---|---|---|")
    embeddings, relevance = workloads.items(10_000, 64, "random")
    cases = workloads.item_types(10_000)
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(30):
        for name, of_item in cases.items():
            start = time.thread_time()
            dpp_select(embeddings, relevance, 1000, alpha=0.5, types=of_item, type_weight=0.2)
            taken[name].append(time.thread_time() - start)
    two = float(np.median(taken["2"]))
    for name, times in taken.items():
        median = float(np.median(times))
        target = "1.3" if name.startswith("10000") else ""
        print(f"| {name} | {median * 1e3:.3g} | {median / two:.2f} | {target} |", flush=True)


def facets() -> None:
    """Time with facets, as a ratio to vectors alone: calls in turn, medians of the thread's processor
    time."""
    print(
        "\n| facets at D=64 | vectors alone, ms | three facets, ms | ratio | target |\n|---|---|---|---|---|"
    )
    sizes = (
        (1000, 10, 0.5, 300),
        (1000, 30, 0.5, 300),
        (1000, 100, 0.5, 300),
        (5000, 1000, 0.5, 15),
        (5000, 1000, 0.1, 15),
    )
    for n, k, diversity, repeats in sizes:
        for kind in ("random", "clustered"):
            embeddings, relevance = workloads.items(n, 64, kind)
            codes, weights = workloads.item_facets(n)
            cases = ({}, {"facets": codes, "facet_weights": weights})
            taken: tuple[list[float], list[float]] = ([], [])
            for _ in range(repeats):
                for options, times in zip(cases, taken, strict=True):
                    start = time.thread_time()
                    dpp_select(embeddings, relevance, k, diversity=diversity, **options)
                    times.append(time.thread_time() - start)
            plain, faceted = (float(np.median(times)) for times in taken)
            target = "1.5" if n == 1000 else ""
            name = f"N={n},k={k}, diversity {diversity}, {kind}"
            print(
                f"| {name} | {plain * 1e3:.3g} | {faceted * 1e3:.3g} | {faceted / plain:.2f} | {target} |",
                flush=True,
            )


def main() -> None:
    has_pyversity = importlib.util.find_spec("pyversity") is not None
    if not has_pyversity:
        print("pyversity is not installed (pip install 'karec[bench]'): its rows are left out\n")
    print(
        "| against | case | worse on | karec ms | peer ms | ratio | target | |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for name, peer, size, target in CASES:
        if peer is not pyversity_dpp or has_pyversity:
            compare(name, peer, size, target, ("random", "clustered"))
    if has_pyversity:
        compare("pyversity dpp", pyversity_dpp, workloads.Dpp(10_000, 100, 64), 8, ("flat",))
    fits()
    types()
    facets()


if __name__ == "__main__":
    main()
