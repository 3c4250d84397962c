"""Tests of training on two and three ranks: tables, gradients, and errors of one rank."""

import numpy as np
import pytest
from rank_processes import (
    N_CODES,
    check_small_training,
    compare_values,
    connect_with_other_code,
    run_ranks,
    shard_and_gather,
    train_small,
    train_table,
    train_until,
    train_with_slow_rank,
    update_table,
)

from karec.errors import ConfigError
from karec.learn.distributed import ranks
from karec.learn.distributed.tables import EPSILON
from karec.learn.fit.loop import TrainingDiverged


@pytest.mark.parametrize("n", [1, 2, 3])
def test_sharded_table_equals_a_whole_one_in_float64(n):
    """Row-wise Adagrad on sums of the gradients of all ranks; some ranks ask for nothing."""
    asked = [[4, 1, 4, 10, 0], [], [1, 1, 9]][:n]
    table = np.arange(22, dtype=np.float64).reshape(11, 2)
    results = run_ranks(n, update_table, 11, asked)
    for (found, _), ids in zip(results, asked, strict=True):
        np.testing.assert_array_equal(found, table[ids])
    gradient, total = np.zeros((11, 2)), np.zeros((11, 1))
    for rank, ids in enumerate(asked):
        for place, row in enumerate(ids):
            gradient[row] += place + rank
    for _ in range(2):
        total += (gradient**2).mean(axis=1, keepdims=True)
        table -= 0.5 * gradient / (np.sqrt(total) + EPSILON)
    for _, whole in results:
        np.testing.assert_allclose(whole, table, rtol=1e-6)


@pytest.mark.parametrize("n_rows", [2, 3, 7])
def test_rank_owns_rows_by_id_modulo_ranks(n_rows):
    for rank, (own, whole) in enumerate(run_ranks(3, shard_and_gather, n_rows)):
        np.testing.assert_array_equal(whole[:, 0], 1.0 + np.arange(n_rows))
        np.testing.assert_array_equal(own, whole[rank::3])


@pytest.mark.parametrize("n", [2, 3])
def test_replicated_training_on_ranks_equals_one_process(n):
    expected, losses, scores = train_table(sharded_rows=None)
    for weights, rank_losses, rank_scores in run_ranks(n, train_table, None, None):
        for name, value in expected.items():
            np.testing.assert_allclose(weights[name], value, atol=1e-5)
        if (
            n == 2
        ):  # three ranks all have the two rows of the last batch, so the mean loss has them three times
            np.testing.assert_allclose(rank_losses, losses, rtol=1e-4)
        np.testing.assert_allclose(rank_scores, scores, rtol=1e-4)


def test_sharded_training_is_the_same_on_one_two_and_three_ranks():
    ((expected, losses, _),) = run_ranks(1, train_table)
    assert losses[-1] < losses[0]
    replicated, _, _ = train_table(sharded_rows=None)
    assert not np.allclose(expected["codes.table.weight"], replicated["codes.table.weight"], atol=1e-4)
    for n in (2, 3):
        results = run_ranks(n, train_table)
        for weights, _, _ in results:
            assert weights["codes.table.weight"].shape == (N_CODES + 7, 4)
            for name, value in expected.items():
                np.testing.assert_allclose(weights[name], value, atol=1e-5)
                np.testing.assert_array_equal(weights[name], results[0][0][name])


def test_loss_of_one_rank_that_is_nan_ends_all_and_is_logged():
    results = run_ranks(2, train_until, None, 4, "nan", 1)
    for error, lines in results:
        assert isinstance(error, TrainingDiverged) and "step 4" in str(error)
        assert lines == ["the loss of rank 1 is not finite"]


def test_rank_that_dies_ends_the_others_with_a_message():
    result, died = run_ranks(2, train_until, None, 4, "die", 1)
    assert died is None
    assert isinstance(result[0], ranks.RankError) and "--resume" in str(result[0])


def test_slow_rank_is_logged_with_its_number():
    lines, others = run_ranks(2, train_with_slow_rank)
    assert len(lines) == 1 and lines[0].startswith("rank 1 is slow")
    assert others == []


def test_ranks_with_different_values_are_refused_with_both_values():
    for error in run_ranks(3, compare_values, ["a", "a", "b"]):
        assert isinstance(error, ranks.RankError)
        assert "rank 0 has a" in str(error) and "rank 2 has b" in str(error) and "rank 1" not in str(error)
    assert run_ranks(2, compare_values, ["a", "a"]) == ["a", "a"]


def test_other_code_on_one_rank_is_refused_on_all_ranks(tmp_path):
    for error in run_ranks(3, connect_with_other_code, tmp_path, 2):
        assert isinstance(error, ranks.RankError) and "different code" in str(error)
        assert "rank 2 has karec" in str(error) and "rank 1 has" not in str(error)
    assert run_ranks(2, connect_with_other_code, tmp_path, 2) == ["connected", "connected"]


def test_other_settings_on_one_rank_are_refused_before_training(tmp_path):
    for rank, error in enumerate(run_ranks(2, train_small, tmp_path, [0, 1])):
        assert isinstance(error, ranks.RankError) and "different settings or data" in str(error)
        assert not (tmp_path / str(rank) / "encoder.npz").exists()


def test_cuda_is_refused_on_ranks_and_rows_on_disk_are_not():
    (error,) = run_ranks(1, check_small_training, {"device": "cuda"})
    assert isinstance(error, ConfigError) and "run.device" in str(error)
    assert run_ranks(1, check_small_training, {"device": "cpu", "rows": "disk"}) == [None]


def test_without_torchrun_there_is_one_rank_and_no_communication():
    with ranks.connect_ranks(), ranks.share_errors():
        assert (ranks.rank(), ranks.world(), ranks.is_connected()) == (0, 1, False)
    ranks.require_equal("settings", "a")
    assert ranks.broadcast("a") == "a"
    with pytest.raises(OSError, match="full"), ranks.share_errors():
        raise OSError("full")
