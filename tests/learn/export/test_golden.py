"""Tests of golden files: tiny models with torch's outputs, for hosts in any language.

``PYTHONPATH=tests/fixtures python tests/learn/export/test_golden.py`` writes those in tests/native/golden
from the platform of small_dataset.py.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from karec.errors import DataError
from karec.learn.export.golden import read_golden, write_golden
from karec.models.onnx_model import OnnxModel

GOLDEN = Path(__file__).parents[2] / "native" / "golden"
ROWS = 6
OUTPUTS = {
    "user_tower": {
        "user_vector": (ROWS, 8),
        "task_vectors": (ROWS, 3, 8),
        "slopes": (ROWS, 4),
        "levels": (ROWS, 4),
    },
    "item_tower": {"item_vector": (ROWS, 8)},
    "ranker": {"logits": (ROWS, 3)},
}


@pytest.mark.parametrize("name", list(OUTPUTS))
def test_golden_model_gives_the_stored_outputs(name):
    inputs, outputs = read_golden(GOLDEN / f"{name}.golden")
    model = OnnxModel(GOLDEN / f"{name}.onnx")
    assert set(model.inputs) == set(inputs) and model.kind == name
    assert {key: value.shape for key, value in outputs.items()} == OUTPUTS[name]
    for rows in (slice(0, ROWS), slice(0, 1), slice(ROWS - 1, ROWS)):
        found = model.run({key: np.ascontiguousarray(value[rows]) for key, value in inputs.items()}, *outputs)
        for value, expected in zip(found, outputs.values(), strict=True):
            np.testing.assert_allclose(value, expected[rows], atol=1e-5)
    spread = [np.ptp(value, axis=0).max() for value in outputs.values()]
    assert min(spread) > 0.05, "equal rows would not reveal a host that permutes them"


def test_golden_file_has_the_documented_bytes(tmp_path):
    path = tmp_path / "a.golden"
    write_golden(path, {"ids": np.array([[3, -1]])}, {"vector": np.array([1.5, 2.5, -1.0], np.float32)})
    data = path.read_bytes()
    assert data[:16] == b"KARECGLD" + struct.pack("<II", 1, 2)
    first = struct.pack("<IIII", 0, 2, 3, 2) + b"ids\0\0\0\0\0" + struct.pack("<qqqq", 1, 2, 3, -1)
    second = struct.pack("<IIII", 1, 1, 6, 1) + b"vector\0\0" + struct.pack("<qfffI", 3, 1.5, 2.5, -1.0, 0)
    assert data[16:] == first + second
    inputs, outputs = read_golden(path)
    assert inputs["ids"].tolist() == [[3, -1]] and outputs["vector"].tolist() == [1.5, 2.5, -1.0]


def test_truncated_or_newer_golden_file_is_refused(tmp_path):
    path = tmp_path / "a.golden"
    write_golden(path, {"x": np.zeros((2, 2), np.float32)}, {})
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="golden file"):
            read_golden(path)
    path.write_bytes(whole.replace(b"KARECGLD\x01", b"KARECGLD\x02"))
    with pytest.raises(DataError, match="of version 1"):
        read_golden(path)
    with pytest.raises(ValueError, match="x is float64"):
        write_golden(path, {"x": np.zeros(2)}, {})


def write_all() -> None:
    """Writes one tiny model per kind; the first row is an unseen user with an unseen item."""
    from small_dataset import make_dataset

    from karec.features.encoder import Encoder
    from karec.features.vocabulary import FIRST_UNSEEN
    from karec.learn.export.onnx_export import export_onnx
    from karec.learn.fit.batches import Batches
    from karec.learn.nets.ranker import MmoeRanker
    from karec.learn.nets.towers import Towers
    from karec.samples.examples import build_examples

    dataset = make_dataset()
    encoder = Encoder.fit(dataset.snapshot, dataset.split()[0], dataset.tasks, history_length=4, min_count=10)
    examples = build_examples(encoder, dataset.snapshot, dataset.exposures)
    inputs = examples.inputs(np.arange(0, len(examples), len(examples) // ROWS)[:ROWS])
    for name in MmoeRanker.inputs:
        inputs[name][0] = 0
    inputs["item_ids"][0] = FIRST_UNSEEN
    edges = Batches(examples, MmoeRanker.inputs).edges(2)
    torch.manual_seed(0)
    towers = Towers(encoder, edges, dim=4, hidden=16, vector=8)
    ranker = MmoeRanker(encoder, edges, dim=4, hidden=8, n_experts=2)
    for module, name in ((towers.user, "user_tower"), (towers.item, "item_tower"), (ranker, "ranker")):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model_inputs = {key: inputs[key] for key in module.inputs}
        path = GOLDEN / f"{name}.onnx"
        export_onnx(
            module, model_inputs, list(OUTPUTS[name]), path, kind=name, tasks=encoder.tasks, model_version=1
        )
        with torch.no_grad():
            outputs = module({key: torch.from_numpy(value) for key, value in model_inputs.items()})
        values = outputs if isinstance(outputs, tuple) else (outputs,)
        write_golden(
            path.with_suffix(".golden"),
            model_inputs,
            dict(zip(OUTPUTS[name], [v.numpy() for v in values], strict=True)),
        )


if __name__ == "__main__":
    write_all()
