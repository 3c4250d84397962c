"""Tests of the training loop: early stopping, the kept weights, and resuming after a kill."""

import math
import os
import signal
import subprocess
import sys
from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from karec.learn.fit.checkpoint import Checkpoint, CheckpointError
from karec.learn.fit.loop import PART_ROWS, TrainingDiverged, fit, shuffle
from karec.learn.settings.settings import OptimizerSettings


def in_random_order(n_rows, batch_size, groups=None):
    return lambda generator: shuffle(n_rows, batch_size, generator, groups)


def fit_line(loss_of, scores, model, epochs=6, patience=2, checkpoint=None, n_rows=10, progress=None):
    values = iter(scores)
    return fit(
        model,
        n_rows,
        loss_of,
        lambda: next(values),
        order=in_random_order(n_rows, 5),
        optimizer=OptimizerSettings(batch_size=5, learning_rate=0.1, weight_decay=0.0, patience=patience),
        epochs=epochs,
        seed=0,
        title="training a line",
        checkpoint=checkpoint,
        progress=progress,
    )


def test_fit_stops_early_and_keeps_the_best_weights():
    model = torch.nn.Linear(1, 1)
    weight_by_step = []

    def loss_of(rows, step):
        assert step == len(weight_by_step)
        weight_by_step.append(model.weight.item())
        return (model(torch.ones(len(rows), 1)) ** 2).mean()

    finished = fit_line(loss_of, [0.1, 0.5, 0.4, 0.3, 0.9, 0.9], model)
    assert [epoch.score for epoch in finished.history] == [0.1, 0.5, 0.4, 0.3]
    assert [step for step, _ in finished.curve] == list(range(8))
    assert model.weight.item() == weight_by_step[4]  # after the second epoch of two steps


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 8))
def test_fit_keeps_rows_of_a_group_together_in_small_parts(groups, batch_size):
    """A group has as few parts as fit, and each part is in a random place."""
    model, steps = torch.nn.Linear(1, 1), []

    def loss_of(rows, step):
        steps.append(rows.tolist())
        return model.weight.square().sum()

    optimizer = OptimizerSettings(batch_size=batch_size, learning_rate=1e-3, weight_decay=0.0)
    fit(
        model, len(groups), loss_of, None,
        order=in_random_order(len(groups), batch_size, torch.tensor(groups)),
        optimizer=optimizer, epochs=2, seed=0, title="x",
    )  # fmt: skip
    first, second = steps[: len(steps) // 2], steps[len(steps) // 2 :]
    for epoch in (first, second):
        assert {len(rows) for rows in epoch[:-1]} <= {batch_size}
        order = [row for rows in epoch for row in rows]
        assert sorted(order) == list(range(len(groups)))
        n_runs = sum(1 for _ in groupby(groups[row] for row in order))
        assert n_runs <= sum(-(-groups.count(group) // PART_ROWS) for group in set(groups))
    if len(groups) > 6 * PART_ROWS:
        assert first != second


def test_loss_of_an_epoch_is_the_mean_of_the_rows_that_were_read():
    """A stream on three ranks reads 3 · ⌊batch_size / 3⌋ rows in a step."""
    model = torch.nn.Linear(1, 1)

    def loss_of(rows, _):
        return 0.0 * model.weight.sum() + 2.0

    optimizer = OptimizerSettings(batch_size=4)
    state = fit(
        model, 10, loss_of, None,
        order=lambda _: [torch.arange(3)] * 3, optimizer=optimizer, epochs=2, seed=0, title="x",
    )  # fmt: skip
    assert [epoch.loss for epoch in state.history] == [2.0, 2.0]


@pytest.mark.parametrize("epochs", [1, 5, 6])
def test_fit_without_a_score_runs_all_epochs_and_keeps_the_last(epochs):
    """With 5 epochs of two steps the learning rate rises in exactly one step, by which torch divided."""
    model = torch.nn.Linear(1, 1)
    optimizer = OptimizerSettings(batch_size=5, learning_rate=0.1, weight_decay=0.0)
    losses = []

    def loss_of(rows, step):
        losses.append((model(torch.ones(len(rows), 1)) ** 2).mean())
        return losses[-1]

    order = in_random_order(10, 5)
    state = fit(model, 10, loss_of, None, order=order, optimizer=optimizer, epochs=epochs, seed=0, title="x")
    assert [epoch.score for epoch in state.history] == [None] * epochs == [None] * state.best_epoch
    assert len(losses) == 2 * epochs and (model(torch.ones(1, 1)) ** 2).item() < losses[0].item()


@pytest.mark.parametrize(
    ("last", "step", "message"),
    [
        (math.nan, 2, "the loss is nan at step 2"),
        (math.inf, 3, "the loss is inf at step 3"),
        (1e3, 25, r"the loss is 1000 at step 25, more than 20 times the first 20 steps' 1;"),
    ],
)
def test_diverged_fit_names_the_step_and_keeps_a_finite_checkpoint(tmp_path, last, step, message):
    model = torch.nn.Linear(1, 1)
    checkpoint_file = Checkpoint(tmp_path / "line.pt", 2, "a line")

    def loss_of(rows, training_step):
        return model.weight.sum() * 0 + (last if training_step == step else 1.0)

    with pytest.raises(TrainingDiverged, match="training a line: " + message) as caught:
        fit_line(loss_of, [0.1] * 20, model, epochs=20, patience=20, checkpoint=checkpoint_file)
    assert str(checkpoint_file.path) in str(caught.value)
    state = checkpoint_file.load()
    assert all(torch.isfinite(value).all() for value in state["model"].values())
    assert state["progress"]["epoch"] == step // 2


def test_checkpoint_never_contains_weights_that_are_not_finite(tmp_path):
    model = torch.nn.Linear(1, 1)
    checkpoint_file = Checkpoint(tmp_path / "line.pt", 1, "a line")

    def loss_of(rows, step):
        # its gradient is 0/0
        return torch.sqrt(model.weight.sum() * 0) if step == 1 else model.weight.sum() * 0 + 1.0

    with pytest.raises(TrainingDiverged, match="weight is not finite after step 2"):
        fit_line(loss_of, [0.1] * 6, model, checkpoint=checkpoint_file)
    assert torch.isfinite(checkpoint_file.load()["model"]["weight"]).all()


def dropping_model():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))


def train_dropping(checkpoint, progress=None):
    """Trains with all sources of randomness: groups and their rows, dropout, momentum."""
    model = dropping_model()
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))

    def loss_of(rows, step):
        return (model(x[rows]).squeeze(1) - x[rows].sum(dim=1)).square().mean() + 0.01 * (step % 3)

    def score():
        with torch.no_grad():
            return -(model(x).squeeze(1) - x.sum(dim=1)).square().mean().item()

    finished = fit(
        model, 32, loss_of, score,
        optimizer=OptimizerSettings(batch_size=5, learning_rate=0.02, weight_decay=0.1, patience=4),
        order=in_random_order(32, 5, torch.arange(32) // 3 % 7),
        epochs=4, seed=5, title="x", checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    return model, finished


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_loop import train_dropping
from karec.learn.fit.checkpoint import Checkpoint

def progress(done, total, what):
    if done == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

train_dropping(Checkpoint(Path({path!r}), 3, "x"), progress)
"""


@pytest.mark.parametrize("step", [2, 7, 28, *(pytest.param(n, marks=pytest.mark.long) for n in (3, 8, 20))])
def test_killed_fit_resumes_to_the_same_weights(tmp_path, step):
    """Killed before the first checkpoint, at one, between two, at the end of an epoch, at the very end."""
    whole, finished = train_dropping(None)
    path = tmp_path / "x.pt"
    script = KILLED.format(folder=os.path.dirname(__file__), path=str(path), step=step)
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert path.exists() == (step >= 3)
    resumed, resumed_state = train_dropping(Checkpoint(path, 3, "x"))
    assert resumed_state.history == finished.history and resumed_state.curve == finished.curve
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_finished_fit_is_not_repeated_on_resume(tmp_path):
    checkpoint_file = Checkpoint(tmp_path / "x.pt", 100, "x")
    first, _ = train_dropping(checkpoint_file)
    steps = []
    resumed_state, _ = train_dropping(checkpoint_file, lambda *step: steps.append(step))
    assert steps == [(28, 28, "x")]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), resumed_state.parameters(), strict=True))


def test_checkpoint_of_another_training_is_refused(tmp_path):
    train_dropping(Checkpoint(tmp_path / "x.pt", 3, "seed 0"))
    with pytest.raises(
        CheckpointError, match=r"x\.pt belongs to another training: seed 0; this one is seed 1"
    ):
        train_dropping(Checkpoint(tmp_path / "x.pt", 3, "seed 1"))


def test_truncated_or_modified_checkpoint_is_refused(tmp_path):
    checkpoint_file = Checkpoint(tmp_path / "x.pt", 3, "x")
    model, _ = train_dropping(checkpoint_file)
    whole = checkpoint_file.path.read_bytes()
    weights = whole.index(model[0].weight.detach().numpy().tobytes())
    for cut in (10, len(whole) // 2, len(whole) - 1):
        checkpoint_file.path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match=r"x\.pt: not a checkpoint: .*start without --resume"):
            train_dropping(checkpoint_file)
    checkpoint_file.path.write_bytes(whole[:weights] + bytes([whole[weights] ^ 1]) + whole[weights + 1 :])
    with pytest.raises(CheckpointError, match=r"x\.pt: damaged: wrong checksum of .*; start without"):
        train_dropping(checkpoint_file)
    checkpoint_file.path.write_bytes(whole)
    train_dropping(checkpoint_file)


@pytest.mark.parametrize("state", [{"format": 1}, {"format": 2, "facts": "x"}, [1]])
def test_torch_file_without_a_checkpoint_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt: format is .*, expected 1"):
        Checkpoint(tmp_path / "x.pt", 3, "x").load()


def test_checkpoint_of_another_model_structure_is_refused(tmp_path):
    checkpoint_file = Checkpoint(tmp_path / "x.pt", 3, "x")
    train_dropping(checkpoint_file)
    state = checkpoint_file.load()
    state["model"] = {f"layers.{name}": value for name, value in state["model"].items()}
    checkpoint_file.save({name: value for name, value in state.items() if name not in ("format", "facts")})
    with pytest.raises(
        CheckpointError,
        match=r"x\.pt belongs to a model of another structure: "
        r".*layers\.0\.weight",
    ):
        train_dropping(checkpoint_file)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04K\x05."])
def test_checkpoint_that_is_not_a_torch_file_is_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt: not a checkpoint"):
        Checkpoint(tmp_path / "x.pt", 3, "x").load()
