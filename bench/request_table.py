"""Where the time of a request goes: of each step what is native code, ONNX, NumPy and Python.

    karec demo --works 1000000 --users 20000 --out DIR
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python bench/request_table.py DIR/karec.toml --lists

Milliseconds of the thread's processor time, medians over requests of other users, so that other work on the
machine counts as far as it takes caches alone. Each request runs twice: once as it is, which gives the total
of each step, and once under cProfile, which gives what is spent in C functions, less what the profiler adds
to a call:

    native   karec._native, and karec.kernels (Cython, Numba): the GIL is released
    ONNX     ONNX Runtime: the GIL is released
    NumPy    C functions of NumPy, copies among them; large ones release the GIL
    Python   what is left of the total: the interpreter, and operators on arrays, which cProfile does not see

``--lists`` lets the channel ``model`` score the nearest lists of works instead of all of them.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import karec._native
import karec.cascade
import karec.stage
from karec.bundle import Bundle
from karec.cascade import Cascade
from karec.config import load_cascade
from karec.recall.model import Model
from karec.types import Request

KINDS = ("native", "ONNX", "NumPy")
LETTERS = {"native": "n", "ONNX": "o", "NumPy": "a", "Python": "p"}
BAR_MS = 0.25  # of one letter
IN_KERNEL = "in_kernel"


def opened(config: Path, scene: str, by_lists: bool) -> tuple[Cascade, Bundle]:
    """The scene's cascade without observers."""
    bundle = Bundle.open(config.parent / "bundles")
    cascade = replace(load_cascade(config, scene, bundle), observers=())
    if not by_lists:
        return cascade, bundle
    sources = tuple(copy(source) for source in cascade.recall.sources)
    for source in sources:
        if isinstance(source, Model):
            source.exact = False
    return replace(cascade, recall=replace(cascade.recall, sources=sources)), bundle


def requests_of(bundle: Bundle, scene: str, n: int) -> list[Request]:
    """Requests of ``n`` users at the moment of the snapshot."""
    snapshot = bundle.snapshot
    users = np.random.default_rng(0).choice(
        np.asarray(snapshot.users.ids), min(n, len(snapshot.users)), replace=False
    )
    return [Request(int(user), scene=scene, time_ms=snapshot.time_ms) for user in users]


def watch_kernels() -> None:
    """Calls that cProfile does not see, as calls of a Python function: of Cython and Numba functions, and of
    native methods that take options by name."""
    for face in (karec._native.ItemIndex, karec._native.IndexView):
        face.dpp_select = watched(face.dpp_select)
    for module in [module for name, module in sys.modules.items() if name.startswith("karec.")]:
        for name, value in list(vars(module).items()):
            if type(value).__name__ in ("cython_function_or_method", "CPUDispatcher"):
                setattr(module, name, watched(value))


def watched(kernel: Callable[..., Any]) -> Callable[..., Any]:
    def in_kernel(*arguments: Any, **named: Any) -> Any:
        return kernel(*arguments, **named)

    return in_kernel


def kind_of(code: Any) -> str | None:
    """The kind of a profiled function; None for Python's own."""
    if not isinstance(code, str):
        # of walks, which cProfile does not see
        calls_kernels = code.co_filename.endswith("kernels/merge_order.py")
        return "native" if code.co_name == IN_KERNEL or calls_kernels else None
    if "karec._native" in code:
        return "native"
    if "onnxruntime" in code:
        return "ONNX"
    return "NumPy" if "numpy" in code else None


class Watch:
    """Stands in for ``timed``: profiles each step of a request by itself."""

    def __init__(self, timed: Callable[..., Any], call_ms: float) -> None:
        self.timed, self.call_ms = timed, call_ms
        self.steps: list[dict[str, float]] = []

    def __call__(self, step: Any, run: Callable[[], Any], clock: Any = None) -> Any:
        profile = cProfile.Profile(time.thread_time)

        def profiled() -> Any:
            profile.enable()
            try:
                return run()
            finally:
                profile.disable()

        done = self.timed(step, profiled, time.thread_time)
        spent = dict.fromkeys(KINDS, 0.0)
        for entry in profile.getstats():
            kind = kind_of(entry.code)
            if kind is not None:
                spent[kind] += max(entry.inlinetime * 1e3 - entry.callcount * self.call_ms, 0.0)
        self.steps.append(spent)
        return done


def profiled_call_ms() -> float:
    """What cProfile adds to the time of a C function."""
    profile = cProfile.Profile(time.thread_time)
    profile.enable()
    for _ in range(2000):
        abs(0)
    profile.disable()
    entry = next(each for each in profile.getstats() if "abs" in str(each.code))
    return float(entry.inlinetime) * 1e3 / int(entry.callcount)


