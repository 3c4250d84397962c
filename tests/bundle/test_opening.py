"""A bundle is published whole or not at all; an altered one, or a part of another version, is refused."""

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from small_tower import write_user_tower

from karec.bundle import Bundle, next_version, publish_folder
from karec.errors import BundleError
from karec.index import ItemIndex


def write(folder):
    (folder / "rows.bin").write_bytes(b"rows")
    (folder / "notes").mkdir()
    (folder / "notes" / "labels.json").write_text("{}")


@pytest.fixture
def root(tmp_path):
    publish_folder(tmp_path, 7, write, {"tasks": ["click"]})
    return tmp_path


def test_current_is_the_last_published_version(root):
    assert Bundle.open(root).model_version == 7
    publish_folder(root, 8, write)
    assert Bundle.open(root).model_version == 8
    assert Bundle.open(root / "v0000000007").facts == {"tasks": ["click"]}


def test_next_version_is_the_highest_plus_1(root, tmp_path):
    assert next_version(tmp_path / "nothing") == 1
    assert next_version(root) == 8


def test_failed_publish_keeps_current_and_leaves_no_files(root):
    def fails(folder):
        write(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_folder(root, 8, fails)
    assert Bundle.open(root).model_version == 7
    assert sorted(p.name for p in root.iterdir()) == ["current", "v0000000007"]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda b: (b / "rows.bin").write_bytes(b"rowz"), "rows.bin was changed after publishing"),
        (lambda b: (b / "rows.bin").write_bytes(b"ro"), "has 2 bytes, expected 4 by the manifest"),
        (lambda b: (b / "rows.bin").unlink(), "rows.bin is in the manifest but not in the bundle"),
        (lambda b: (b / "stranger").write_text("?"), "stranger is in the bundle but not in its manifest"),
        (lambda b: (b / "manifest.json").unlink(), "not a bundle"),
        (lambda b: (b / "manifest.json").write_text("{"), "not JSON"),
        (lambda b: (b / "manifest.json").write_text("{}"), "lacks some of"),
        (lambda b: (b / "manifest.json").write_text("[]"), "lacks some of"),
        (
            lambda b: (b / "manifest.json").write_text(
                '{"format": 1, "model_version": "x", "facts": {}, "files": {}}'
            ),
            "model_version is 'x', expected int",
        ),
    ],
)
def test_bundle_unlike_its_manifest_is_refused(root, alter, message):
    alter(root / "v0000000007")
    with pytest.raises(BundleError, match=message):
        Bundle.open(root)


def test_user_towers_have_the_version_of_their_file_name(tmp_path):
    def towers(*others):
        def write(folder):
            write_user_tower(folder / "user_tower.onnx", 7, 4)
            for name, version in others:
                write_user_tower(folder / name, version, 4)

        return write

    publish_folder(tmp_path / "alone", 7, towers())
    assert Bundle.open(tmp_path / "alone").user_towers.keys() == {7}
    publish_folder(
        tmp_path / "rolling",
        7,
        towers(("user_tower.v0000000006.onnx", 6), ("user_tower.v0000000009.onnx", 9)),
    )
    bundle = Bundle.open(tmp_path / "rolling")
    assert {version: tower.model_version for version, tower in bundle.user_towers.items()} == {
        7: 7,
        6: 6,
        9: 9,
    }
    assert bundle.user_towers[7] is bundle.user_tower
    for at, (name, version) in enumerate(
        [("user_tower.v0000000006.onnx", 5), ("user_tower.v0000000007.onnx", 7)]
    ):
        publish_folder(tmp_path / f"wrong{at}", 7, towers((name, version)))
        with pytest.raises(
            BundleError, match=f"{name} is of model version {version}, its bundle of 7: the tower of"
        ):
            _ = Bundle.open(tmp_path / f"wrong{at}").user_towers


def test_bundle_of_another_format_is_refused(root):
    path = root / "v0000000007" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(BundleError, match="format 99"):
        Bundle.open(root)


def test_shared_opens_a_replaced_bundle_again(root):
    first = Bundle.shared(root)
    shutil.rmtree(root / "v0000000007")
    publish_folder(root, 7, write, {"tasks": ["like"]})
    second = Bundle.shared(root)
    assert (first.facts, second.facts) == ({"tasks": ["click"]}, {"tasks": ["like"]})
    assert Bundle.shared(root) is second
    with pytest.raises(BundleError, match="nowhere is not a bundle"):
        Bundle.shared(root / "nowhere")


def test_open_refuses_folders_nested_beyond_the_recursion_limit(root):
    at = os.open(root / "v0000000007", os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("a", dir_fd=at)
        within = os.open("a", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = within
    os.close(at)
    try:
        with pytest.raises(BundleError, match="a/a/a is in the bundle but not in its manifest"):
            Bundle.open(root)
    finally:
        subprocess.run(["rm", "-rf", root / "v0000000007" / "a"], check=True)


def test_open_refuses_a_link_to_itself(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(BundleError, match="loop is not a bundle"):
        Bundle.open(tmp_path / "loop")


# The manifest that a publisher writes

JSON = """{
 "facts": {
  "auc": 0.5,
  "tasks": [
   "click"
  ]
 },
 "files": {
  "notes/labels.json": {
   "bytes": 2,
   "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
   "xxh64": "2e1472b57af294d1"
  },
  "rows.bin": {
   "bytes": 4,
   "sha256": "bc51e9e65d79e1c90ba544ab2eae1044ccdf8c1af7a559ba375cba4276f7d99e",
   "xxh64": "d32ac3d1ef3dd156"
  }
 },
 "format": 1,
 "model_version": 7
}"""


@pytest.mark.parametrize("facts", [{"tasks": ["click"], "auc": 0.5}, {"auc": 0.5, "tasks": ["click"]}])
def test_manifest_of_equal_content_has_equal_bytes(tmp_path, facts):
    folder = publish_folder(tmp_path, 7, write, facts)
    assert (folder / "manifest.json").read_text() == JSON


def test_bundle_without_facts_has_empty_facts(tmp_path):
    assert Bundle.open(publish_folder(tmp_path, 7, write)).facts == {}


# Every part has the bundle's model version, so vectors of two versions are never mixed

MODELS = ("user_tower", "item_tower", "ranker")


def publish_at_7(root, index=7, **models):
    """Publishes a bundle of version 7 whose parts have the given versions."""

    def write(folder):
        ItemIndex.build(np.arange(3), np.eye(3), model_version=index).save(folder / "index.karec")
        for name in MODELS:
            write_user_tower(folder / f"{name}.onnx", models.get(name, 7), 3)

    publish_folder(root, 7, write)
    return Bundle.open(root, verify=False)  # its item tower and ranker are user towers, which could not serve


def test_parts_of_the_bundles_version_open(tmp_path):
    bundle = publish_at_7(tmp_path)
    assert {bundle.index.model_version, *(getattr(bundle, name).model_version for name in MODELS)} == {7}


@pytest.mark.parametrize("version", [6, 8])
@pytest.mark.parametrize(
    ("part", "file"), [("index", "index.karec"), *((name, f"{name}.onnx") for name in MODELS)]
)
def test_part_of_another_version_is_refused_with_its_file(tmp_path, part, file, version):
    message = f"{tmp_path / 'v0000000007' / file} is of model version {version}, its bundle of 7"
    with pytest.raises(BundleError, match="^" + re.escape(message) + "$"):
        getattr(publish_at_7(tmp_path, **{part: version}), part)
