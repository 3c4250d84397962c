"""The synthetic world written as user files is the same dataset."""

import numpy as np
import pytest
from own_files import NOW_MS

from karec.catalog import schema
from karec.data.load import load
from karec.errors import DataError
from karec.lab.simulate.world import make_world
from karec.lab.simulate.write_dataset import write_dataset


@pytest.fixture(scope="module")
def world():
    return make_world(1_000, 200, 4_000, seed=3)


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_dataset(folder, world.start, world.past, world.dataset)
    return folder


@pytest.fixture(scope="module")
def loaded(folder, tmp_path_factory):
    return load(folder, tmp_path_factory.mktemp("ids"), now_ms=NOW_MS).dataset


def sort_impressions(exposures):
    order = np.lexsort((exposures.work_id, exposures.user_id, exposures.time_ms))
    return exposures.take(order)


def test_written_impressions_and_split_equal_the_world(world, loaded):
    original, copy = sort_impressions(world.dataset.exposures), loaded.exposures
    for name in ("user_id", "work_id", "time_ms", "play_ms"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(original, name), err_msg=name)
    for name, label in original.labels.items():
        np.testing.assert_array_equal(copy.labels[name], label, err_msg=name)
    scenes, copied_scenes = world.dataset.snapshot.labels["scene"], loaded.snapshot.labels["scene"]
    assert [copied_scenes[code] for code in copy.scene] == [scenes[code] for code in original.scene]
    assert [len(part) for part in loaded.split()] == [len(part) for part in world.dataset.split()]
    assert (loaded.tasks, loaded.objectives) == (world.dataset.tasks, world.dataset.objectives)
    assert loaded.snapshot.meaning == world.dataset.snapshot.meaning


@pytest.mark.parametrize("table", ["works", "users"])
def test_written_tables_equal_the_world(world, loaded, table):
    original, copy = getattr(world.dataset.snapshot, table), getattr(loaded.snapshot, table)
    np.testing.assert_array_equal(copy.ids, original.ids)
    assert copy.columns.keys() == original.columns.keys()
    for name, values in original.columns.items():
        if name in world.dataset.snapshot.labels:
            names, copied_names = world.dataset.snapshot.labels[name], loaded.snapshot.labels[name]
            assert [copied_names[code] for code in copy[name]] == [names[code] for code in values], name
        elif name == "family":
            is_known = np.asarray(values) > schema.NO_FAMILY
            assert ((copy[name] >= 0) == is_known).all()
            assert [loaded.snapshot.labels[name][code] for code in copy[name][is_known]] == list(
                map(str, values[is_known])
            )
        else:
            np.testing.assert_array_equal(copy[name], values, err_msg=name)


def test_shared_category_has_equal_codes_in_both_tables(loaded):
    """Cross features compare the codes."""
    for name in ("city", "family"):
        names = loaded.snapshot.labels[name]
        assert max(loaded.snapshot.works[name].max(), loaded.snapshot.users[name].max()) < len(names)
    assert (loaded.snapshot.users["city"][:, None] == loaded.snapshot.works["city"][None]).any()


@pytest.mark.parametrize("name", ["history", "skipped", "liked", "follows", "friends"])
def test_written_relations_equal_the_world(world, loaded, name):
    original, copy = world.dataset.snapshot.relations[name], loaded.snapshot.relations[name]
    np.testing.assert_array_equal(copy.indptr, original.indptr)
    for row in range(len(original)):
        # Entries of one moment may have any order.
        assert sorted(copy.row_values(row)) == sorted(original.row_values(row))


def test_write_dataset_rejects_a_folder_with_data(world, folder):
    with pytest.raises(DataError, match="exists already"):
        write_dataset(folder, world.start, world.past, world.dataset)
