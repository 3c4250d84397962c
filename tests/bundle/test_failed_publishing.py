"""Files that a failed publisher leaves or removes, and names in a root that are not versions."""

import os
from pathlib import Path

import pytest

from karec.bundle import Bundle, make_current, next_version, publish_folder
from karec.errors import BundleError
from karec.files import link_aside


def write(folder):
    (folder / "rows.bin").write_bytes(b"rows")


def names(root):
    return sorted(path.name for path in root.iterdir())


def v(*versions):
    return [f"v{version:010d}" for version in versions]


def refuse(path, *_):
    raise PermissionError(13, "Permission denied", str(path))


def test_publish_removes_the_version_if_current_is_not_a_link(tmp_path):
    (tmp_path / "current").write_text("a file of someone")
    message = rf"^{tmp_path}/v0000000001 was not published: .*not a symbolic link.*{tmp_path}/current"
    with pytest.raises(BundleError, match=message):
        publish_folder(tmp_path, 1, write)
    assert names(tmp_path) == ["current"]
    (tmp_path / "current").unlink()
    assert Bundle.open(publish_folder(tmp_path, 1, write)).model_version == 1


def test_current_is_unchanged_if_make_current_fails(tmp_path, monkeypatch):
    for version in (1, 2):
        publish_folder(tmp_path, version, write)
    monkeypatch.setattr("karec.bundle.publish.link_aside", refuse)
    with pytest.raises(
        BundleError, match=rf"^{tmp_path}/current was not moved to v0000000001: .*Permission denied"
    ):
        make_current(tmp_path, 1)
    assert Bundle.open(tmp_path).model_version == 2


def test_version_is_kept_if_publish_fails_after_the_link(tmp_path, monkeypatch):
    """An example is a folder that cannot be synced after the link was put in place."""

    def link_and_fail(path, target):
        link_aside(path, target)
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as inner:
        inner.setattr("karec.bundle.publish.link_aside", link_and_fail)
        with pytest.raises(BundleError, match=r"v0000000001 was not published: .*Input/output error"):
            publish_folder(tmp_path, 1, write)
    assert Bundle.open(tmp_path).model_version == 1


def test_publish_keeps_a_folder_of_another_program(tmp_path):
    def too_late(folder):
        write(folder)
        (tmp_path / "v0000000001").mkdir()
        (tmp_path / "v0000000001" / "notes").write_text("of another program")

    with pytest.raises(BundleError, match="v0000000001 was not published"):
        publish_folder(tmp_path, 1, too_late)
    assert names(tmp_path) == v(1)
    assert (tmp_path / "v0000000001" / "notes").read_text() == "of another program"


def leave(root):
    """Makes a folder, a file and a link to a version, as killed publishers leave them."""
    (root / "v0000000003.1-0.tmp").mkdir()
    (root / "v0000000003.1-0.tmp" / "rows.bin").write_bytes(b"ro")
    (root / "v0000000004.1-0.tmp").write_text("")
    os.symlink("v0000000001", root / "current.1-0.tmp")


@pytest.mark.parametrize(
    "come", [lambda root: publish_folder(root, 3, write), lambda root: make_current(root, 1)]
)
def test_next_publisher_removes_leftovers_but_no_link_targets(tmp_path, come):
    for version in (1, 2):
        publish_folder(tmp_path, version, write)
    leave(tmp_path)
    come(tmp_path)
    assert set(names(tmp_path)) - set(v(3)) == {"current", *v(1, 2)}
    assert Bundle.open(tmp_path / "v0000000001").model_version == 1


def test_publish_warns_of_leftovers_that_cannot_be_removed(tmp_path, monkeypatch):
    leave(tmp_path)
    monkeypatch.setattr("karec.bundle.publish.remove_folder", refuse)
    left = (
        rf"{tmp_path}/v0000000003\.1-0\.tmp of a killed publisher could not be removed: .*Permission denied"
    )
    with pytest.warns(UserWarning, match=left):
        publish_folder(tmp_path, 3, write)
    assert Bundle.open(tmp_path).model_version == 3
    assert names(tmp_path) == ["current", *v(3), "v0000000003.1-0.tmp"]


def test_publish_refuses_keep_below_1(tmp_path):
    with pytest.raises(ValueError, match="keep is 0, expected at least 1"):
        publish_folder(tmp_path / "none", 1, write, keep=0)
    assert not (tmp_path / "none").exists()
    publish_folder(tmp_path, 1, write, keep=1)
    assert names(tmp_path) == ["current", *v(1)]


def test_next_version_ignores_folders_with_other_names(tmp_path):
    for name in ("v", "vx7", "v7.old", "x0000000009", "9"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 1
    publish_folder(tmp_path, 1, write, keep=1)
    assert next_version(tmp_path) == 2
    assert names(tmp_path) == sorted(["current", *v(1), "v", "vx7", "v7.old", "x0000000009", "9"])


def test_publish_makes_the_root_with_its_parents(tmp_path):
    root = tmp_path / "models" / "home"
    assert publish_folder(root, 1, write) == root / "v0000000001"
    assert os.readlink(root / "current") == "v0000000001"
    assert Path(root).is_dir()
