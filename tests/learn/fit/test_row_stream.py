"""Tests of training from rows on disk: order of batches, ranks, and the same losses as from memory."""

import numpy as np
import pytest
import torch
from rank_processes import run_ranks, train_from_disk
from small_settings import SMALL

from karec.errors import DataError
from karec.learn.fit.batches import Batch, Batches
from karec.learn.fit.loop import fit
from karec.learn.fit.row_stream import RowStream, write_and_stream
from karec.learn.nets.ranker import INPUTS, MmoeRanker
from karec.learn.settings.settings import OptimizerSettings
from karec.samples import row_files

SETTINGS = SMALL
NO_DROPOUT = {"dropout": 0.0, "id_dropout": 0.0}  # is drawn by user side, in another order


@pytest.fixture(scope="module")
def stream(prepared, tmp_path_factory):
    """Row groups of 20 rows or a few more, and a buffer of 60 rows."""
    folder = tmp_path_factory.mktemp("run")
    prepared.encoder.save(folder / "encoder.npz")
    names = ("user_id", *INPUTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_files, "GROUP_ROWS", 20)
        whole = write_and_stream(prepared.train, names, folder, "the small dataset", "cpu")
    return RowStream(whole.folder, whole.items, whole.device, buffer_rows=60)


def epoch(stream, seed=0, by_user=True):
    return [*stream.epoch(torch.Generator().manual_seed(seed), 32, by_user=by_user)]


@pytest.mark.parametrize("by_user", [True, False])
def test_epoch_has_each_row_once_in_full_batches(prepared, stream, by_user):
    batches = epoch(stream, by_user=by_user)
    numbers = torch.cat([batch.numbers for batch in batches]).tolist()
    assert sorted(numbers) == list(range(len(prepared.train))) and len(stream) == len(numbers)
    assert {len(batch) for batch in batches[:-1]} == {32}
    for batch in batches:
        np.testing.assert_array_equal(batch.labels, prepared.train.labels[batch.numbers])


def test_order_depends_on_the_generator_only(stream):
    orders = [[batch.numbers.tolist() for batch in epoch(stream, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    generator = torch.Generator().manual_seed(0)
    first, second = ([*stream.epoch(generator, 32, by_user=True)] for _ in range(2))
    assert [batch.numbers.tolist() for batch in first] == orders[0]
    assert [batch.numbers.tolist() for batch in second] != orders[0]


def test_buffer_bounds_the_rows_in_memory(stream):
    largest = max(group.n_rows for group in stream.folder.groups)
    sizes = {len(batch.source) for batch in epoch(stream)}
    assert max(sizes) < stream.buffer_rows + largest + 32 < len(stream)


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_ranks_have_other_rows_and_as_many_batches(stream, n_ranks):
    ranks = [
        RowStream(stream.folder, stream.items, stream.device, rank, n_ranks, buffer_rows=60)
        for rank in range(n_ranks)
    ]
    (n_rows,) = {len(rank) for rank in ranks}
    batches = [epoch(rank) for rank in ranks]
    assert {len(of_rank) for of_rank in batches} == {-(-n_rows // 32)}
    assert {len(batch) for of_rank in batches for batch in of_rank[:-1]} == {32 // n_ranks}
    numbers = [number for of_rank in batches for batch in of_rank for number in batch.numbers.tolist()]
    assert len(set(numbers)) == len(numbers) >= n_rows - 32 > len(stream) / 2


@pytest.mark.parametrize(("own_rank", "n_ranks"), [(2, 2), (-1, 2), (0, 10**6)])
def test_ranks_without_row_groups_are_refused(stream, own_rank, n_ranks):
    with pytest.raises(ValueError, match="expected 0 ≤ rank < ranks ≤ row groups"):
        RowStream(stream.folder, stream.items, stream.device, own_rank, n_ranks)


def test_part_damaged_during_training_is_named(stream, tmp_path):
    part = stream.folder.groups[0].path
    content = part.read_bytes()
    try:
        part.write_bytes(content[:-30])
        with pytest.raises(DataError, match=f"{part.name} is damaged"):
            epoch(stream)
    finally:
        part.write_bytes(content)


def train(prepared, source, order):
    """Returns the loss at each step of two epochs."""
    torch.manual_seed(0)
    model = MmoeRanker(prepared.encoder, source.edges(3), dim=4, hidden=8, n_experts=2, **NO_DROPOUT)

    def loss(batch, _):
        logits = model(batch.inputs_by_user(model.inputs))
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)

    optimizer = OptimizerSettings(batch_size=32, learning_rate=0.01)
    n = len(prepared.train)
    return fit(model, n, loss, None, order=order, optimizer=optimizer, epochs=2, seed=0, title="x").curve


def test_ranks_train_one_model_from_their_own_row_groups(tmp_path):
    (first, weights), (second, other_weights) = run_ranks(2, train_from_disk, str(tmp_path))
    assert len(first) == len(second)
    rows = np.concatenate([*first, *second])
    assert len(np.unique(rows)) == len(rows) > 300
    np.testing.assert_array_equal(weights, other_weights)


def test_losses_equal_those_from_memory(prepared, stream):
    """The same rows in the same batches, read from memory and from disk."""
    memory = Batches.from_examples(prepared.train, ("user_id", *INPUTS))

    def order_from_disk(generator):
        return stream.epoch(generator, 32, by_user=True)

    def same_order_from_memory(generator):
        for batch in order_from_disk(generator):
            yield Batch(batch.numbers, memory, batch.numbers)

    from_disk = train(prepared, memory, order_from_disk)
    from_memory = train(prepared, memory, same_order_from_memory)
    assert [step for step, _ in from_disk] == [step for step, _ in from_memory]
    np.testing.assert_allclose(
        *([loss for _, loss in curve] for curve in (from_disk, from_memory)), rtol=1e-6
    )


def test_quantiles_equal_those_from_memory_if_all_row_groups_are_sampled(prepared, stream):
    memory = Batches.from_examples(prepared.train, INPUTS).edges(3)
    sampled = stream.edges(3)
    assert memory.keys() == sampled.keys()
    if len(stream.folder.groups) < 64:
        for name, edges in memory.items():
            np.testing.assert_allclose(sampled[name], edges, rtol=1e-6)
