"""Tests of checkpoints of several ranks: other numbers of ranks, full disks, damage, kills."""

from shutil import copytree

import numpy as np
import pytest
import torch
from rank_processes import (
    run_ranks,
    stored_bytes,
    train_table,
    train_until,
    train_with_a_row_that_is_not_finite,
    train_with_alarm,
    train_with_full_disk,
)

from karec.learn.distributed.ranks import RankError
from karec.learn.fit.checkpoint import Checkpoint, CheckpointError, best_weights
from karec.learn.fit.loop import TrainingDiverged
from karec.learn.fit.rank_checkpoint import RankCheckpoint


def assert_same_training(results, expected):
    for weights, _, scores in results:
        for name, value in expected[0].items():
            np.testing.assert_allclose(weights[name], value, atol=1e-5)
        np.testing.assert_allclose(scores, expected[2], rtol=1e-4)


@pytest.fixture(scope="module")
def expected():
    return run_ranks(2, train_table)[0]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The checkpoint of two ranks that stopped in the second of three epochs."""
    folder = tmp_path_factory.mktemp("ranks") / "interrupted"
    run_ranks(2, train_until, folder, 11, "stop")
    assert [path.name for path in folder.glob("step-*")] == [(folder / "current").read_text()]
    assert (folder / "current").read_text() == "step-000000010"
    return folder


@pytest.mark.parametrize("n", [1, 2, 3])
def test_checkpoint_of_two_ranks_resumes_on_one_and_three(tmp_path, interrupted, expected, n):
    """With the states of both optimizers: else the next steps differ."""
    folder = copytree(interrupted, tmp_path / "x")
    assert_same_training(run_ranks(n, train_table, folder), expected)
    weights = best_weights(tmp_path / "x.pt")["codes.table.weight"]  # for later trainings
    np.testing.assert_allclose(weights, expected[0]["codes.table.weight"], atol=1e-5)


def test_killed_ranks_resume_from_the_last_checkpoint(tmp_path, expected):
    for step in (1, 5, 14):  # before a checkpoint, between two, after an epoch
        run_ranks(2, train_until, tmp_path / "x", step, "die", step % 2)
    assert_same_training(run_ranks(2, train_table, tmp_path / "x"), expected)


@pytest.mark.long
def test_rank_killed_at_20_random_moments_resumes(tmp_path, expected):
    """Also while it writes a state, which it does after each step."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "x"
    for kill in range(20):
        seconds = generator.uniform(0.01, 0.4)
        results = run_ranks(2, train_with_alarm, folder, seconds, kill % 2)
        assert results[1 - kill % 2] is not None
    assert_same_training(run_ranks(2, train_table, folder), expected)


def test_full_disk_of_one_rank_leaves_the_state_before(tmp_path, expected):
    folder = tmp_path / "x"
    other, full = run_ranks(2, train_with_full_disk, folder, 1)
    assert isinstance(full, OSError) and "rank 1 cannot write" in str(full)
    assert isinstance(other, OSError | RankError)
    assert [path.name for path in folder.glob("step-*")] == [(folder / "current").read_text()]
    assert_same_training(run_ranks(2, train_table, folder), expected)


def test_row_that_is_not_finite_on_one_rank_ends_all_and_is_not_saved(tmp_path, expected):
    """No loss is NaN: no batch reads the row."""
    other, owner = run_ranks(2, train_with_a_row_that_is_not_finite, tmp_path / "x", 9)
    assert isinstance(owner, TrainingDiverged) and "codes.table.weight is not finite" in str(owner)
    assert isinstance(other, RankError) and "rank 1 failed" in str(other)
    assert_same_training(run_ranks(2, train_table, tmp_path / "x"), expected)


@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_damaged_checkpoint_is_refused_on_all_ranks(tmp_path, interrupted, damage):
    folder = copytree(interrupted, tmp_path / "x")
    path = next((folder / (folder / "current").read_text()).glob("__1_*"))
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        weight = run_ranks(2, stored_bytes, folder)[1]
        content[content.index(weight)] ^= 1
        path.write_bytes(content)
    results = run_ranks(2, train_table, folder)
    assert isinstance(results[1], CheckpointError) and str(folder) in str(results[1])
    assert isinstance(results[0], CheckpointError | RankError)


@pytest.mark.filterwarnings("ignore:.*single process:UserWarning")
def test_state_of_one_process_is_refused_on_ranks_and_the_reverse(tmp_path):
    by_one = Checkpoint(tmp_path / "x.pt", 1, "a table")
    by_ranks = RankCheckpoint(tmp_path / "x", 1, "a table")
    assert by_one.load() is None and by_ranks.load() is None
    by_one.save({"random": {}})
    with pytest.raises(CheckpointError, match="leave out --workers"):
        by_ranks.load()
    (tmp_path / "x.pt").unlink()
    by_ranks.save(1, {"random": {}}, {})
    with pytest.raises(CheckpointError, match="add --workers"):
        by_one.load()


@pytest.mark.filterwarnings("ignore:.*single process:UserWarning")
def test_flipped_bit_of_replicated_weights_is_refused(tmp_path):
    checkpoint, weight = RankCheckpoint(tmp_path, 1, "a table"), torch.linspace(0.0, 1.0, 100)
    checkpoint.save(3, {"model": {"weight": weight}, "random": {}}, {})
    path = next((tmp_path / "step-000000003").glob("__0_*"))
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="wrong checksum"):
        checkpoint.load()


def test_state_without_pointer_is_not_used(tmp_path, interrupted, expected):
    """A kill while a state is written leaves a folder that ``current`` does not name."""
    folder = copytree(interrupted, tmp_path / "x")
    (folder / "step-000000012").mkdir()
    assert_same_training(run_ranks(2, train_table, folder), expected)
