"""Which backend runs, that it says so, and that every one of them passes the conformance suite with the same
bits."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import karec.index
from karec import _native
from karec.diversity import native_options
from karec.kernels import portable

HERE = Path(__file__).parent
ISAS = ("generic", "avx2", "avx512", "amx")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own: backend and instruction set are chosen once."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KAREC_")}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=False)


def refused(done: subprocess.CompletedProcess[str], isa: str) -> bool:
    """Whether this machine lacks the instruction set, and said so."""
    if done.returncode == 0:
        return False
    assert f"KAREC_FORCE_ISA names '{isa}', this machine runs" in done.stdout + done.stderr
    return True


SHOW = "import karec.index; print(karec.ItemIndex.build([1], [[1.0]]).isa)"


def test_the_environment_names_the_backend() -> None:
    assert run("-c", SHOW, KAREC_BACKEND="portable").stdout == "portable\n"
    native = run("-c", SHOW, KAREC_BACKEND="native").stdout.strip()
    assert (
        native in ISAS
        and run("-c", SHOW).stdout.strip() == native == run("-c", SHOW, KAREC_BACKEND="").stdout.strip()
    )
    done = run("-c", SHOW, KAREC_BACKEND="gpu")
    assert done.returncode == 1
    assert "ValueError: KAREC_BACKEND names 'gpu', expected 'native' or 'portable'" in done.stderr
    assert "KAREC_FORCE_ISA names 'sse9', this machine runs" in run("-c", SHOW, KAREC_FORCE_ISA="sse9").stderr


WITHOUT_EXTENSION = """
import sys, warnings
sys.modules["karec._native"] = None  # an import of it fails now as if it were not there
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import karec
    index = karec.ItemIndex.build([7, 9, 8], np.eye(3), columns={"song_id": [1, 1, 2]})
    scores, ids = index.search([0.0, 1.0, 0.5], ids=[7, 9, 11, 8], k=2)
    picks = karec.dpp_select(index.embeddings([0, 1, 2]), [3.0, 2.0, 1.0], 2).indices
    order = karec.scatter([0, 1, 2], index.columns, [karec.ScatterRule("song_id")]).indices
    index.save(sys.argv[1])
    opened = karec.ItemIndex.open(sys.argv[1])
