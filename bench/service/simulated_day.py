"""A day of a platform that lives, as fast as this machine goes: traffic, uploads, refreshes, two model
changes.

    karec demo --out HERE                              # leaves a world's two models: run and run-2
    OMP_NUM_THREADS=1 python bench/service/simulated_day.py HERE [--hours 24] [--requests 20]

The options --works, --users and --exposures have the values that the demo had.

The demo's world goes on from the moment its bundle was made (``karec.lab.simulate``): works are uploaded when
the world says so, users ask for feeds on two threads, what they do is told to the service, and one event in
twenty twice. After a third of the hours the second model rolls in beside the first, after two thirds the
first one's towers again as version 3, and a refresh moves the library each time, while requests run; both in
processes of their own. It ends with status 1 unless

    no request fails, is degraded, or is short
    each answer is of one version: its bundle, its model, and for each version of rows in its index that
    version's user vector of its features
    each event counts once: counters of every user and work in the state store are those of the bundle and of
    the events that were sent
    memory (RSS, after what a first hour and a first refresh need) grows by less than 100 MB
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import numpy as np
import onnx

import karec
from karec.bundle import Bundle
from karec.bundle.vector_spaces import PRERANK, SPACES
from karec.config import open_hot_swap, scene_names
from karec.features.user_vectors import VECTOR, VERSIONS
from karec.lab.simulate.world import World, make_world
from karec.lab.simulate.world.answers import answers
from karec.learn.export.trees import export_trees
from karec.models.onnx_model import OnnxModel
from karec.pipeline.types import Page
from karec.refresh.next_version import publish_next_version
from karec.refresh.pace import Pace
from karec.refresh.publish_run import publish
from karec.refresh.rolling import open_refresh
from karec.times import HOUR_MS

MOST_MB = 100.0
K, THREADS, TWICE = 20, 2, 0.05


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def with_version(run: Path, folder: Path, version: int) -> Path:
    """The run's models and encoder, under another model version."""
    folder.mkdir()
    shutil.copyfile(run / "encoder.npz", folder / "encoder.npz")
    for name in ("ranker.onnx", *(tower for space in SPACES for tower in (space.own, space.item))):
        if (run / name).exists():
            model = onnx.load(run / name)
            for each in model.metadata_props:
                if each.key == "model_version":
                    each.value = str(version)
            onnx.save(model, folder / name)
            export_trees(folder / name)
    return folder


