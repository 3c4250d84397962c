"""What a state store costs a request, and how soon an event and a new work are in the next one.

    OMP_NUM_THREADS=1 python bench/live_table.py KAREC.TOML [requests, 200]

Of the first scene of the config, as karec demo writes one. For each store (memory, LMDB, and Redis on
loopback where a server is installed) a service of its own follows a log of 20,000 events. A round asks the
scene without a state and each service for the same user; what a service adds is its request's time less that
of the scene without, the median over rounds: by the clock, and by this process's own time, which other work
on the machine does not stretch as much. An event is told with ``record``, which returns when it is on the
disk (one fsync) and in the store; then a request is asked whether it knows it. A new work is told the same
way, and looked for in what a request finds.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from scoring_table import Table

import karec
from karec.bundle import Bundle
from karec.config import load_cascade, scene_names
from karec.platform.event_log.events import Events

HISTORY = 20_000
NEW = 1 << 50
GOALS = {"memory": 1.0, "LMDB": 1.0, "Redis": 2.0}  # ms


def service(config: Path, folder: Path, state: str) -> karec.LiveCascade:
    """The config's scenes on its bundle, with a log and a store in ``folder``."""
    folder.mkdir()
    lines = [
        line for line in config.read_text(encoding="utf-8").splitlines() if not line.startswith("bundle =")
    ]
    live = [
        f'bundle = "{(config.parent / "bundles").absolute()}"',
        "[live]",
        f'state = "{state}"',
        'events = "events"',
    ]
    live.append("deadline_ms = 10000")  # what is late is measured, not left out
    (folder / "karec.toml").write_text("\n".join([*live, *lines]), encoding="utf-8")
    return karec.LiveCascade.from_config(folder / "karec.toml", scene_names(config)[0])


def past(bundle: Bundle, labels: int, n: int, now: int) -> Events:
    rng = np.random.default_rng(0)
    works = bundle.snapshot.works.ids
    return Events.of(
        "exposure",
        source=1,
        number=np.arange(n),
        time_ms=now - n + np.arange(n),
        user_id=rng.choice(bundle.snapshot.users.ids[:1000], n),
        item_id=works[(rng.zipf(1.2, n) - 1) % len(works)],
        scene=0,
        labels=rng.integers(0, 1 << labels, n),
    )


def redis(stack: ExitStack, folder: Path) -> str | None:
    """The address of a server of this process's own."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        return None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True)
    stack.callback(server.kill)
    assert server.stdout is not None
    if not any("Ready to accept connections" in line for line in server.stdout):
        raise SystemExit(f"{program} did not start")
    return f"redis://127.0.0.1:{port}/0"


def ms(seconds: list[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    return float(np.median(seconds) * 1e3), float(np.percentile(seconds, 95) * 1e3)


def main() -> None:
    config, rounds = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    table, scene = Table(), scene_names(config)[0]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = redis(stack, folder)
        addresses = {"memory": "memory:", "LMDB": "state"} | ({} if server is None else {"Redis": server})
        plain = replace(load_cascade(config, scene), observers=())
        bundle = plain.bundle
        assert isinstance(bundle, Bundle)
        now = bundle.snapshot.time_ms + 3_600_000
        lives = {}
        for store, address in addresses.items():
            lives[store] = stack.enter_context(service(config, folder / store, address))
            start = time.perf_counter()
            lives[store].record(past(bundle, 2, HISTORY, now), now_ms=now)
            print(f"{store}: {HISTORY / (time.perf_counter() - start):,.0f} events/s told at once")
        served = {name: replace(live.cascades[scene], observers=()) for name, live in lives.items()}
        users = np.random.default_rng(1).choice(bundle.snapshot.users.ids[:1000], rounds + 10)
        added: dict[str, list[float]] = {store: [] for store in lives}
        read: dict[str, list[float]] = {store: [] for store in lives}
        own_added: dict[str, list[float]] = {store: [] for store in lives}
        without = []
        for n, user in enumerate(users.tolist()):
            request = karec.Request(user, 10, scene, time_ms=now)
            start, own = time.perf_counter(), time.process_time()
            plain.run(request)
            alone, alone_own = time.perf_counter() - start, time.process_time() - own
            for store, cascade in served.items():
                start, own = time.perf_counter(), time.process_time()
                feed = cascade.run(request)
                spent, spent_own = time.perf_counter() - start, time.process_time() - own
                if n >= 10 and not feed.degraded:
                    added[store].append(spent - alone)
                    own_added[store].append(spent_own - alone_own)
                    read[store].append(feed.trace.steps[0].ms / 1e3)
            without.append(alone)
        for store in lives:
            value, _ = ms(added[store])
            own, (its_read, late) = ms(own_added[store])[0], ms(read[store])
            note = f"ms, {own:.2f} of its own time; its read {its_read:.2f}, p95 {late:.2f}; "
            note += (
                f"{rounds - len(added[store])} of {rounds} degraded; a request without {ms(without)[0]:.1f}"
            )
            table.row(
                f"a state in {store} adds to a request",
                value,
                f"≤ {GOALS[store]:g}",
                value <= GOALS[store],
                note,
            )
        for store, live in lives.items():
            soon(table, store, live, bundle, users[:50].tolist(), now)


def soon(
    table: Table, store: str, live: karec.LiveCascade, bundle: Bundle, users: list[int], now: int
) -> None:
    """From an event, and from an upload, to a request that knows it."""
    cascade = next(iter(live.cascades.values()))
    assert cascade.live is not None
    spent = []
    for n, user in enumerate(users):
        work = int(bundle.snapshot.works.ids[n])
        start = time.perf_counter()
        live.record(
            [{"kind": "label", "user": user, "work": work, "labels": ["like"], "time_ms": now + n}],
            now_ms=now + n,
        )
        view, _ = cascade.live.view(user)
        spent.append(time.perf_counter() - start)
        assert view.user is not None and work in view.user.lists["liked"].values
    value, late = ms(spent)
    table.row(
        f"an event is known to the next request, {store}", value, "≤ 50", late <= 50, f"ms, p95 {late:.1f}"
    )
    spent, makers = [], np.asarray(bundle.snapshot.works["creator_id"])
    for n, user in enumerate(users):
        upload = {"kind": "upload", "work": NEW + n, "creator": int(makers[n]), "time_ms": now + n}
        start = time.perf_counter()
        live.record([upload], now_ms=now + n)
        feed = live.run(karec.Request(user, 10, cascade.scene, time_ms=now + n))
        spent.append((time.perf_counter() - start) / 1e3)
        assert NEW + n in feed.scored[next(iter(feed.scored))].ids or bundle.index.lookup([NEW + n])[0] >= 0
    value, late = ms([each * 1e3 for each in spent])
    note = f"ms with the request, p95 {late:.0f}"
    table.row(f"a new work is recallable, {store}", value, "≤ 5000", late <= 5000, note)


if __name__ == "__main__":
    main()
