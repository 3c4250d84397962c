"""Measures what experiments cost in one scene of a karec.toml: three layers of two arms that patch quotas.

    OMP_NUM_THREADS=1 python bench/service/experiments.py CONFIG [OTHER]

It prints the processor time of the choice of a request's arms, and the time and memory of each pipeline. If
the scene has freshness in rerank, it also prints the times of a page of one arm, of one that two arms fill in
turns, and of one with arms of creators. With OTHER, a folder of bundles, it prints only the memory of a
process whose arms have patches, and of one in which an arm has the bundle OTHER.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

from karec.config.arms import build_scenes, load_experiments
from karec.config.assemble import build_cascade, open_bundle
from karec.config.inherit import entry_name
from karec.config.scenes import Config
from karec.experiments.settings import Experiments
from karec.pipeline.cascade import Cascade
from karec.pipeline.types import Request

LAYER = """
[layers.{name}]
salt = "salt-{name}"
paths = ["{path}"]
[experiments.{name}]
layer = "{name}"
start = 2020-01-01T00:00:00Z
end = 2090-01-01T00:00:00Z
holdout = 0.05
arms.control.weight = 0.4
arms.more = {{ weight = 0.3, patches = {{ "{path}.quota" = {more} }} }}
arms.most = {{ weight = 0.3, patches = {{ "{path}.quota" = {most} }} }}
"""
PAGES = """
[layers.pages]
salt = "pages"
unit = "{unit}"
paths = ["scenes.{name}.rerank.freshness"]
[experiments.pages]
layer = "pages"
start = 2020-01-01T00:00:00Z
end = 2090-01-01T00:00:00Z
interleave = {interleave}
arms.control.weight = 0.5
arms.fresh = {{ weight = 0.5, patches = {{ "scenes.{name}.rerank.freshness.weight" = 0.1 }} }}
"""
BUNDLE = """
[layers.bundle]
salt = "bundle"
paths = ["bundle", "scenes.{name}.limits"]
[experiments.bundle]
layer = "bundle"
start = 2020-01-01T00:00:00Z
end = 2090-01-01T00:00:00Z
arms.control.weight = 0.5
arms.other = {{ weight = 0.5, {change} }}
"""
N_PAGES = 200
IDS = (10_000_001, "3f2504e0-4f89-11d3-9a0c-0305e82c3301")


def main(path: Path) -> None:
    config = Config.read(path)
    name = next(iter(config.scenes))
    layers = ""
    for i, source in enumerate(config.scene(name).recall[:3]):
        place = f"scenes.{name}.recall.{entry_name(source, i)}"
        quota = source["quota"]
        layers += LAYER.format(name=f"layer{i}", path=place, more=quota + 1, most=quota + 2)
    config, experiments = _read(path, layers)
    bundle = open_bundle(path)
    build_cascade(config, name, bundle).close()  # loads what all pipelines share
    alone_ms, alone_kib, alone = _measure(lambda: build_cascade(config, name, bundle))
    all_ms, all_kib, cascade = _measure(lambda: build_scenes(config, [name], experiments, bundle)[name])
    assert cascade.experiments is not None
    n = len(cascade.experiments.pipelines) - 1
    print(f"each of {n} pipelines: {(all_ms - alone_ms) / n:.2f} ms, {(all_kib - alone_kib) / n:.1f} KiB")
    for user_id in IDS:
        choose = partial(cascade.experiments.choose, Request(user_id, scene=name))
        times = timeit.repeat(choose, number=2_000, repeat=9, timer=time.process_time)
        print(f"choice for the id {user_id}: {min(times) / 2_000 * 1e6:.1f} µs")
    alone.close()
    cascade.close()
    stages = {str(stage["name"]): stage for stage in config.scene(name).stages}
    if any(step["use"] == "freshness" for step in stages.get("rerank", {}).get("steps", ())):
        _print_page_times(path, name)


def print_memory(path: Path, other: Path) -> None:
    """Prints the memory of two processes, each after ``N_PAGES`` pages of both arms."""
    limits = Config.read(path).scene(name := next(iter(Config.read(path).scenes)))
    patch = f'patches = {{ "scenes.{name}.limits.recall" = {limits.limit} }}'
    for change in (patch, f'bundle = "{other.absolute()}"'):
        subprocess.run([sys.executable, __file__, str(path), "--arm", change], check=True)


def print_own_memory(path: Path, change: str) -> None:
    name = next(iter(Config.read(path).scenes))
    config, experiments = _read(path, BUNDLE.format(name=name, change=change))
    bundle = open_bundle(path)
    cascade = build_scenes(config, [name], experiments, bundle)[name].without_side_effects()
    assert cascade.experiments is not None and not cascade.experiments.missing
    for user in bundle.snapshot.users.ids[:N_PAGES].tolist():
        for arm in ("control", "other"):
            cascade.run(Request(user, scene=name, arms={"bundle": arm}))
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    mib = {line.split()[0]: int(line.split()[1]) / 1024 for line in lines}
    print(f"{change}: {mib['Anonymous:']:.0f} MiB of its own, {mib['Rss:']:.0f} MiB with mapped files")


def _print_page_times(path: Path, name: str) -> None:
    bundle = open_bundle(path)
    users = bundle.snapshot.users.ids[:N_PAGES].tolist()
    cascades = {}
    for arm, unit, interleave in (("interleaved", "user", "true"), ("by_creator", "creator", "false")):
        config, experiments = _read(path, PAGES.format(name=name, unit=unit, interleave=interleave))
        cascades[arm] = build_scenes(config, [name], experiments, bundle)[name].without_side_effects()
    requests = {"control": {}, **{arm: {"pages": arm} for arm in cascades}}
    times: dict[str, list[float]] = {arm: [] for arm in requests}
    for user in users:  # in turns, since other work on the machine changes the speed
        for arm, arms in requests.items():
            cascade = cascades.get(arm, cascades["interleaved"])
            request = Request(user, scene=name, request_id=str(user), arms=arms)
            start = time.process_time()
            cascade.run(request)
            times[arm].append((time.process_time() - start) * 1e3)
    for arm, measured in times.items():
        print(f"page, {arm}: {statistics.median(measured):.2f} ms of processor time")


def _read(path: Path, text: str) -> tuple[Config, Experiments | None]:
    """Returns the config with the experiments of ``text``."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(text)
        file.flush()
        config = Config.from_table(path, {**Config.read(path).table, "experiments": file.name})
        return config, load_experiments(config)


def _measure(build: Callable[[], Cascade]) -> tuple[float, float, Cascade]:
    """Returns processor time in ms, memory in KiB, and the cascade."""
    start = time.process_time()
    build().close()
    ms = (time.process_time() - start) * 1e3
    tracemalloc.start()
    cascade = build()
    kib = tracemalloc.get_traced_memory()[0] / 1024
    tracemalloc.stop()
    return ms, kib, cascade


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    elif len(sys.argv) == 3:
        print_memory(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        print_own_memory(Path(sys.argv[1]), sys.argv[3])
