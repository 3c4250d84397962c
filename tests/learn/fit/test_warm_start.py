"""Tests of warm starts: the weights of an earlier training in models with another vocabulary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_settings import SMALL

from karec.errors import DataError
from karec.features.encoder import Encoder
from karec.features.item_types import ItemTypeHead
from karec.features.table import NumberScale
from karec.learn.fit.checkpoint import Checkpoint
from karec.learn.fit.prepare import prepare
from karec.learn.fit.warm_start import WarmStart, load_weights
from karec.learn.run.rankers import build_ranker
from karec.samples.examples import build_examples
from karec.times import DAY_MS

EARLY = 500


@pytest.fixture(scope="module")
def early(dataset):
    """The first EARLY impressions of the dataset."""
    rows = dataset.exposures.take(slice(0, EARLY))
    return replace(
        dataset,
        exposures=rows,
        train_until_ms=int(rows.time_ms[EARLY * 8 // 10]),
        valid_until_ms=int(rows.time_ms[EARLY * 9 // 10]),
    )


@pytest.fixture(scope="module")
def old(early, tmp_path_factory):
    """(earlier ranker with random weights, a warm start from it)."""
    folder = tmp_path_factory.mktemp("old")
    prepared = prepare(early, SMALL, folder)
    ranker = build_ranker("mmoe", prepared, SMALL, ()).eval()
    state = {"progress": {"done": True}, "best_state": ranker.state_dict()}
    Checkpoint(folder / "checkpoints" / "ranker.pt", 1, "").save(state)
    times = early.train_until_ms, early.valid_until_ms
    return ranker, WarmStart(folder, prepared.encoder, SMALL, *times, days=1, in_a_row=1)


def start_ranker(dataset, start, folder):
    """Returns (data of a warm start, a ranker with the earlier weights)."""
    prepared = prepare(dataset, SMALL, folder, start=start)
    ranker = build_ranker("mmoe", prepared, SMALL, ()).eval()
    load_weights(ranker, start.weights("ranker", prepared.encoder))
    return prepared, ranker


def test_started_ranker_has_the_logits_of_the_earlier_one(dataset, old, tmp_path):
    """Values that only the new encoder has are those of an unknown value; all others are as before."""
    old_ranker, start = old
    prepared, ranker = start_ranker(dataset, start, tmp_path)
    new_keys, old_keys = (e.works.vocabularies[0].keys for e in (prepared.encoder, start.encoder))
    assert set(new_keys) - set(old_keys) and set(new_keys) & set(old_keys)
    rows = build_examples(prepared.encoder, dataset.snapshot, dataset.exposures)
    inputs = rows.inputs(np.arange(len(rows)))
    same_rows = build_examples(start.encoder, dataset.snapshot, dataset.exposures).inputs(
        np.arange(len(rows))
    )
    lost_ids = np.setdiff1d(old_keys, new_keys)
    codes = ("user_ids", "history", "skipped", "item_ids", "context")
    expected_inputs = inputs | {name: same_rows[name] for name in codes}
    with torch.no_grad():
        logits, expected = (
            model({name: torch.from_numpy(part[name]) for name in model.inputs}).numpy()
            for model, part in ((ranker, inputs), (old_ranker, expected_inputs))
        )
    is_kept = ~np.isin(dataset.exposures.work_id, lost_ids) & ~_reads_any(start.encoder, same_rows, lost_ids)
    assert is_kept.sum() > 100
    np.testing.assert_allclose(logits[is_kept], expected[is_kept], atol=1e-5)


def _reads_any(encoder, inputs, ids):
    """Returns (M,) bool: a list of the row has one of the items ``ids``."""
    codes = encoder.works.vocabularies[0].encode(ids)
    return np.isin(np.concatenate([inputs["history"], inputs["skipped"]], axis=1)[..., 0], codes).any(axis=1)


def test_numbers_keep_the_scales_of_the_earlier_encoder(dataset, old, tmp_path):
    start = old[1]
    encoder = prepare(dataset, SMALL, tmp_path, start=start).encoder
    assert Encoder.load(tmp_path / "encoder.npz").works.numbers == encoder.works.numbers
    fresh = prepare(dataset, SMALL, tmp_path).encoder
    for name in ("users", "works"):
        kept, earlier, other = (getattr(e, name) for e in (encoder, start.encoder, fresh))
        assert (kept.numbers, kept.moments, kept.priors) == (earlier.numbers, earlier.moments, earlier.priors)
        assert (kept.numbers, kept.priors) != (other.numbers, other.priors)


def test_number_without_earlier_values_gets_a_new_scale(dataset, old, tmp_path):
    encoder = old[1].encoder
    empty = tuple(NumberScale.fit(number.name, np.array([np.nan])) for number in encoder.users.numbers)
    start = replace(old[1], encoder=replace(encoder, users=replace(encoder.users, numbers=empty)))
    numbers = prepare(dataset, SMALL, tmp_path, start=start).encoder.users.numbers
    assert numbers == prepare(dataset, SMALL, tmp_path).encoder.users.numbers != empty


@pytest.mark.parametrize("days", [1, 2])
def test_training_rows_are_of_the_last_days_and_since_the_start(dataset, old, tmp_path, days):
    start = replace(old[1], days=days)
    prepared = prepare(dataset, SMALL, tmp_path, start=start)
    whole = prepare(dataset, SMALL, tmp_path)
    first_ms = min(dataset.train_until_ms - days * DAY_MS, start.learned_until_ms)
    is_read = whole.train.exposures.time_ms >= first_ms
    assert 0 < is_read.sum() < len(is_read)
    np.testing.assert_array_equal(prepared.train.exposures.time_ms, whole.train.exposures.time_ms[is_read])
    for part, expected in ((prepared.valid, whole.valid), (prepared.test, whole.test)):
        np.testing.assert_array_equal(part.exposures.time_ms, expected.exposures.time_ms)


def test_features_of_the_read_rows_use_all_rows_before_them(dataset, old, tmp_path):
    prepared = prepare(dataset, SMALL, tmp_path, start=old[1])
    all_rows = prepare(
        dataset, SMALL, tmp_path, start=replace(old[1], learned_until_ms=dataset.snapshot.time_ms)
    )
    n = len(prepared.train)
    inputs = prepared.train.inputs(np.arange(n))
    expected = all_rows.train.inputs(np.arange(len(all_rows.train) - n, len(all_rows.train)))
    for name, values in inputs.items():
        np.testing.assert_array_equal(values, expected[name], name)


def test_item_type_keeps_its_vector_and_a_new_one_starts_as_unknown(old):
    encoder, start = old[1].encoder, old[1]
    labels = ("click", "long_view", "like")
    heads = [ItemTypeHead(name, labels, (0.1,) * 3) for name in ("room", "song")]
    before, after = replace(encoder, item_types=(heads[0],)), replace(encoder, item_types=tuple(heads[::-1]))
    weights = {"item_codes.table.weight": torch.arange(sum(before.sizes["item_ids"])).unsqueeze(1)}
    Checkpoint(start.folder / "checkpoints" / "types.pt", 1, "").save(
        {"progress": {"done": True}, "best_state": weights}
    )
    rows = replace(start, encoder=before).weights("types", after)["item_codes.table.weight"][:, 0]
    first, n_new = before.sizes["item_ids"][0], after.sizes["item_ids"][0]
    assert rows[: n_new - 2].tolist() == [*range(first - 1)]
    assert rows[n_new - 2 : n_new].tolist() == [0, first - 1]  # song, room
    assert rows[n_new:].tolist() == [*range(first, len(weights["item_codes.table.weight"]))]


def test_vocabularies_of_a_start_get_the_codes_of_other_names(old):
    start = replace(old[1], names={"type": ["audio", "video"], "scene": ["home", "city"]})
    at = start.encoder.works.category_names.index("type")
    names = {"type": ["album", "video", "audio"], "scene": ["city", "live"]}
    encoder = start.with_codes(names).encoder
    for keys, moved, codes in (
        (start.encoder.works.vocabularies[at], encoder.works.vocabularies[at], [2, 1]),
        (start.encoder.scenes, encoder.scenes, [2, 0]),  # 0 … 1 are in use; home is gone
    ):
        assert len(keys) == 2 and moved.keys.tolist() == [codes[key] for key in keys.keys]
    others = [column for column in range(len(start.encoder.works.vocabularies)) if column != at]
    assert all(encoder.works.vocabularies[o] is start.encoder.works.vocabularies[o] for o in others)


def test_data_with_other_columns_are_refused(dataset, old, tmp_path):
    users = dataset.snapshot.users
    columns = {name: column for name, column in users.columns.items() if name != "age"}
    snapshot = replace(dataset.snapshot, users=replace(users, columns=columns))
    with pytest.raises(DataError, match=r"user_numbers \(inputs\): \[\] are new, \['age'\] are gone"):
        prepare(replace(dataset, snapshot=snapshot), SMALL, tmp_path, start=old[1])


def test_labels_in_another_order_are_refused(dataset, old, tmp_path):
    with pytest.raises(DataError, match="other labels: the order is another one"):
        prepare(replace(dataset, tasks=dataset.tasks[::-1]), SMALL, tmp_path, start=old[1])


def test_weights_of_another_structure_are_refused(dataset, old, tmp_path):
    prepared = prepare(dataset, SMALL, tmp_path, start=old[1])
    wider = build_ranker("mmoe", prepared, SMALL.replace(ranker={"hidden": 10}), ())
    with pytest.raises(DataError, match="another structure"):
        load_weights(wider, old[1].weights("ranker", prepared.encoder))


def test_models_that_learned_from_held_out_or_all_rows_are_refused(dataset, old):
    limits = {"learned_until_ms": dataset.train_until_ms - 1, "chosen_until_ms": dataset.valid_until_ms}
    for name, time_ms in limits.items():
        replace(old[1], **{name: time_ms}).check(dataset)
        with pytest.raises(DataError, match="Add newer rows"):
            replace(old[1], **{name: time_ms + 1}).check(dataset)
