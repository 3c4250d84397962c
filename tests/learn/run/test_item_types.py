"""One training on works and songs: the ranker orders songs, and a log without labels teaches nothing."""

import re
from dataclasses import replace

import numpy as np
import pytest
from small_settings import SMALL

from karec.bundle import Bundle
from karec.catalog.impressions import Impressions
from karec.catalog.item_types import ItemTable
from karec.catalog.schema import Meaning
from karec.catalog.table import Table
from karec.config import load_cascade
from karec.config.open import unranked_scenes_note
from karec.config.project import set_up
from karec.config.scenes import Config
from karec.evaluate.quality import read_run
from karec.learn._torch import torch
from karec.learn.fit.item_types import note_on_types
from karec.learn.fit.prepare import prepare, prepare_whole_log
from karec.learn.run.rankers import ranker_loss
from karec.learn.run.train import train
from karec.pipeline.types import Request

SETTINGS = SMALL.replace(
    ranker={"epochs": 4, "auxiliary": ("follow",)},
    towers={"epochs": 1},
    distil={"list_works": 10, "lists_per_step": 4},
    evaluation={"baselines": ("lr",)},
)


def songs_of(dataset, n=900):
    """Songs 0 … 6 as an item type, the last without works; users sing only even ones."""
    generator = np.random.default_rng(5)
    time = np.sort(generator.integers(dataset.snapshot.time_ms, dataset.valid_until_ms, n))
    song = generator.integers(0, 7, n)
    labels = {"sing": (song % 2 == 0).astype(np.uint8)}
    users = generator.choice(dataset.snapshot.users.ids, n)
    rows = Impressions(users, song, time, np.full(n, -1, np.int32), labels)
    return ItemTable(Table(np.arange(7), {"song_id": np.arange(7)}), {}, "song", ("sing",), rows)


@pytest.fixture(scope="module")
def typed(dataset):
    return replace(dataset, item_types={"song": songs_of(dataset)})


@pytest.fixture(scope="module")
def published(typed, tmp_path_factory):
    """Folder of karec.toml with a scene song_request, trained on works and songs."""
    folder = tmp_path_factory.mktemp("typed")
    run = train(typed, SETTINGS, folder / "run").folder
    set_up(typed, run, read_run(run)["settings"], folder, scenes=["song_request"])
    return folder


def test_ranker_orders_the_items_of_a_type_by_their_label(published):
    cascade = load_cascade(published / "karec.toml", "song_request")
    assert cascade.bundle.ranker.tasks == ("sing",)
    pages = [
        cascade.run(Request(user, k=7, scene="song_request", time_ms=cascade.as_of_ms)) for user in (1, 5, 9)
    ]
    for page in pages:
        assert page.scored["rank"].columns["logits"].shape == (6, 1)
        assert {int(item.item_id) % 2 for item in page.items[:3]} == {0}
        assert set(page.candidates.ids.tolist()) == set(range(6)), "song 6 has no works, so no vector"


def test_type_of_the_published_bundle_has_counters_and_lists_of_its_log(published, typed):
    songs = Bundle.open(published / "bundles").item_type("song").snapshot
    rows = typed.item_types["song"].impressions
    np.testing.assert_array_equal(songs.works["count_exposed"], np.bincount(rows.work_id))
    sung = np.bincount(rows.work_id, rows.labels["sing"])
    np.testing.assert_array_equal(songs.works["count_sing"], sung)
    assert songs.meaning == Meaning(enjoyed=("sing",)) and len(songs.relations["history"].values)


def test_scene_without_the_ranker_that_learned_its_type_is_noted(published, tmp_path):
    bundle = Bundle.open(published / "bundles")
    assert unranked_scenes_note(Config.read(published / "karec.toml"), bundle) is None
    text = (published / "karec.toml").read_text()
    begin = text.index("[scenes.song_request]")
    steps = re.sub(r'(?m)^ *\{ use = "(ranker|fusion)".*\n', "", text[begin:])
    path = tmp_path / "karec.toml"
    path.write_text(text[:begin] + steps)
    note = unranked_scenes_note(Config.read(path), bundle)
    assert note.startswith("the ranker has learned the item types of the scenes ['song_request']")


def test_labels_beyond_the_number_of_tasks_are_noted(dataset, tmp_path):
    songs = songs_of(dataset)
    labels = dict.fromkeys(("sing", "a", "b", "c"), songs.impressions.labels["sing"])
    songs = replace(songs, labels=tuple(labels), impressions=replace(songs.impressions, labels=labels))
    data = replace(dataset, item_types={"song": songs})
    (note,) = note_on_types(data, prepare(data, SETTINGS, tmp_path).encoder)
    assert note.startswith("labels ['c'] of the item type song are not learned") and "3" in note


@pytest.mark.parametrize("kind", ["lr", "mmoe"])
def test_type_without_usable_labels_is_not_learned(dataset, tmp_path, kind):
    """Only the MMoE learns item types, and a log in which nobody sang teaches nothing."""
    songs = songs_of(dataset)
    if kind == "mmoe":
        rows = replace(songs.impressions, labels={"sing": np.zeros(len(songs.impressions), np.uint8)})
        songs = replace(songs, impressions=rows)
    data = replace(dataset, item_types={"song": songs})
    prepared = prepare(data, SETTINGS.replace(ranker={"kind": kind}), tmp_path)
    assert prepared.encoder.learned_labels == {}
    assert len(prepared.train_batches) == len(prepared.train)
    (note,) = note_on_types(data, prepared.encoder)
    assert note.startswith("impressions of the item types ['song'] are not learned")


def test_training_rows_of_a_type_follow_those_of_works(typed, dataset, tmp_path):
    """They are those before the validation days, with the label in the place of each task."""
    prepared, n_works = prepare(typed, SETTINGS, tmp_path), len(dataset.split()[0])
    assert note_on_types(typed, prepared.encoder) == () == note_on_types(dataset, prepared.encoder)
    rows = typed.item_types["song"].impressions
    is_train = rows.time_ms < typed.train_until_ms
    assert len(prepared.train) == n_works and is_train.any() and not is_train.all()
    labels = prepared.train_batches.labels[n_works:].numpy()
    np.testing.assert_array_equal(labels, np.repeat(rows.labels["sing"][is_train, None], 3, axis=1))
    item_ids = prepared.train_batches.inputs(slice(0, None), ["item_ids"])["item_ids"].numpy()
    code = prepared.encoder.sizes["item_ids"][0] - 1
    assert (item_ids[n_works:, 0] == code).all() and (item_ids[:n_works, 0] != code).all()


def test_final_fit_learns_from_all_impressions_of_a_type(typed, tmp_path):
    end_ms = typed.end_ms
    whole = replace(typed, train_until_ms=end_ms, valid_until_ms=end_ms)
    prepared = prepare_whole_log(whole, SETTINGS, tmp_path, {})
    n_songs = len(typed.item_types["song"].impressions)
    assert len(prepared.train_batches) == len(prepared.train) + n_songs
    assert prepared.encoder.learned_labels == {"song": ("sing",)}


def test_unknown_labels_add_no_loss():
    tasks, weights = ("click", "play_time"), torch.ones(2)
    logits = torch.randn((4, 2, 2), generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([[1.0, 3.0], [0.0, 0.0], [1.0, torch.nan], [0.0, torch.nan]])
    ranker_loss(logits, labels, tasks, weights).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert (logits.grad[:2] != 0).all() and (logits.grad[2:, :, 0] != 0).all()
    assert not logits.grad[2:, :, 1].any()
