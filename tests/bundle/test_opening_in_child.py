"""A child process verifies a bundle and refuses it with the same message."""

import pytest
from small_bundle import publish_small_bundle

from karec.bundle import Bundle
from karec.bundle.manifest import manifest_text
from karec.bundle.smoke import run_smoke
from karec.errors import BundleError


@pytest.fixture
def folder(tmp_path):
    return publish_small_bundle(tmp_path / "small").path


def flip(folder):
    data = bytearray((folder / "index.karec").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "index.karec").write_bytes(data)


def add(folder):
    (folder / "stranger.txt").write_text("new")


def test_open_in_child_accepts_a_whole_bundle(folder):
    assert Bundle.open(folder, in_child=True).model_version == Bundle.open(folder, verify=False).model_version


@pytest.mark.parametrize("damage", [flip, add])
def test_open_in_child_raises_the_error_of_this_process(folder, damage):
    damage(folder)
    with pytest.raises(BundleError) as here:
        Bundle.open(folder)
    with pytest.raises(BundleError) as refused_in_child:
        Bundle.open(folder, in_child=True)
    assert str(refused_in_child.value) == str(here.value)


def test_child_verifies_the_manifest_of_its_parent(folder):
    with pytest.raises(BundleError, match=r"manifest\.json has changed while the bundle was opened"):
        run_smoke(folder, manifest=manifest_text(folder) + b" ")
