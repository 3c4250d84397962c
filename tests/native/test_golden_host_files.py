"""Python and C++ read the golden bundle and stage, and reject altered ones.

``karec export stage`` wrote ``golden/stage-1.txt`` for ``golden/stage-1.toml``. ``publish`` wrote
``golden/bundle-1`` for eight works of four dimensions. Neither is ever written again.
"""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from karec import _native
from karec.bundle import Bundle, publish_folder
from karec.bundle.manifest import FORMAT as BUNDLE_FORMAT
from karec.bundle.sealed_text import FORMAT as TEXT_FORMAT
from karec.bundle.sealed_text import read_lines
from karec.config.host_stage import check_export
from karec.errors import BundleError, DataError

GOLDEN = Path(__file__).parent / "golden"
BUNDLE = GOLDEN / f"bundle-{BUNDLE_FORMAT}"
CONFIG, STAGE = (GOLDEN / f"stage-{TEXT_FORMAT}.{kind}" for kind in ("toml", "txt"))
SEALED = {"karec-prerank": STAGE, "karec-bundle": BUNDLE / "manifest.txt"}


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(BUNDLE, tmp_path / "bundle")


def test_golden_bundle_has_the_published_data():
    bundle = Bundle.open(BUNDLE)
    assert bundle.model_version == 7 and bundle.facts == {"tasks": ["click"]}
    assert bundle.index.ids.tolist() == list(range(50, 58)) and bundle.index.dim == 4


def test_publish_writes_the_golden_manifests(tmp_path):
    def write(folder):
        shutil.copy(BUNDLE / "index.karec", folder)

    folder = publish_folder(tmp_path, 7, write, {"tasks": ["click"]})
    for name in ("manifest.json", "manifest.txt"):
        assert (folder / name).read_bytes() == (BUNDLE / name).read_bytes()


def test_export_writes_the_golden_stage():
    check_export(CONFIG, "home", "prerank", STAGE)


def test_bundle_of_a_newer_format_is_rejected(bundle):
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": BUNDLE_FORMAT + 1}))
    with pytest.raises(
        BundleError,
        match=rf"has format {BUNDLE_FORMAT + 1}, expected "
        rf"{BUNDLE_FORMAT}",
    ):
        Bundle.open(bundle)


def test_bundle_with_an_altered_host_manifest_is_rejected(bundle):
    text = (bundle / "manifest.txt").read_text()
    (bundle / "manifest.txt").write_text(text.replace("model_version 7", "model_version 8"))
    with pytest.raises(BundleError, match=r"manifest\.txt was changed after publishing"):
        Bundle.open(bundle)


def to_newer_format(kind, text):
    """Returns ``text`` sealed as a later version of the format."""
    body = text.rpartition("seal ")[0].replace(f"{kind} {TEXT_FORMAT}", f"{kind} {TEXT_FORMAT + 1}", 1)
    return f"{body}seal {_native.xxh64(body.encode()):016x}\n"


@pytest.mark.parametrize("kind", SEALED)
def test_altered_sealed_text_is_rejected(kind, tmp_path):
    text, path = SEALED[kind].read_text(), tmp_path / "text"
    assert read_lines(SEALED[kind], kind) == text.splitlines()[1:-1]
    for changed, message in [
        (
            to_newer_format(kind, text),
            f"begins with '{kind} {TEXT_FORMAT + 1}', this version reads {kind} {TEXT_FORMAT}",
        ),
        (text.replace("7", "8", 1).replace("k=6", "k=7", 1), "the checksum in its last line is not that"),
        (text[:-1], "the checksum in its last line is not that"),
        (text.rpartition("seal ")[0], "the checksum in its last line is not that"),
        ("", "begins with ''"),
    ]:
        path.write_text(changed)
        with pytest.raises(DataError, match=message):
            read_lines(path, kind)


def run_host(programs, bundle, stage, folder):
    """Runs stages_host with one request: works 50 … 57, no shown items, one user vector."""
    works, query = np.arange(50, 58), np.array([0.5, -0.5, 0.5, 0.5], np.float32)
    sizes = 1, 8 * 3_600_000, 3, len(works), 0, len(query), 0, 0, 0  # without inputs and a raw user
    (folder / "request").write_bytes(np.array([*sizes, *works], np.int64).tobytes() + query.tobytes())
    command = [programs / "stages_host", bundle, stage, folder / "request", folder / "result"]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def test_cpp_host_reads_the_golden_bundle_and_stage(native_programs, tmp_path):
    process = run_host(native_programs, BUNDLE, STAGE, tmp_path)
    assert process.returncode == 0, process.stderr
    n, unknown, *ids = np.frombuffer((tmp_path / "result").read_bytes(), np.int64, 5).tolist()
    assert (n, unknown) == (3, 0) and set(ids) < set(range(50, 58))


def test_cpp_host_rejects_altered_files_by_name(native_programs, bundle, tmp_path):
    stage = tmp_path / "stage.txt"
    stage.write_text(to_newer_format("karec-prerank", STAGE.read_text()))
    process = run_host(native_programs, BUNDLE, stage, tmp_path)
    assert process.returncode != 0 and "stage.txt" in process.stderr
    stage.write_text(STAGE.read_text().replace("k=6", "k=7"))
    process = run_host(native_programs, BUNDLE, stage, tmp_path)
    assert process.returncode != 0 and "stage.txt" in process.stderr
    (bundle / "manifest.txt").write_text(
        to_newer_format("karec-bundle", (BUNDLE / "manifest.txt").read_text())
    )
    process = run_host(native_programs, bundle, STAGE, tmp_path)
    assert process.returncode != 0 and "manifest.txt" in process.stderr


def test_cpp_host_reads_no_file_outside_the_bundle(native_programs, bundle, tmp_path):
    path = bundle / "manifest.txt"
    body = (
        path.read_text().rpartition("seal ")[0].replace("file index.karec", "file user_tower.v/../../x.onnx")
    )
    path.write_text(f"{body}seal {_native.xxh64(body.encode()):016x}\n")
    process = run_host(native_programs, bundle, STAGE, tmp_path)
    assert (
        process.returncode != 0
        and "manifest.txt" in process.stderr
        and "no path within the bundle" in process.stderr
    )