told = [str(w.message) for w in caught if "karec" in str(w.message)]
print(index.isa, ids.tolist(), picks.tolist(), order.tolist(), opened.ids.tolist(), len(told), told[0])
"""


def test_without_the_extension_everything_works_and_one_warning_says_so(tmp_path: Path) -> None:
    done = run("-c", WITHOUT_EXTENSION, tmp_path / "index.karec")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "portable [9, 8] [0, 1] [0, 2, 1] [7, 9, 8] 1 karec's C++ extension (karec._native) is"
    )
    named = run(
        "-c", WITHOUT_EXTENSION.replace("import karec\n", "import karec.index\n", 1), KAREC_BACKEND="native"
    )
    assert named.returncode == 1 and "karec._native" in named.stderr.splitlines()[-1], (
        "asked for, it must be there"
    )


WITHOUT_XXHASH = """
import sys
sys.modules["xxhash"] = None
import karec
karec.ItemIndex.build([1], [[1.0]]).save(sys.argv[1])
"""


def test_a_file_needs_the_extra_that_the_message_names(tmp_path: Path) -> None:
    done = run("-c", WITHOUT_XXHASH, tmp_path / "index.karec", KAREC_BACKEND="portable")
    assert "pip install 'karec[portable]'" in done.stderr and not any(tmp_path.iterdir())


def test_the_portable_backend_offers_what_the_stub_of_the_native_one_says() -> None:
    stub = ast.parse((HERE.parents[1] / "karec" / "_native.pyi").read_text())

    def public(body: list[ast.stmt]) -> set[str]:
        return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}

    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    reads = public(classes.pop("_Reads").body)
    for library in (_native, portable):
        assert public(stub.body) - {"_Reads"} <= set(dir(library))
        for name, node in classes.items():
            inherited = (
                reads if any(isinstance(b, ast.Name) and b.id == "_Reads" for b in node.bases) else set()
            )
            assert public(node.body) | inherited <= set(dir(getattr(library, name)))


def test_portable_rows_are_selected_from_as_their_vectors_are() -> None:
    rng = np.random.default_rng(0)
    index = portable.ItemIndex.build(np.arange(50), rng.standard_normal((50, 8)), "int8", [], 0, False, 0)
    index.remove([30])
    rows, relevance, types = np.arange(29, -1, -1), rng.standard_normal(30), np.arange(30) % 3
    told, plain = (
        native_options("dpp_select", options) for options in ({"types": types, "type_weight": 0.2}, {})
    )
    found = index.dpp_select(rows, relevance, 9, **told)
    expected = portable.dpp_select(index.embeddings(rows), relevance, 9, **told)
    assert found[0].tolist() == expected[0].tolist() and found[2:] == expected[2:]
    for bad in (-1, 30, 50):
        with pytest.raises(ValueError, match=f"rows holds {bad} at position 1: no work stands there"):
            index.dpp_select([0, bad], [1.0, 2.0], 1, **plain)
    with pytest.raises(
        ValueError,
        match=r"relevance has shape \(1,\), expected \(2,\) as rows has shape "
        r"\(2,\)",
    ):
        index.dpp_select([0, 1], [1.0], 1, **plain)


def test_an_index_says_which_backend_it_runs_on(backend: str) -> None:
    isa = karec.index.ItemIndex.build([1], [[1.0]]).isa
    assert (isa == "portable") == (backend == "portable") and isa in (*ISAS, "portable")


def test_an_index_says_so_also_when_the_environment_names_another_backend(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = karec.index.ItemIndex.build([1], [[1.0]])
    isa = index.isa
    monkeypatch.setenv("KAREC_BACKEND", "native" if backend == "portable" else "portable")
    assert index.isa == index.pinned().isa == isa


RUN = """
import json
import numpy as np
from karec._backend import library
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
    out.append(index.search_all(query, 50).scores.tobytes().hex())
    out.append(index.search_all(rng.normal(size=(35, 37)), 50).scores.tobytes().hex())
n_scores = len(out)
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
            out += [result.indices.tolist(), result.scores.tobytes().hex()]
mapping = library.VectorMap(vectors.mean(axis=0), np.eye(37), np.arange(1, 38), 0.5)
out.append(mapping.apply(vectors).tobytes().hex())
print(json.dumps([index.isa, out[:n_scores], out[n_scores:]]))
"""


def test_every_instruction_set_gives_the_same_bits_and_the_portable_backend_the_same_scores() -> None:
    """Sets that this machine lacks are refused by name."""
    done = run("-c", RUN, KAREC_FORCE_ISA="generic")
    ran, scores, selections = json.loads(done.stdout)
    assert ran == "generic"
    for isa in ISAS[1:]:
        done = run("-c", RUN, KAREC_FORCE_ISA=isa)
        assert refused(done, isa) or json.loads(done.stdout) == [isa, scores, selections]
    done = run("-c", RUN, KAREC_BACKEND="portable")
    assert json.loads(done.stdout)[:2] == ["portable", scores]


def test_the_conformance_suite_passes_on_every_instruction_set() -> None:
    for isa in ISAS:
        if isa == _native.isa():
            continue  # the suite runs on it in this process, and so does the portable backend, which has none
        suite = [HERE / f"test_{name}.py" for name in ("scoring", "dpp_greedy", "trees")]
        suite.append(HERE.parent / "contracts" / "test_index.py")
        done = run(
            "-m", "pytest", "-p", "no:cacheprovider", "-k", "not portable", *suite, KAREC_FORCE_ISA=isa
        )
        assert refused(done, isa) or f"karec backend: {isa}\n" in done.stdout
