"""Nanoseconds a tree and row: karec's library, ONNX Runtime and LightGBM itself, by the leaves of a tree.

    OMP_NUM_THREADS=1 python bench/trees_table.py

60 trees a size, grown by LightGBM on 30,000 rows of 20 normal features, score 1,000 of the rows in turns of
the three. Processor time of one thread, medians; the library's scores must have ONNX Runtime's bits.
KAREC_FORCE_ISA names an instruction set.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time

import lightgbm
import numpy as np
import onnx
import onnxruntime as ort

from karec import _native
from karec.learn.export.trees import export_trees
from karec.learn.run.lightgbm import trees_to_onnx
from karec.models.trees import load_trees

TREES, ROWS, FEATURES, TURNS = 60, 1000, 20, 40


def main() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(30_000, FEATURES)).astype(np.float32)
    y = np.sin(3 * x[:, 0]) + x[:, 1] * x[:, 2] + generator.normal(size=len(x)) > 0
    rows = x[:ROWS].copy()
    print(
        f"{_native.isa()}; ns a tree and row\n"
        f"{'leaves':>8}{'karec':>8}{'ONNX Runtime':>14}{'LightGBM':>10}{'ratio':>8}"
    )
    for leaves in (15, 31, 63, 127, 255):
        settings = {"objective": "binary", "num_leaves": leaves, "verbose": -1, "num_threads": 1}
        booster = lightgbm.train(settings, lightgbm.Dataset(x, y.astype(int)), TREES)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "trees.onnx"
            onnx.save_model(trees_to_onnx([booster], FEATURES), str(path))
            export_trees(path)
            (trees,) = load_trees(path).trees
            options = ort.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = ort.InferenceSession(str(path), options)
        ways = {
            "karec": lambda trees=trees: trees.ensemble.scores(rows)[0],
            "ONNX Runtime": lambda session=session: session.run(None, {"dense": rows})[0][:, 0],
            "LightGBM": lambda booster=booster: booster.predict(rows, raw_score=True, num_threads=1),
        }
        ns: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, score in ways.items():
                start = thread_time()
                score()
                ns[name].append((thread_time() - start) * 1e9 / TREES / ROWS)
        assert np.array_equal(ways["karec"](), ways["ONNX Runtime"]())
        ours, theirs, its_own = (float(np.median(ns[name])) for name in ways)
        print(f"{leaves:>8}{ours:>8.2f}{theirs:>14.1f}{its_own:>10.1f}{theirs / ours:>8.1f}")


if __name__ == "__main__":
    main()
