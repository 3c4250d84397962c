"""Every instruction set of the machine gives the same bits; ctest runs the C++ kernels on each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import karec
from karec import _native

ISAS = ("generic", "avx2", "avx512", "avx512bf16", "amx", "neon", "neonbf16")


def run(code: str, isa: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in another process, since the instruction set is chosen once."""
    environment = {**os.environ, "KAREC_FORCE_ISA": isa}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_index_reports_the_instruction_set() -> None:
    index = karec.ItemIndex.build([1], [[1.0]])
    assert index.isa == index.pinned().isa == _native.isa() in ISAS


@pytest.mark.parametrize(
    "call",
    [
        "karec.ItemIndex.build([1], [[1.0]])",
        "karec.diversity.dpp_select([[1.0]], [1.0], 1)",
        "import karec.features.crosses",
        "from karec import _native",
    ],
)
def test_unknown_instruction_set_is_rejected_at_first_use(call: str) -> None:
    done = run(f"import karec; print('imported'); {call}", "sse9")
    assert done.stdout == "imported\n"
    assert "\nValueError: KAREC_FORCE_ISA names 'sse9', this machine runs" in done.stderr


RUN = """
import json
import numpy as np
from karec import _native
from karec.diversity import dpp_select, mmr_select, ssd_select
from karec.index import ItemIndex

rng = np.random.default_rng(0)
vectors = rng.standard_normal((700, 37)).astype(np.float32)
relevance, query = rng.standard_normal(700), rng.standard_normal(37)
out = []
for dtype in ("float16", "float32", "int8"):
    index = ItemIndex.build(np.arange(700), vectors, dtype)
    index.adjust(np.arange(99), scale=1.25, offset=-0.3)
    out.append(index.scores(query, rows=rng.integers(0, 700, 900)).tobytes().hex())
    out.append(index.search(query, 50).scores.tobytes().hex())
    out.append(index.search(rng.normal(size=(35, 37)), 50).scores.tobytes().hex())
for items in (vectors, vectors.astype(np.float16)):
    for window in (None, 7):
        facets = np.stack([np.arange(700) % many for many in (300, 20, 77)])
        shown = {"shown": vectors[:9], "shown_facets": facets[:, :9]}
        for options in ({}, {"facets": facets, "facet_weights": [0.3, 0.1, 0.2], **shown}):
            options |= {"types": np.arange(700) % 5, "type_weight": 0.2}
            result = dpp_select(items, relevance, 300, window=window, **options)
            out += [result.indices.tolist(), result.gains.tobytes().hex(), result.log_det.hex(), result.n_dpp]
        for select in (mmr_select, ssd_select):
            result = select(items, relevance, 100, window=window, shown=vectors[:3])
            out += [result.indices.tolist(), result.gains.tobytes().hex()]
mapping = _native.VectorMap(vectors.mean(axis=0), np.eye(37), np.arange(1, 38), 0.5)
out.append(mapping.apply(vectors).tobytes().hex())
print(json.dumps([index.isa, out]))
"""


def test_instruction_sets_give_equal_bits() -> None:
    """The library rejects an instruction set that this machine lacks."""
    isa, results = json.loads(run(RUN, "generic").stdout)
    assert isa == "generic"
    for isa in ISAS[1:]:
        done = run(RUN, isa)
        if done.returncode:
            assert f"KAREC_FORCE_ISA names '{isa}', this machine runs" in done.stderr
        else:
            assert json.loads(done.stdout) == [isa, results]
