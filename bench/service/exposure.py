"""Measures the effect of exposure control if the requests of a scene are spread over processes.

    OMP_NUM_THREADS=1 python bench/service/exposure.py [valkey://HOST:PORT]

Processes serve 2,000 requests in turns, 100 a second, from 20,000 items of 2,000 creators. The scene has a
fairness penalty of creators of at most 2 deviations. It prints the mean penalty, over the processes, of the
hundred creators with the most impressions: with an online store that shares the counters (a SQLite file, or
an empty server), its ratio to one process, and without a store.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.exposure.constraints import ExposureSettings, FairnessPenalty
from karec.exposure.controller import ExposureController
from karec.index import ItemIndex
from karec.online.store.sqlite import SqliteStore
from karec.online.store.valkey import ValkeyStore
from karec.pipeline.cascade import Cascade
from karec.pipeline.recall import Recall
from karec.pipeline.side_effects import SideEffectQueue
from karec.pipeline.stage import Stage
from karec.pipeline.step import Scorer, Source
from karec.pipeline.types import Candidates, Request
from karec.steps.hydrators.index_rows import IndexRows
from karec.steps.scorers.exposure_control import ExposureControl
from karec.steps.selectors.top_k import TopK
from karec.steps.side_effects.exposure_counter import ExposureCounter
from karec.steps.sources.merge import Merge

N_ITEMS, N_CREATORS, N_REQUESTS, N_TOP_CREATORS = 20_000, 2_000, 2_000, 100
NOW, PAGES_PER_SECOND = 1_700_000_000_000, 100.0
PENALTY = FairnessPenalty(2.0, "creator_id", exposures=20.0)


class RandomItems(Source):
    quota = 500

    def recall(self, request: Request) -> Candidates:
        rng = np.random.default_rng(request.seed)
        return Candidates.from_ids(rng.choice(N_ITEMS, self.quota, replace=False))


class Taste(Scorer):
    """Scores by the quality of the creator, in thousandths in a column, and the taste of the user."""

    needs = ("rows",)

    def score(self, request: Request, candidates: Candidates) -> NDArray[np.float32]:
        quality = request.index.gather("quality", candidates.rows) / 1e3
        taste = np.random.default_rng(request.seed).normal(0, 1, len(candidates))
        return (quality + taste).astype(np.float32)


def make_cascade(index: ItemIndex, controller: ExposureController) -> Cascade:
    recall = Recall((RandomItems(),), Merge([RandomItems.quota], RandomItems.quota))
    stage = Stage("rank", (IndexRows(index.schema), Taste(), ExposureControl(), TopK()))
    counter = SideEffectQueue(ExposureCounter(controller))
    return Cascade("home", (), recall, (stage,), (counter,), index=index, threads=1, exposure=controller)


def serve(number: int, url: str | None, barrier: Barrier, reports: Queue[Any]) -> None:
    """Serves the requests of one of the processes; reports impressions and penalties of the creators."""
    rng = np.random.default_rng(0)
    creators = rng.integers(0, N_CREATORS, N_ITEMS)
    quality = (rng.normal(0, 1, N_CREATORS)[creators] * 1e3).astype(np.int32)
    columns = {"creator_id": creators, "quality": quality}
    index = ItemIndex.build(np.arange(N_ITEMS), np.ones((N_ITEMS, 2), np.float32), columns=columns)
    store = None if url is None else ValkeyStore(url) if "://" in url else SqliteStore(Path(url))
    settings = ExposureSettings(fairness=(PENALTY,))
    controller = ExposureController(settings, index, store=store, scene=f"home-{barrier.parties}")
    impressions, penalties = np.zeros(N_CREATORS), np.zeros(N_CREATORS)
    with make_cascade(index, controller) as cascade:
        barrier.wait()
        start_s = time.monotonic()
        for i in range(number, N_REQUESTS, barrier.parties):
            time.sleep(max(start_s + i / PAGES_PER_SECOND - time.monotonic(), 0.0))
            page = cascade.run(Request(i, 10, time_ms=NOW + i, request_id=str(i)))
            impressions += np.bincount(creators[page.candidates.rows], minlength=N_CREATORS)
        cascade.side_effects[0].flush()
        for _ in range(2):  # all append their last pages, then all read them
            controller.merge()
            barrier.wait()
        penalties[creators] = controller.newest.penalties(index.ids, columns.__getitem__, NOW + N_REQUESTS)
    reports.put((impressions, penalties))


def top_penalty(n_processes: int, url: str | None) -> float:
    context = multiprocessing.get_context("spawn")
    reports, barrier = context.Queue(), context.Barrier(n_processes)
    for number in range(n_processes):
        context.Process(target=serve, args=(number, url, barrier, reports), daemon=True).start()
    impressions, penalties = map(np.array, zip(*(reports.get() for _ in range(n_processes)), strict=True))
    top = np.argsort(-impressions.sum(axis=0))[:N_TOP_CREATORS]
    return float(penalties[:, top].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", help="an empty server, valkey://HOST:PORT (default: a SQLite file)")
    url = parser.parse_args().url
    one_process = 0.0
    for n_processes in (1, 2, 4, 16):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            shared = top_penalty(n_processes, url or f"{folder}/online.db")
        one_process = one_process or shared
        separate = top_penalty(n_processes, None)
        print(
            f"{n_processes:2} processes: {shared:.3f} ({shared / one_process:.3f}), separate {separate:.3f}"
        )


if __name__ == "__main__":
    main()
