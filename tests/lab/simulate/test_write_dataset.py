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
def imported(folder, tmp_path_factory):
    return load(folder, tmp_path_factory.mktemp("ids"), now_ms=NOW_MS).dataset


def in_one_order(exposures):
    order = np.lexsort((exposures.work_id, exposures.user_id, exposures.time_ms))
    return exposures.take(order)


def test_written_impressions_and_split_equal_the_world(world, imported):
    mine, its = in_one_order(world.dataset.exposures), imported.exposures
    for name in ("user_id", "work_id", "time_ms", "play_ms"):
        np.testing.assert_array_equal(getattr(its, name), getattr(mine, name), err_msg=name)
    for name, label in mine.labels.items():
        np.testing.assert_array_equal(its.labels[name], label, err_msg=name)
    scenes, named = world.dataset.snapshot.labels["scene"], imported.snapshot.labels["scene"]
    assert [named[code] for code in its.scene] == [scenes[code] for code in mine.scene]
    assert [len(part) for part in imported.split()] == [len(part) for part in world.dataset.split()]
    assert (imported.tasks, imported.objectives) == (world.dataset.tasks, world.dataset.objectives)
    assert imported.snapshot.meaning == world.dataset.snapshot.meaning


@pytest.mark.parametrize("table", ["works", "users"])
def test_written_tables_equal_the_world(world, imported, table):
    mine, its = getattr(world.dataset.snapshot, table), getattr(imported.snapshot, table)
    np.testing.assert_array_equal(its.ids, mine.ids)
    assert its.columns.keys() == mine.columns.keys()
    for name, values in mine.columns.items():
        if name in world.dataset.snapshot.labels:
            names, its_names = world.dataset.snapshot.labels[name], imported.snapshot.labels[name]
            assert [its_names[code] for code in its[name]] == [names[code] for code in values], name
        elif name == "family":
            there = np.asarray(values) > schema.NO_FAMILY
            assert ((its[name] >= 0) == there).all()
            assert [imported.snapshot.labels[name][code] for code in its[name][there]] == list(
                map(str, values[there])
            )
        else:
            np.testing.assert_array_equal(its[name], values, err_msg=name)


def test_shared_category_has_equal_codes_in_both_tables(imported):
    """Cross features compare them."""
    for name in ("city", "family"):
        names = imported.snapshot.labels[name]
        assert max(imported.snapshot.works[name].max(), imported.snapshot.users[name].max()) < len(names)
    assert (imported.snapshot.users["city"][:, None] == imported.snapshot.works["city"][None]).any()


@pytest.mark.parametrize("name", ["history", "skipped", "liked", "follows", "friends"])
def test_written_relations_equal_the_world(world, imported, name):
    mine, its = world.dataset.snapshot.relations[name], imported.snapshot.relations[name]
    np.testing.assert_array_equal(its.indptr, mine.indptr)
    for row in range(len(mine)):
        assert sorted(its.row_values(row)) == sorted(
            mine.row_values(row)
        )  # entries of one moment have no order of their own


def test_write_dataset_rejects_a_folder_with_data(world, folder):
    with pytest.raises(DataError, match="exists already"):
        write_dataset(folder, world.start, world.past, world.dataset)