class Soak:
    """One service in this process, and what happened to it. ``mistakes`` is empty where all is as it should
    be."""

    def __init__(
        self, demo: Path, world: World, folder: Path, beside: Callable[[Sequence[str]], None]
    ) -> None:
        """``beside`` does what ``act`` does, in a process of its own or in this one."""
        self.beside = beside
        self.world, self.root = world, folder / "bundles"
        self.runs = [
            with_version(demo / name, folder / f"run-{n}", n)
            for n, name in enumerate(("run", "run-2", "run"), 1)
        ]
        self.base = Bundle.open(demo / "bundles", verify=False).snapshot
        publish(self.runs[0], self.base, self.root)
        lines = (demo / "karec.toml").read_text(encoding="utf-8").splitlines()
        head = ['bundle = "bundles"', "[live]", 'state = "state"', 'events = "events"']
        own = [each for each in lines if not each.startswith("bundle =") and "rank_log" not in each]
        config = folder / "karec.toml"
        config.write_text("\n".join([*head, *own]), encoding="utf-8")
        self.scene = scene_names(config)[0]
        self.live = open_hot_swap(config, self.scene)
        self.users = np.asarray(self.base.users.ids)
        self.works = world.dataset.snapshot.works
        self.told: Counter[tuple[str, int, str]] = Counter()  # (user or work, its id, label): how often
        self.mistakes: Counter[str] = Counter()
        self.answered = self.uploaded = self.repeated = 0
        self.served: Counter[int] = Counter()
        self.towers = [OnnxModel(each / PRERANK.own) for each in self.runs]

    def hour(self, at: int, n_requests: int) -> None:
        """Uploads of the hour, requests, and what users did."""
        begin = self.base.time_ms + at * HOUR_MS
        published = np.asarray(self.works["upload_ms"])
        rows = np.flatnonzero((published > begin) & (published <= begin + HOUR_MS))
        self._record([self._upload(int(row), begin) for row in rows], begin + 1)
        self.uploaded += len(rows)
        rng = np.random.default_rng(at)
        asked = [
            karec.Request(int(user), K, self.scene, time_ms=begin + int(after), request_id=f"{at}-{n}")
            for n, (user, after) in enumerate(
                zip(
                    rng.choice(self.users, n_requests),
                    np.sort(rng.integers(2, HOUR_MS, n_requests)),
                    strict=True,
                )
            )
        ]
        with ThreadPoolExecutor(THREADS) as pool:
            feeds = [feed for feed in pool.map(self._ask, asked) if feed is not None]
        self.answered += len(feeds)
        self._tell(feeds, rng, begin + HOUR_MS)

    def change(self, version: int) -> None:
        """Another model beside the one that serves, and the refresh that moves the library to it."""
        self.beside(["roll in", str(self.root), str(self.runs[version - 1])])
        if not self.live.reload():
            self.mistakes["a reload that found nothing"] += 1

    def refresh(self, now_ms: int) -> None:
        self.beside(["refresh", str(self.root), str(now_ms)])

    def check_counters(self) -> None:
        """Every user and work: what the store has is the base's and what was told."""
        live = self.live.cascades[self.scene].online
        assert live is not None
        names = [*live.view(-1)[0].counter_names]
        view = live.view(int(self.users[0]))[0]
        for user in self.users.tolist():
            state, why = live.view(user)
            if why is not None or state.user is None:
                self.mistakes["the store does not answer"] += 1
                continue
            row = int(self.base.users.lookup(np.array([user]))[0])
            for name, count in zip(names, state.user.counters, strict=True):
                expected = float(self.base.users[name][row]) + self.told["user", user, name]
                self.mistakes["counters of users that are not what was told"] += float(count) != expected
        of_works = dict(zip(view.items.counter_ids.tolist(), view.items.counters.tolist(), strict=True))
        for work in {work for side, work, _ in self.told if side == "work"}:
            row = int(self.base.works.lookup(np.array([work]))[0])
            for name, count in zip(names, of_works.get(work, [-1.0] * len(names)), strict=True):
                before = float(self.base.works[name][row]) if row >= 0 else 0.0
                wrong = count != before + self.told["work", work, name]
                self.mistakes["counters of works that are not what was told"] += wrong

    def _ask(self, request: karec.Request) -> Page | None:
        try:
            feed = self.live.run(request)
        except Exception as error:
            self.mistakes[f"a request that fails: {type(error).__name__}: {error}"] += 1
            return None
        self.mistakes["degraded"] += bool(feed.degraded)
        self.mistakes["short"] += feed.shortfall is not None
        model = int(feed.versions["model"])
        self.mistakes["a bundle of another model"] += f"v{model:010d}" not in str(feed.versions["bundle"])
        features = feed.request.features
        for version, vector in zip(features.get(VERSIONS, [model]), features[VECTOR], strict=True):
            made = self.towers[int(version) - 1].run(features, VECTOR)[0][0]
            self.mistakes["a user vector of another model"] += not np.array_equal(made, vector)
            self.mistakes["a version that is not beside the model"] += not model - 1 <= int(version) <= model
        self.served[model] += 1
        return feed

    def _upload(self, row: int, begin: int) -> dict[str, Any]:
        columns = {
            name: column[row].item()
            for name, column in self.works.columns.items()
            if not name.startswith("count_")
        }
        creator = columns.pop("creator_id")
        upload = {
            "kind": "upload",
            "work": int(self.works.ids[row]),
            "creator": creator,
            "time_ms": begin + 1,
        }
        return upload | {"columns": columns}

    def _tell(self, feeds: list[Page], rng: np.random.Generator, now: int) -> None:
        if not feeds:
            return
        did = answers(self.world.truth, self.world.dataset.snapshot, feeds)
        labels = [name for name in did.labels if f"count_{name}" in self.base.works.columns]
        rows = []
        for at in range(len(did)):
            user, work = int(did.user_id[at]), int(did.work_id[at])
            positive = [name for name in labels if did.labels[name][at]]
            row = {"kind": "exposure", "user": user, "work": work, "scene": self.scene, "labels": positive}
            rows.append(row | {"time_ms": int(did.time_ms[at]), "id": str(uuid4())})
            for name in ("exposed", *positive):
                self.told["user", user, f"count_{name}"] += 1
                self.told["work", work, f"count_{name}"] += 1
        again = [row for row in rows if rng.random() < TWICE]
        self.repeated += len(again)
        self._record([*rows, *again], now)

    def _record(self, rows: list[dict[str, Any]], now: int) -> None:
        told = self.live.record(rows, now_ms=now)
        self.mistakes["events that were refused"] += len(rows) - told.events
        self.mistakes["events that wait"] += told.waiting is not None


