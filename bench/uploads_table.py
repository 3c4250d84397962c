"""Processor time that works cost which came since a bundle was made, by how many came.

    karec demo --works 20000 --users 2000 --exposures 50000 --requests 20 --out HERE   # leaves two published
    versions OMP_NUM_THREADS=1 python bench/uploads_table.py HERE/karec.toml [uploads, 0,10000,40000,80000]

Of one ``LiveCascade`` of the first scene on a copy of the bundles, in ms of the thread that does it: a look
at the log that has 100 more uploads, the request after it, and a reload, which takes the other version. Each
is a median.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from live_platform import NEW, Platform

import karec
from karec.config import scene_names
from karec.platform.event_log.writer import EventLogWriter

LOOKS, RELOADS, AT_ONCE = 15, 3, 100


def processor_ms(do: Callable[[], Any]) -> float:
    begun = time.thread_time()
    do()
    return (time.thread_time() - begun) * 1e3


def upload(platform: Platform, log: EventLogWriter, n: int) -> None:
    platform.tell(log, "upload", n, item_id=NEW + platform.number + np.arange(n), creator_id=3)


def main() -> None:
    config = Path(sys.argv[1]).absolute()
    totals = [int(each) for each in (sys.argv[2] if len(sys.argv) > 2 else "0,10000,40000,80000").split(",")]
    print("uploads   a look at 100 more   the request after it   a reload      ms of processor time, medians")
    for total in totals:
        with tempfile.TemporaryDirectory() as name:
            platform = Platform(config, Path(name))
            scene = scene_names(platform.config)[0]
            with karec.LiveCascade.from_config(platform.config, scene) as live, platform.log() as log:
                follow = live._nearline  # its own thread is told to rest: this one looks
                assert follow is not None
                follow._looking.stop()
                for begin in range(0, total, 1000):
                    upload(platform, log, min(1000, total - begin))
                    follow.look()
                users, rng = live.cascades[scene].bundle.snapshot.users.ids, np.random.default_rng(0)
                looks, requests, reloads = list[float](), list[float](), list[float]()
                for _ in range(LOOKS):
                    upload(platform, log, AT_ONCE)
                    looks.append(processor_ms(follow.look))
                    request = karec.Request(int(rng.choice(users)), 10, scene, time_ms=platform.now)
                    requests.append(processor_ms(lambda request=request: live.run(request)))
                for _ in range(RELOADS):
                    platform.change_version()
                    reloads.append(processor_ms(live.reload))
                medians = [float(np.median(each)) for each in (looks, requests, reloads)]
                print(f"{total:7,}   {medians[0]:18.1f}   {medians[1]:20.1f}   {medians[2]:8.0f}", flush=True)


if __name__ == "__main__":
    main()