def table(cascade: Cascade, requests: list[Request]) -> dict[str, float]:
    """Prints the steps; what the whole request takes, in ms, by kind and "total"."""
    timed, call_ms = karec.stage.timed, profiled_call_ms()
    plain = replace(cascade, clock=time.thread_time)
    totals, kinds, wholes, trace = [], [], [], plain.run(requests[0]).trace
    for request in requests:
        begin = time.thread_time()
        trace = plain.run(request).trace
        wholes.append((time.thread_time() - begin) * 1e3)
        totals.append([step.ms for step in trace.steps])
        watch = Watch(timed, call_ms)
        karec.stage.timed = karec.cascade.timed = watch  # type: ignore[assignment,attr-defined]
        plain.run(request)
        karec.stage.timed = karec.cascade.timed = timed  # type: ignore[attr-defined]
        kinds.append([[step[kind] for kind in KINDS] for step in watch.steps])
    by_step, by_kind = np.median(totals, axis=0), np.median(kinds, axis=0)
    print(f"{'step':22}{'in':>8}{'out':>8}{'ms':>8}" + "".join(f"{kind:>8}" for kind in LETTERS))
    sums = dict.fromkeys(LETTERS, 0.0)
    for step, total, parts in zip(trace.steps, by_step, by_kind, strict=True):
        spent = dict(zip(KINDS, parts.tolist(), strict=True))
        spent["Python"] = max(float(total) - sum(spent.values()), 0.0)
        sums = {kind: sums[kind] + spent[kind] for kind in LETTERS}
        row(step.place, step.n_in, max(step.n_out, 0), float(total), spent)
    whole = statistics.median(wholes)
    outside = max(whole - float(by_step.sum()), 0.0)
    row("beside all steps", "", "", outside, {"Python": outside})
    sums["Python"] += outside
    row("the whole request", "", "", whole, sums)
    return {**sums, "total": whole}


def row(name: str, n_in: object, n_out: object, ms: float, spent: dict[str, float]) -> None:
    bar = "".join(LETTERS[kind] * round(spent.get(kind, 0.0) / BAR_MS) for kind in LETTERS)
    shares = "".join(f"{spent.get(kind, 0.0):8.2f}" for kind in LETTERS)
    print(f"{name:22}{n_in:>8}{n_out:>8}{ms:8.2f}{shares}  {bar}".rstrip())


def first_requests(cascade: Cascade, requests: list[Request]) -> str:
    """How much longer the first request of this process takes than the median of those after it."""
    ms = []
    for request in requests:
        begin = time.thread_time()
        cascade.run(request)
        ms.append((time.thread_time() - begin) * 1e3)
    return f"the first request {ms[0]:.1f} ms, {ms[0] / statistics.median(ms[1:]):.2f} of the median after it"


def by_threads(cascade: Cascade, requests: list[Request], n: int, rounds: int = 10) -> str:
    """Requests a second of ``n`` threads over those of one, taken by turns, and the processor time of a
    request."""

    def run(cpu: list[float]) -> None:
        begin = time.thread_time()
        for request in requests:
            cascade.run(request)
        cpu.append((time.thread_time() - begin) * 1e3 / len(requests))

    walls: dict[int, list[float]] = {1: [], n: []}
    cpus: dict[int, list[float]] = {1: [], n: []}
    for _ in range(rounds):
        for threads in (1, n):
            workers = [threading.Thread(target=run, args=(cpus[threads],)) for _ in range(threads)]
            begin = time.perf_counter()
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            walls[threads].append((time.perf_counter() - begin) / threads)
    ratio = statistics.median(one / many for one, many in zip(walls[1], walls[n], strict=True))
    cpu = {threads: statistics.median(each) for threads, each in cpus.items()}
    return (
        f"{n} threads: {ratio:.2f} times the requests of one; processor time of a request {cpu[1]:.2f} ms "
        f"with one, "
        f"{cpu[n]:.2f} with {n}"
    )


def by_processes(cascade: Cascade, requests: list[Request], n: int, rounds: int = 10) -> str:
    """As ``by_threads``, of processes of one thread each: what memory and caches leave of ``n`` cores without
    a GIL."""

    def child(ready: int, go: int) -> None:
        for request in requests:  # copies the pages that were the parent's
            cascade.run(request)
        os.write(ready, b".")
        os.read(go, 1)
        for request in requests:
            cascade.run(request)

    def wall(processes: int) -> float:
        (told, ready), (wait, go) = os.pipe(), os.pipe()
        children = []
        for _ in range(processes):
            children.append(os.fork())
            if not children[-1]:
                child(ready, wait)
                os._exit(0)
        for _ in children:
            os.read(told, 1)
        begin = time.perf_counter()
        os.write(go, b"." * processes)
        for each in children:
            os.waitpid(each, 0)
        for end in (told, ready, wait, go):
            os.close(end)
        return (time.perf_counter() - begin) / processes

    ratio = statistics.median(wall(1) / wall(n) for _ in range(rounds))
    return f"{n} processes of one thread: {ratio:.2f} times the requests of one"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="the karec.toml beside which its bundles lie")
    parser.add_argument("--scene", default="home")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--lists", action="store_true", help="model recall by lists of works")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    begin, wall = time.process_time(), time.perf_counter()
    cascade, bundle = opened(arguments.config, arguments.scene, arguments.lists)
    start = (
        f"start: {time.perf_counter() - wall:.1f} s, {time.process_time() - begin:.1f} s of them processor "
        f"time"
    )
    requests = requests_of(bundle, arguments.scene, arguments.requests)
    assert cascade.index is not None
    with cascade.index.pinned() as view:
        print(
            f"{len(view):,} works, scene {arguments.scene}, {len(requests)} users; processor time, ms, "
            f"medians"
        )
    first = first_requests(cascade, requests)
    watch_kernels()
    spent = table(cascade, requests)
    held = (spent["NumPy"] + spent["Python"]) / spent["total"]
    print(f"a letter is {BAR_MS} ms; the GIL is held for at most {held:.0%} of a request (NumPy and Python)")
    print(first)
    print(start)
    if arguments.threads > 1:
        print(by_threads(cascade, requests, arguments.threads))
        print(by_processes(cascade, requests, arguments.threads))


if __name__ == "__main__":
    main()
