"""The golden snapshot opens with its contents; other formats and damaged files are refused by name."""

import json
import re
import shutil

import numpy as np
import pytest
from golden_platform import SNAPSHOTS, golden_snapshot

from karec.catalog.snapshot import FORMAT, Snapshot
from karec.errors import DataError

GOLDEN = SNAPSHOTS / f"snapshot-{FORMAT}"


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "snapshot")


def test_golden_snapshot_opens_with_its_contents():
    opened, stored = Snapshot.open(GOLDEN), golden_snapshot()
    assert (opened.time_ms, opened.labels, opened.meaning) == (stored.time_ms, stored.labels, stored.meaning)
    pairs = [
        (opened.works.columns, stored.works.columns),
        (opened.users.columns, stored.users.columns),
        (opened.user_scene_counters, stored.user_scene_counters),
        (
            {"works": opened.works.ids, "users": opened.users.ids},
            {"works": stored.works.ids, "users": stored.users.ids},
        ),
    ]
    for result, expected in pairs:
        assert result.keys() == expected.keys()
        for name, column in expected.items():
            assert result[name].dtype == column.dtype
            np.testing.assert_array_equal(result[name], column, err_msg=name)
    assert opened.relations.keys() == stored.relations.keys()
    for name, relation in stored.relations.items():
        result = opened.relations[name]
        np.testing.assert_array_equal(result.indptr, relation.indptr)
        np.testing.assert_array_equal(result.values, relation.values)
        assert (result.times is None) == (relation.times is None)
        assert relation.times is None or result.times.tolist() == relation.times.tolist()
        assert (result.scenes is None) == (relation.scenes is None)


def test_saved_snapshot_has_the_files_of_the_golden_folder(tmp_path):
    golden_snapshot().save(tmp_path / "snapshot")
    roots = tmp_path / "snapshot", GOLDEN
    written, golden = ({str(path.relative_to(root)) for path in root.rglob("*.*")} for root in roots)
    assert written == golden
    written, golden = (json.loads((root / "snapshot.json").read_text()) for root in roots)
    assert written == golden


def test_snapshot_of_a_newer_format_is_refused(copy):
    head = json.loads((copy / "snapshot.json").read_text())
    (copy / "snapshot.json").write_text(json.dumps({**head, "format": FORMAT + 1}))
    with pytest.raises(DataError, match=f"snapshot format {FORMAT + 1}, expected {FORMAT}"):
        Snapshot.open(copy)


@pytest.mark.parametrize("kept", [0, 0.5, 0.9])
def test_snapshot_with_a_truncated_file_is_refused(copy, kept):
    for path in sorted(copy.rglob("*.*")):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * kept)])
        with pytest.raises(DataError, match=re.escape(str(path))):
            Snapshot.open(copy)
        path.write_bytes(whole)
    Snapshot.open(copy)


@pytest.mark.parametrize("name", ["snapshot.json", "works/ids.npy", "relations/history.values.npy"])
def test_snapshot_without_a_required_file_is_refused(copy, name):
    (copy / name).unlink()
    with pytest.raises(
        DataError, match=f"{name} cannot be read: No such file|is not a snapshot: it has no {name}"
    ):
        Snapshot.open(copy)


def test_snapshot_parts_of_different_lengths_are_refused(copy):
    np.save(copy / "relations" / "history.values.npy", np.arange(3))
    with pytest.raises(DataError, match=r"history.indptr.npy is damaged: indptr holds 0 … 7, expected 0 … 3"):
        Snapshot.open(copy)
    np.save(copy / "relations" / "history.indptr.npy", np.array([0, 3]))
    for part in ("times", "scenes"):
        np.save(copy / "relations" / f"history.{part}.npy", np.zeros(3, np.int64))
    with pytest.raises(DataError, match="relation 'history' has 1 rows, expected one for each of 3 users"):
        Snapshot.open(copy)