def act(command: Sequence[str]) -> None:
    """What a publisher and a refresh do: ``roll in ROOT RUN``, ``refresh ROOT NOW_MS``."""
    what, root, told = command
    bundle = Bundle.open(root, verify=False)
    if what == "roll in":
        publish_next_version(Path(told), bundle.snapshot, Path(root))
        return
    with open_refresh(bundle) as work:
        work.run(work.start_round(int(told)), Pace(0.5))


def in_a_process(command: Sequence[str]) -> None:
    subprocess.run([sys.executable, __file__, *command], check=True)


def run(soak: Soak, hours: int, n_requests: int) -> float:
    """Plays the hours; MB that memory grew by since the first refresh ended."""
    changes = {hours // 3: 2, 2 * hours // 3: 3}
    refreshed, first = Thread(target=soak.refresh, args=(soak.base.time_ms,)), 0.0
    refreshed.start()
    for at in range(hours):
        if at in changes:
            refreshed.join()
            soak.live.add_refreshed()
            soak.change(changes[at])
            refreshed = Thread(target=soak.refresh, args=(soak.base.time_ms + at * HOUR_MS,))
            refreshed.start()
        soak.hour(at, n_requests)
        if at + 1 == max(hours // 3, 1):
            refreshed.join()
            soak.live.add_refreshed()
            gc.collect()
            first = rss_mb()
        print(
            f"hour {at + 1}: {soak.answered} answers, {sum(soak.told.values()):,} counts, RSS {rss_mb():.0f} "
            f"MB",
            flush=True,
        )
    refreshed.join()
    soak.live.add_refreshed()
    gc.collect()
    soak.check_counters()
    return rss_mb() - first


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("demo", type=Path, help="the folder of karec demo")
    options.add_argument("--hours", type=int, default=24)
    options.add_argument("--requests", type=int, default=20, help="an hour (default 20)")
    for name, default in (("works", 300_000), ("users", 1500), ("exposures", 200_000)):
        options.add_argument(
            f"--{name}", type=int, default=default, help=f"as karec demo had (default {default})"
        )
    told = options.parse_args()
    world = make_world(told.works, told.users, told.exposures)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(told.demo, world, Path(folder), in_a_process)
        with soak.live:
            grown = run(soak, told.hours, told.requests)
        mistakes = +soak.mistakes
    print(
        f"{told.hours} hours in {time.monotonic() - begun:.0f} s: {soak.answered} answers of versions "
        f"{dict(sorted(soak.served.items()))}, {soak.uploaded:,} uploads, {soak.repeated} events told twice; "
        f"memory grew by {grown:.0f} MB (< {MOST_MB:.0f}: {'yes' if grown < MOST_MB else 'NO'})"
    )
    for what, n in mistakes.items():
        print(f"MISTAKE {what}: {n}")
    return 1 if mistakes or grown >= MOST_MB else 0


if __name__ == "__main__":
    if sys.argv[1:2] in (["roll in"], ["refresh"]):
        act(sys.argv[1:])
    else:
        sys.exit(main())
