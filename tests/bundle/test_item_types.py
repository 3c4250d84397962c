"""Item types of a bundle: shared by all its scenes, and refused if they do not fit the bundle."""

import json
import shutil

import numpy as np
import pytest
from small_bundle import publish_small_bundle

from karec.bundle import Bundle
from karec.bundle.verify import check_contents
from karec.errors import BundleError
from karec.index import IdMap, ItemIndex


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return publish_small_bundle(tmp_path_factory.mktemp("kinds"))


def test_songs_and_creators_have_vectors_in_the_space_of_works(bundle):
    assert bundle.item_types == ["creator", "song"]
    for name, role in (("creator", "creator_id"), ("song", "song_id")):
        kind = bundle.item_type(name)
        values = bundle.snapshot.works[role]
        assert kind.index.ids.tolist() == np.unique(values[values >= 0]).tolist()
        assert kind.index.dim == bundle.index.dim
        assert kind.index.model_versions == bundle.index.model_versions
        assert kind.snapshot.users is bundle.snapshot.users


def test_item_score_is_the_mean_of_its_works_scores(bundle):
    works, songs = bundle.snapshot.works, bundle.item_type("song").index
    query = np.random.default_rng(0).standard_normal(songs.dim).astype(np.float32)
    scores = bundle.index.scores(query, ids=works.ids)
    for song, score in zip(songs.ids.tolist(), songs.scores(query, ids=songs.ids), strict=True):
        assert score == pytest.approx(scores[works["song_id"] == song].mean(), abs=5e-3)


def test_item_type_has_one_index_for_all_scenes(bundle):
    assert bundle.item_type("song").index is bundle.item_type("song").index
    bundle.item_type("song").set_open(bundle.item_type("song").index.ids[:1])
    query = np.ones(bundle.index.dim, np.float32)
    assert (
        bundle.item_type("song").index.search(query, 10).ids.tolist()
        == bundle.item_type("song").index.ids[:1].tolist()
    )
    bundle.item_type("song").set_open(bundle.item_type("song").index.ids)


def test_unknown_item_type_and_unlearned_ranker_raise_lookup_error(bundle):
    with pytest.raises(LookupError, match=r"has no items of the type 'live'; it has \['creator', 'song'\]"):
        bundle.item_type("live")
    with pytest.raises(LookupError, match="the bundle's ranker has not learned items of the type 'song'"):
        _ = bundle.item_type("song").ranker


def of_another_width(folder):
    index = ItemIndex.open(folder / "index.karec", copy=True)
    wide = np.ones((len(index.ids), index.dim + 1), np.float32)
    ItemIndex.build(index.ids, wide, columns=index.columns, model_version=index.model_version).save(
        folder / "index.karec"
    )


def of_another_version(folder):
    index = ItemIndex.open(folder / "index.karec", copy=True)
    vectors = index.embeddings(np.arange(len(index.ids)))
    ItemIndex.build(index.ids, vectors, columns=index.columns, model_version=9).save(folder / "index.karec")


def without_a_head(folder):
    (folder / "kind.json").unlink()


def of_a_newer_format(folder):
    head = json.loads((folder / "kind.json").read_text())
    (folder / "kind.json").write_text(json.dumps(head | {"format": 2}))


def with_labels_that_are_none(folder):
    head = json.loads((folder / "kind.json").read_text())
    (folder / "kind.json").write_text(json.dumps(head | {"labels": {"tag": 3}}))


def without_items(folder):
    (folder / "items" / "ids.npy").unlink()


def with_a_counter_below_0(folder):
    path = folder / "items" / "count_exposed.npy"
    values = np.load(path)
    values[0] = -1
    np.save(path, values)


def without_an_index(folder):
    (folder / "index.karec").unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (of_another_width, r"kinds/song/index\.karec holds vectors of 9 numbers and versions \[1\]"),
        (of_another_version, r"kinds/song/index\.karec"),
        (without_a_head, r"kinds/song/kind\.json"),
        (of_a_newer_format, r"kind\.json is damaged: .*format"),
        (with_labels_that_are_none, r"kind\.json is damaged: .*labels"),
        (without_items, r"kinds/song.*ids\.npy"),
        (with_a_counter_below_0, r"items/count_exposed\.npy, row 0: -1\.0; counters are finite and ≥ 0"),
        (without_an_index, r"kinds/song/index\.karec"),
    ],
)
def test_damaged_item_type_is_refused_with_its_file_in_one_line(bundle, tmp_path, damage, told):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    damage(folder / "kinds" / "song")
    with pytest.raises(BundleError, match=told) as refused:
        check_contents(Bundle.open(folder, verify=False))
    assert "\n" not in str(refused.value)


def test_bundle_without_item_types_opens(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    shutil.rmtree(folder / "kinds")
    assert Bundle.open(folder, verify=False).item_types == []


def test_item_type_without_id_map_has_integer_ids(bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    assert bundle.item_type("song").naming is None  # ids of this bundle are numbers
    (folder / "ids").mkdir()
    for name, ids in (("users", ["ann"]), ("items", ["w"]), ("songs", ["one", "two"])):
        IdMap.build(ids, folder / "ids" / f"{name}.karec")
    opened = Bundle.open(folder, verify=False)
    songs, creators = opened.item_type("song").naming, opened.item_type("creator").naming
    assert songs.items.names(songs.items.numbers(["two"])).tolist() == ["two"]
    assert songs.users.kind == creators.users.kind == "string"
    assert creators.items.names(np.array([5003, -1])).tolist() == [5003, None]
    assert creators.items.numbers([5003]).tolist() == [5003]
    with pytest.raises(ValueError, match="'ann' is not an integer"):
        creators.items.numbers(["ann"])
