"""Python and C++ read the golden bundle and stage, and reject altered ones.

``karec export stage`` wrote ``golden/stage-1.json`` for ``golden/stage-1.toml``. ``publish`` wrote
``golden/bundle-1`` for eight works of four dimensions. Neither is ever written again.
"""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from karec.bundle import Bundle, publish_folder
from karec.bundle.manifest import FORMAT as BUNDLE_FORMAT
from karec.config.host_stage import FORMAT as STAGE_FORMAT
from karec.config.host_stage import check_export
from karec.errors import BundleError, ConfigError

GOLDEN = Path(__file__).parent / "golden"
BUNDLE = GOLDEN / f"bundle-{BUNDLE_FORMAT}"
CONFIG, STAGE = (GOLDEN / f"stage-{STAGE_FORMAT}.{kind}" for kind in ("toml", "json"))


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(BUNDLE, tmp_path / "bundle")


def test_golden_bundle_has_the_published_data():
    bundle = Bundle.open(BUNDLE)
    assert bundle.model_version == 7 and bundle.facts == {"tasks": ["click"]}
    assert bundle.index.ids.tolist() == list(range(50, 58)) and bundle.index.dim == 4


def test_publish_writes_the_golden_manifest(tmp_path):
    def write(folder):
        shutil.copy(BUNDLE / "index.karec", folder)

    folder = publish_folder(tmp_path, 7, write, {"tasks": ["click"]})
    assert (folder / "manifest.json").read_bytes() == (BUNDLE / "manifest.json").read_bytes()


def test_export_writes_the_golden_stage():
    check_export(CONFIG, "home", STAGE)


def alter(path, **values):
    """Changes keys of a JSON file; removes those of the value None."""
    content = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_bundle_of_a_newer_format_is_rejected(bundle):
    alter(bundle / "manifest.json", format=BUNDLE_FORMAT + 1)
    with pytest.raises(BundleError, match=rf"has format {BUNDLE_FORMAT + 1}, expected {BUNDLE_FORMAT}"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": STAGE_FORMAT + 1}, "is stale: it was edited, or another version"),
        ({"source": "0" * 16}, "is stale: its stages of scenes.home in .* have changed since"),
        ({"stages": None}, "is not an exported stage"),
    ],
)
def test_check_rejects_an_altered_stage(tmp_path, values, message):
    stage = Path(shutil.copy(STAGE, tmp_path))
    alter(stage, **values)
    with pytest.raises(ConfigError, match=message):
        check_export(CONFIG, "home", stage)


def run_host(programs, bundle, stage, folder):
    """Runs stages_host with one request: works 50 … 57, no shown items, one user vector."""
    works, query = np.arange(50, 58), np.array([0.5, -0.5, 0.5, 0.5], np.float32)
    sizes = 1, 8 * 3_600_000, 3, 0, 0, len(works), 0, len(query), 0, 0  # without user, versions, tables
    (folder / "request").write_bytes(np.array([*sizes, *works], np.int64).tobytes() + query.tobytes())
    command = [programs / "stages_host", bundle, stage, folder / "request", folder / "result"]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def test_cpp_host_reads_the_golden_bundle_and_stage(native_programs, tmp_path):
    process = run_host(native_programs, BUNDLE, STAGE, tmp_path)
    assert process.returncode == 0, process.stderr
    n, unknown, broken, *ids = np.frombuffer((tmp_path / "result").read_bytes(), np.int64, 6).tolist()
    assert (n, unknown, broken) == (3, 0, 0) and set(ids) < set(range(50, 58))


def check_host_rejects(programs, bundle, stage, folder, *messages):
    process = run_host(programs, bundle, stage, folder)
    assert process.returncode != 0 and all(message in process.stderr for message in messages), process.stderr


def test_cpp_host_rejects_altered_files_by_name(native_programs, bundle, tmp_path):
    stage = Path(shutil.copy(STAGE, tmp_path / "stage.json"))
    alter(stage, format=STAGE_FORMAT + 1)
    check_host_rejects(native_programs, BUNDLE, stage, tmp_path, "stage.json", "format is 2, expected 1")
    stage.write_text(STAGE.read_text().replace('"k": 6', '"k": 0'))
    check_host_rejects(native_programs, BUNDLE, stage, tmp_path, "stage.json", "inner_product", "'k'")
    alter(bundle / "manifest.json", format=BUNDLE_FORMAT + 1)
    check_host_rejects(native_programs, bundle, STAGE, tmp_path, "manifest.json", "Publish the bundle again")


def test_cpp_host_rejects_an_altered_file_of_the_bundle(native_programs, bundle, tmp_path):
    index = bytearray((bundle / "index.karec").read_bytes())
    index[-1] ^= 1
    (bundle / "index.karec").write_bytes(index)
    check_host_rejects(native_programs, bundle, STAGE, tmp_path, "index.karec was changed after publishing")


def test_cpp_host_reads_no_file_outside_the_bundle(native_programs, bundle, tmp_path):
    path = bundle / "manifest.json"
    files = json.loads(path.read_text())["files"]
    alter(path, files={"user_tower.v/../../x.onnx": files["index.karec"]})
    check_host_rejects(
        native_programs, bundle, STAGE, tmp_path, "manifest.json", "not a path within the bundle"
    )
