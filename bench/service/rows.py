"""Measures the join and the training of generated impressions on disk: rows/s, processor time, memory.

    python bench/service/rows.py generate FOLDER --rows 4000000
    python bench/service/rows.py join FOLDER [--worker 0/2]
    python bench/service/rows.py train FOLDER --rows 200000
    python bench/service/rows.py kill FOLDER --times 10

`generate` writes impressions by bucket of users: 14 days, a user has 12 sessions of 8 rows, items have a
power law of popularity, and a click depends on the tags of user and item. `kill` kills the join at random
moments and starts it again, and counts finished parts that are written again. Each command prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from karec.aggregates.advance import advance
from karec.catalog.impressions import Impressions
from karec.catalog.relation import Relation
from karec.catalog.schema import Meaning
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.features.encoder import Encoder
from karec.learn._torch import torch
from karec.learn.fit.batches import Batches, ItemInputs
from karec.learn.fit.loop import fit
from karec.learn.fit.row_stream import RowStream, manifest_of
from karec.learn.nets.ranker import INPUTS, MmoeRanker
from karec.learn.settings.settings import OptimizerSettings
from karec.samples.encoded_rows import EncodedRows
from karec.samples.impression_files import ImpressionJoin, item_counters_by_time, read_bucket
from karec.samples.row_files import RowFolder
from karec.samples.row_job import days_of, user_buckets, write_rows
from karec.times import DAY_MS, HOUR_MS

START = 1_760_000_000_000 // DAY_MS * DAY_MS
DAYS, SESSIONS, SESSION_ROWS = 14, 12, 8
N_ITEMS, N_CREATORS, N_SONGS, N_TAGS = 200_000, 20_000, 5_000, 24
TASKS = ("click", "long_view", "like")
ROWS_PER_BUCKET = 400_000
BATCH = 512


def make_snapshot(n_users: int) -> Snapshot:
    draw = np.random.default_rng(1)
    works = {
        "creator_id": draw.integers(0, N_CREATORS, N_ITEMS) + 10**9,
        "song_id": draw.integers(0, N_SONGS, N_ITEMS),
        "tag": draw.integers(0, N_TAGS, N_ITEMS).astype(np.int32),
        "city": draw.integers(0, 50, N_ITEMS).astype(np.int32),
        "upload_ms": START - draw.integers(0, 2000, N_ITEMS) * HOUR_MS,
        "log_duration": draw.normal(4, 1, N_ITEMS).astype(np.float32),
    }
    users = {
        "city": draw.integers(0, 50, n_users).astype(np.int32),
        "age_band": draw.integers(0, 6, n_users).astype(np.int32),
        "family": draw.integers(0, N_TAGS, n_users).astype(np.int32),
    }
    follows = Relation(np.arange(n_users + 1) * 4, draw.integers(0, N_CREATORS, 4 * n_users) + 10**9)
    base = Snapshot(
        START,
        Table(np.arange(N_ITEMS) * 3 + 7, works),
        Table(np.arange(n_users) + 1, users),
        {"follows": follows},
        {"scene": ["home", "city"]},
        meaning=Meaning(("click", "long_view"), ("like",), ()),
    )
    nothing = np.empty(0, np.int64)
    labels = {name: np.empty(0, np.uint8) for name in TASKS}
    return advance(base, Impressions(nothing, nothing, nothing, nothing.astype(np.int32), labels), START)


def make_impressions(snapshot: Snapshot, users: np.ndarray, seed: int) -> Impressions:
    """Returns the impressions of the user rows ``users``, ordered by time."""
    draw = np.random.default_rng((2, seed))
    n = len(users) * SESSIONS * SESSION_ROWS
    user = np.repeat(users, SESSIONS * SESSION_ROWS)
    begin = np.repeat(draw.integers(0, DAYS * DAY_MS, len(users) * SESSIONS), SESSION_ROWS)
    time_ms = START + 1 + begin + np.tile(np.arange(SESSION_ROWS) * 15_000, len(users) * SESSIONS)
    item = np.minimum((N_ITEMS * draw.random(n) ** 3).astype(np.int64), N_ITEMS - 1)
    likes = snapshot.users["family"][user] == snapshot.works["tag"][item]
    quality = (snapshot.works["log_duration"][item] - 4) * 0.4
    p = 1 / (1 + np.exp(1.5 - 2.0 * likes - quality))
    click = draw.random(n) < p
    labels = {
        "click": click,
        "long_view": click & (draw.random(n) < 0.6),
        "like": click & (draw.random(n) < 0.1),
    }
    order = np.argsort(time_ms, kind="stable")
    rows = Impressions(
        snapshot.users.ids[user],
        snapshot.works.ids[item],
        time_ms,
        np.repeat(draw.integers(0, 2, len(users) * SESSIONS), SESSION_ROWS).astype(np.int32),
        {name: label.astype(np.uint8) for name, label in labels.items()},
    )
    return rows.take(order)


def generate(folder: Path, n_rows: int) -> dict:
    n_users = n_rows // (SESSIONS * SESSION_ROWS)
    n_buckets = max(-(-n_rows // ROWS_PER_BUCKET), 1)
    snapshot = make_snapshot(n_users)
    bucket_of_user = user_buckets(snapshot.users.ids, n_buckets)
    for bucket in range(n_buckets):
        rows = make_impressions(snapshot, np.flatnonzero(bucket_of_user == bucket), bucket)
        columns = {name: getattr(rows, name) for name in ("user_id", "work_id", "time_ms", "scene")}
        columns |= {f"label_{name}": label for name, label in rows.labels.items()}
        path = folder / "impressions" / f"bucket={bucket}"
        path.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path / "part.parquet")
    (folder / "sizes.json").write_text(json.dumps({"users": n_users, "buckets": n_buckets}))
    sample = read_bucket(folder / "impressions", 0)
    encoder = Encoder.fit(snapshot, sample, TASKS, history_length=30, min_count=5)
    encoder.save(folder / "encoder.npz")
    return {
        "users": n_users,
        "buckets": n_buckets,
        "items": N_ITEMS,
        "input_bytes": size_of(folder / "impressions"),
    }


def peak_gib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def open_sizes(folder: Path) -> tuple[Snapshot, Encoder, int]:
    sizes = json.loads((folder / "sizes.json").read_text())
    return make_snapshot(sizes["users"]), Encoder.load(folder / "encoder.npz"), sizes["buckets"]


def join(folder: Path, worker: int, n_workers: int) -> dict:
    snapshot, encoder, n_buckets = open_sizes(folder)
    impressions, end = folder / "impressions", START + (DAYS + 1) * DAY_MS
    start = time.process_time()
    parts = (read_bucket(impressions, bucket) for bucket in range(n_buckets))
    counters = item_counters_by_time(parts, snapshot, encoder, DAY_MS, end)
    counted = time.process_time() - start
    work = ImpressionJoin(impressions, encoder, snapshot, counters, DAY_MS, end)
    names = ("user_id", *INPUTS, "follows", "friends", "alike")
    days = days_of(np.arange(START, end, DAY_MS))
    manifest = manifest_of(encoder, folder / "encoder.npz", "generated", names, days, n_buckets)
    start = time.process_time()
    n_parts = write_rows(folder / "rows", manifest, work.rows_of, worker=worker, n_workers=n_workers)
    joined = time.process_time() - start
    own = range(worker, n_buckets, n_workers)
    n_rows = sum(pq.read_metadata(impressions / f"bucket={i}" / "part.parquet").num_rows for i in own)
    return {
        "rows": n_rows,
        "new_parts": n_parts,
        "count_s": round(counted, 1),
        "join_s": round(joined, 1),
        "rows_per_cpu_s": round(n_rows / joined) if n_parts == len(own) * len(days) else None,
        "counter_windows": len(counters.event_times),
        "bytes_per_row": round(size_of(folder / "rows") / n_rows, 1) if n_workers == 1 else None,
    }


def train(folder: Path, n_rows: int, rounds: int) -> dict:
    """Trains the ranker on ``n_rows`` rows from the stream and from memory, in turns; medians of rounds."""
    torch.set_num_threads(1)
    snapshot, encoder, _ = open_sizes(folder)
    start = time.process_time()
    rows = RowFolder.open(folder / "rows")
    checked = time.process_time() - start
    stream = RowStream(rows, ItemInputs.from_snapshot(encoder, snapshot), torch.device("cpu"))
    edges, seconds = stream.edges(8), {"stream": [], "memory": []}
    n_rows = n_rows // BATCH * BATCH

    def train_from(source: RowStream | Batches) -> float:
        torch.manual_seed(0)
        model = MmoeRanker(encoder, edges)

        def order(generator):
            epoch = source.epoch(generator, BATCH, len(source), by_user=True)
            yield from (batch for batch, _ in zip(epoch, range(n_rows // BATCH), strict=False))

        def loss(batch, _):
            logits = model(batch.inputs_by_user(model.inputs))
            return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)

        optimizer = OptimizerSettings(batch_size=BATCH, learning_rate=2e-3)
        start = time.process_time()
        fit(model, n_rows, loss, None, order=order, optimizer=optimizer, epochs=1, seed=0, title="x")
        return time.process_time() - start

    train_from(stream)  # imports and compiles
    stream_gib = peak_gib()
    sizes = np.cumsum([group.n_rows for group in rows.groups])
    groups = rows.groups[: int(np.searchsorted(sizes, n_rows)) + 1]
    encoded = EncodedRows.concat([rows.read(group) for group in groups])
    memory = Batches(encoded, stream.items, stream.device)
    for _ in range(rounds):
        seconds["stream"].append(train_from(stream))
        seconds["memory"].append(train_from(memory))
    rates = {name: n_rows / np.median(values) for name, values in seconds.items()}
    return {
        "folder_rows": len(stream),
        "rows": n_rows,
        "check_rows_per_cpu_s": round(len(stream) / checked),
        **{f"{name}_rows_per_cpu_s": round(rate) for name, rate in rates.items()},
        "ratios": [round(m / s, 2) for s, m in zip(*seconds.values(), strict=True)],
        "stream_peak_gib": stream_gib,
        "encoded_bytes_per_row": round(sum(v.nbytes for v in encoded.inputs.values()) / len(encoded)),
    }


def kill(folder: Path, times: int) -> dict:
    """Kills the join ``times`` times after a random time, then lets it end."""
    draw, repeated = random.Random(0), 0
    finished: dict[Path, int] = {}
    for attempt in range(times + 1):
        command = [sys.executable, __file__, "join", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            if attempt < times:
                timer = threading.Timer(draw.uniform(5, 60), process.kill)
                timer.start()
        files = {path: path.stat().st_mtime_ns for path in folder.glob("rows/day=*/*.parquet")}
        repeated += sum(files[path] != modified for path, modified in finished.items())
        finished = files
    RowFolder.open(folder / "rows")
    return {"kills": times, "parts": len(finished), "written_again": repeated}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("generate", "join", "train", "kill"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--worker", default="0/1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=10)
    arguments = parser.parse_args()
    folder = arguments.folder
    worker, n_workers = map(int, arguments.worker.split("/"))
    began = time.perf_counter()
    result = {
        "generate": lambda: generate(folder, arguments.rows),
        "join": lambda: join(folder, worker, n_workers),
        "train": lambda: train(folder, arguments.rows, arguments.rounds),
        "kill": lambda: kill(folder, arguments.times),
    }[arguments.command]()
    result |= {"wall_s": round(time.perf_counter() - began, 1), "peak_gib": peak_gib()}
    print(json.dumps({"command": arguments.command, **result}))


if __name__ == "__main__":
    main()
