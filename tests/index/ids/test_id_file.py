"""The id file is read as it was written. A truncated, altered or foreign file is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from karec.errors import IndexFormatError
from karec.index import IdMap

NAMES = [f"user-{i}-{'ü' * (i % 5)}" for i in range(40)]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "ids.karec"
    IdMap.build(NAMES, path)
    return path


def refused(path: Path, content: bytes, verify: bool) -> str:
    """Returns the error of opening a file with this content, "" if it opens."""
    path.write_bytes(content)
    try:
        IdMap.open(path, verify)
    except IndexFormatError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def test_truncated_id_file_is_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    for length in range(len(whole)):
        assert refused(tmp_path / "cut", whole[:length], verify=False)
    assert "the header has 128" in refused(tmp_path / "cut", whole[:100], verify=True)
    assert "its header declares" in refused(tmp_path / "cut", whole + b"\0", verify=True)


def test_id_file_with_a_changed_byte_is_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]
        assert refused(tmp_path / "changed", changed, verify=True)


def test_altered_id_file_is_refused_or_read_within_its_bounds(saved: Path, tmp_path: Path) -> None:
    whole = np.frombuffer(saved.read_bytes(), np.uint8)
    rng = np.random.default_rng(3)
    numbers = IdMap.open(saved).numbers(NAMES)
    opened = 0
    for _ in range(300):
        content = whole.copy()
        content[rng.integers(640, len(content), 4)] = rng.integers(0, 256, 4)
        path = tmp_path / "altered"
        if refused(path, content.tobytes(), verify=False):
            continue
        opened += 1
        ids = IdMap.open(path, verify=False)
        try:
            assert len(ids.names(numbers, missing="none")) == len(NAMES)
            ids.contains(NAMES)
        except IndexFormatError as error:
            assert "a string is outside its text" in str(error)  # noqa: PT017
    assert opened > 100


def test_id_file_of_another_format_is_refused(tmp_path: Path) -> None:
    from karec.index import ItemIndex

    ItemIndex.build([1], np.ones((1, 2))).save(tmp_path / "index.karec")
    with pytest.raises(IndexFormatError, match="it does not begin with 'karecids'"):
        IdMap.open(tmp_path / "index.karec")


def test_id_file_of_a_later_version_is_refused(saved: Path, tmp_path: Path) -> None:
    whole = bytearray(saved.read_bytes())
    whole[8] = 2
    assert (
        refused(tmp_path / "later", bytes(whole), True)
        == "the id file has version 2, this karec reads version 1: build it again"
    )


def test_id_file_can_be_replaced_while_it_is_open(saved: Path) -> None:
    reader = IdMap.open(saved)
    IdMap.build(["a"], saved)
    assert reader.names(reader.numbers(NAMES)).tolist() == NAMES and len(IdMap.open(saved)) == 1
    assert os.listdir(saved.parent) == ["ids.karec"]


def test_id_map_raises_os_errors_for_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        IdMap.open(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        IdMap.open(tmp_path)
    with pytest.raises(FileNotFoundError):
        IdMap.build(["a"], tmp_path / "no" / "such")
    with pytest.raises(FileExistsError):
        IdMap.build(["a"], tmp_path)


def test_id_file_has_at_most_11_bytes_for_each_string(tmp_path: Path) -> None:
    names = [f"{i:012d}" for i in range(50_000)]
    IdMap.build(names, tmp_path / "ids.karec")
    assert ((tmp_path / "ids.karec").stat().st_size - 12 * len(names)) / len(names) <= 11
