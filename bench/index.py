"""The item index as a whole: building, opening, updates, and calls from C++, C and Python."""

from __future__ import annotations

import json
import subprocess

import machine
import numpy as np
import pytest
import workloads

from karec.bundle import publish_folder
from karec.index import ItemIndex

BATCH = 10_000


@pytest.fixture(scope="module")
def index():
    n = workloads.N_ITEMS
    return ItemIndex.build(workloads.item_ids(n), workloads.item_vectors(n))


def size_of(index: ItemIndex) -> str:
    return f"{len(index):.0e} items D={index.dim} float16, {index.nbytes / len(index):.0f} B per item"


def test_build(compare):
    n = workloads.N_ITEMS
    ids, vectors = workloads.item_ids(n), workloads.item_vectors(n)
    bytes_ = 2 * vectors.nbytes
    compare(
        "index: build",
        f"{n:.0e} items",
        lambda: ItemIndex.build(ids, vectors),
        items=n,
        bytes_=bytes_,
        limit="copy",
    )


def test_save_and_open(compare, index, tmp_path):
    path = tmp_path / "index.karec"
    index.save(path)
    bytes_ = path.stat().st_size
    run_karec = lambda: ItemIndex.open(path)  # noqa: E731
    compare("index: open, verified", size_of(index), run_karec, items=len(index), bytes_=bytes_, limit="copy")


@pytest.mark.parametrize("change", ["upsert", "adjust", "block"])
def test_update(compare, index, change):
    ids, vectors = (
        workloads.item_ids(workloads.N_ITEMS)[:BATCH],
        workloads.item_vectors(workloads.N_ITEMS)[:BATCH],
    )
    scale = np.linspace(0.5, 2, BATCH, dtype=np.float32)
    calls = {
        "upsert": lambda: index.upsert(ids, vectors),
        "adjust": lambda: index.adjust(ids, scale=scale),
        "block": lambda: (index.block(ids), index.unblock(ids)),
    }
    compare(f"index: {change}", f"{BATCH} of {len(index):.0e} items", calls[change], items=BATCH)


def test_call_from_python(compare, index):
    ids, query = index.ids[:1].copy(), workloads.queries(1)[0]
    compare("index: search from Python", "1 candidate", lambda: index.search(query, ids=ids, k=1), items=1)


def test_call_from_other_hosts(benchmark, tmp_path):
    """Time that Stages and the C API add to the kernel, measured by native/bench/host_bench.cpp."""
    program = machine.native_program("host_bench")
    if program is None:
        pytest.skip("native/bench is not configured; run `make test-native` first")
    n, k = 100_000, 1000
    index = ItemIndex.build(workloads.item_ids(n), workloads.item_vectors(n))
    publish_folder(tmp_path / "bundles", 0, lambda folder: index.save(folder / "index.karec"))
    steps: list[dict[str, object]] = [
        {"use": "index_rows", "name": "index_rows"},
        {"use": "has_embedding", "name": "has_embedding"},
        {"use": "inner_product", "name": "inner_product", "k": k, "at_most": [], "min_items": 0},
    ]
    stage = {"format": 1, "scene": "home", "source": "none", "stages": [{"name": "prerank", "steps": steps}]}
    settings = tmp_path / "stage.json"
    settings.write_text(json.dumps(stage))
    command = [str(program), str(tmp_path / "bundles"), str(settings), str(n), "21"]
    printed = benchmark.pedantic(subprocess.check_output, (command,), {"text": True}, rounds=1)
    figures = {name: float(ns) for name, ns, *_ in (row.split() for row in printed.splitlines())}
    names = {"kernel": "C++ search", "stages": "C++ Stages", "c_stages": "C Stages"}
    parts = [
        {"kernel": f"index: {caller}", "size": f"N={n} k={k}", "seconds": figures[name] * 1e-9, "items": n}
        for name, caller in names.items()
    ]
    benchmark.extra_info.update(parts=parts)
