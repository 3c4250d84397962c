"""Collects the benchmarks of this folder, and compares each kernel with its baselines."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # workloads, peers, chain

import workloads

FAMILIES = ("scoring", "diversity", "recall", "features", "models", "index", "data", "request")
TURN_S, BUDGET_S = 0.002, 0.4  # shortest run of one side in a round; all rounds of one comparison
ROUNDS = 3, 40


def pytest_addoption(parser):
    parser.addoption("--cascade", help="a karec.toml; its bundle is used instead of the small world")
    parser.addoption("--pages", type=int, default=24, help="pages that are compared with the oracle")


def pytest_configure(config):
    # glibc then neither maps nor returns memory for smaller arrays, as in a process that has served requests:
    # page faults took half of the time of a merge.
    np.empty(24 << 20, np.uint8)
    if config.getoption("benchmark_disable"):
        workloads.shrink()


def pytest_collect_file(file_path, parent):
    if file_path.parent != Path(__file__).parent or file_path.stem not in FAMILIES:
        return None
    if parent.session.isinitpath(file_path):
        return None  # pytest collects the files of its command line by itself
    return pytest.Module.from_parent(parent, path=file_path)


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=time.process_time))
        if "world" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("world"))  # one worker trains it


def seconds(call: Callable[[], object], repeats: int = 1) -> float:
    """Returns the processor time of one call: other work on the machine counts only through shared caches."""
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


@pytest.fixture(scope="session")
def world(request, tmp_path_factory):
    """The karec.toml of a small world whose models are trained for one epoch, or of --cascade."""
    if config := request.config.getoption("cascade"):
        return Path(config)
    return workloads.train_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def compare(benchmark):
    """Measures `run_karec` with pytest-benchmark and each baseline of `peers` in turns with it.

    A round runs every side for at least 2 ms. All sides use one thread and the same inputs. `items` is the
    number of items that a call handles. `bytes_` and `flops` are the least bytes and operations of a call.
    `limit` names the limit of the machine (machine.limits) that applies. __main__.py reads `extra_info`.
    """

    def run(
        kernel: str,
        size: str,
        run_karec: Callable[[], object],
        peers: Mapping[str, Callable[[], object]] | None = None,
        *,
        items: float,
        bytes_: float = 0.0,
        flops: float = 0.0,
        limit: str = "",
    ) -> None:
        sides = {"": run_karec, **(peers or {})}
        repeats, rounds = dict.fromkeys(sides, 1), 1
        if benchmark.enabled:
            for side in sides.values():
                side()  # compiles, and fills caches
            once = {name: seconds(side) for name, side in sides.items()}
            repeats = {name: max(math.ceil(TURN_S / max(once[name], 1e-7)), 1) for name in sides}
            turn = sum(once[name] * repeats[name] for name in sides)
            rounds = int(np.clip(BUDGET_S / turn, *ROUNDS))
        spent: dict[str, list[float]] = {name: [] for name in sides if name}

        def run_peers() -> None:
            for name, times in spent.items():
                times.append(seconds(sides[name], repeats[name]))

        def run_rounds() -> None:
            for _ in range(repeats[""]):
                run_karec()

        benchmark.pedantic(run_rounds, setup=run_peers, rounds=rounds)
        info: dict[str, Any] = {"kernel": kernel, "size": size, "calls": repeats[""], "items": items}
        info |= {"bytes": bytes_, "flops": flops, "limit": limit}
        baselines = {name: float(np.median(times)) for name, times in spent.items()}
        benchmark.extra_info.update(info, baselines=baselines)

    return run
