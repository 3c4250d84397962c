"""The blocks of docs/pipeline.md run on a small bundle in the folder of the demo."""

import json
import runpy

import numpy as np
import pytest
from doc_pages import ROOT, free_port, run_page
from small_bundle import publish_small_bundle

from karec.config.scenes import FileTable, SceneTable
from karec.errors import Unavailable
from karec.pipeline.types import Request

IDS = {"10000001": "1"}  # a user of the small bundle


@pytest.mark.filterwarnings("ignore:Failed to obtain server version")
def test_pipeline_page_runs(tmp_path):
    bundle = publish_small_bundle(tmp_path / "demo")
    run = run_page("docs/pipeline.md", tmp_path, replacements=IDS)
    assert json.loads((tmp_path / "karec.schema.json").read_text())["title"] == "karec.toml"
    assert "near, by Qdrant" in run.output("--scene own")
    check_source_by_qdrant(tmp_path, bundle)


def check_source_by_qdrant(folder, bundle):
    """Compares the source with the exact inner products; items that the index lost since are left out."""
    source_class = runpy.run_path(str(folder / "my_steps.py"))["QdrantSource"]
    source, vector = source_class(folder / "demo", 12, "qdrant"), np.ones((2, bundle.index.dim), np.float32)
    vector[1] = np.random.default_rng(0).standard_normal(bundle.index.dim)
    features = {"user_vector": vector, "user_vector_versions": np.array([0, bundle.model_version])}

    def request():
        return Request(1, view=bundle.index.pinned()).with_features(features)

    best = bundle.index.search(vector[1], 12)
    found = source.recall(request())
    assert set(found.ids) == set(best.ids)
    np.testing.assert_allclose(found.scores, np.sort(best.scores)[::-1], rtol=1e-3)
    bundle.index.remove(best.ids[:5])
    assert set(source.recall(request()).ids) == set(best.ids[5:])
    unreachable = source_class(folder / "demo", 12, url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="Qdrant"):
        unreachable.recall(request())


def test_pipeline_page_has_every_key_of_files_and_scenes():
    text = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
    keys = {*FileTable.__struct_fields__, *SceneTable.__struct_fields__}
    assert sorted(key for key in keys if f"| `{key}` |" not in text) == []
