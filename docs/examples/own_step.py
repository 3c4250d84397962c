"""A filter and a recall channel of your own, in a scene of karec.toml. Run it: python
docs/examples/own_step.py

It makes a platform of 100 works in a temporary folder, writes the karec.toml below beside it, and prints one
feed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import karec
from karec.bundle import publish_folder
from karec.catalog.snapshot import Snapshot
from karec.catalog.table import Table
from karec.index import IndexSchema, ItemIndex
from karec.pipeline.step import Filter, Source
from karec.pipeline.types import Array, Candidates, Request


class EditorsPicks(Source):
    """Works that an editor picked: a text file with one work id a line, best first. Ids need not be known."""

    # config_folder is given, the rest are keys
    def __init__(self, config_folder: Path, file: str, quota: int) -> None:
        self.quota = quota
        self.picked = np.loadtxt(config_folder / file, dtype=np.int64, ndmin=1)[:quota]

    def recall(self, request: Request) -> Candidates:
        return Candidates.from_ids(self.picked)


class OfCity(Filter):
    """Works made in one city. The item index must have the column."""

    reason = "of another city"  # in the trace, beside how many it dropped
    needs = ("rows",)  # checked when the cascade is built; karec/pipeline/step.py lists the names

    def __init__(self, schema: IndexSchema, city: int) -> None:  # schema is given, city is a key
        schema.check_column("city")
        self.schema, self.city = schema, city  # a cascade of another index refuses the step

    def keep(self, request: Request, candidates: Candidates) -> Array:
        found = request.index.gather("city", candidates.rows)  # the index as this request sees it
        return np.asarray(found == self.city)


CONFIG = """
bundle = "bundles"

[scenes.home]
limits = { recall = 100 }
recall = [{ use = "own_step:EditorsPicks", file = "picks.txt", quota = 10 }, { use = "fresh", quota = 100 }]

[[scenes.home.stages]]
name = "rank"
steps = [
    { use = "index_rows" },
    { use = "has_embedding" },
    { use = "own_step:OfCity", city = 2, name = "same_city" },
    { use = "top_k" },
]
"""


def make_platform(folder: Path) -> None:
    """A bundle of 100 works (ids 1000 … 1099) in four cities, the editor's file, and karec.toml."""
    n = 100
    numbers = {name: np.arange(n) % 7 for name in ("creator_id", "song_id", "type", "tag")}
    columns = {**numbers, "upload_ms": np.arange(n) * 1000, "city": np.arange(n) % 4}
    works, users = Table(1000 + np.arange(n), columns), Table(np.array([1]), {})
    vectors = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)

    def write(into: Path) -> None:
        ItemIndex.build(works.ids, vectors, columns=columns, model_version=1).save(into / "index.karec")
        Snapshot(int(columns["upload_ms"][-1]), works, users, {}, {"scene": ["home"]}).save(into / "snapshot")

    publish_folder(folder / "bundles", 1, write)
    (folder / "picks.txt").write_text("1002\n1003\n1006\n")
    (folder / "karec.toml").write_text(CONFIG)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        make_platform(Path(name))
        feed = karec.open(Path(name) / "karec.toml").run(karec.Request(user_id=1, k=5))
    for item in feed:
        print(item.item_id, item.sources)
    for step in feed.trace.steps:
        print(step.stage, step.step, step.n_in, "→", step.n_out, step.reason)


if __name__ == "__main__":
    main()
