"""Computes the gradient of a step on several ranks: each has a part of the rows, and gradients are summed.

The replicated parameters have their gradients in one buffer, which one all-reduce sums. The buffer also has
loss, rows and seconds of each rank, so that a step without sharded tables needs one exchange.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable

from karec.learn._torch import Tensor, nn, torch
from karec.learn.distributed.ranks import Communication, dist, exchange, rank, world
from karec.learn.distributed.tables import sharded_weights

REPORT_STEPS = 200
SLOW = 1.5  # times the median seconds of the ranks
_log = logging.getLogger("karec.learn")


def rank_parts(batches: Iterable[Tensor]) -> Iterable[Tensor]:
    """Yields this rank's part of each batch of rows: neighbours, which may be rows of one user.

    A batch of fewer rows than ranks is whole on all ranks, and so counts more in the mean loss of an epoch.
    """
    for rows in batches:
        yield torch.tensor_split(rows, world())[rank()] if len(rows) >= world() else rows


class RankGradients:
    """Gradients of ``model`` summed over the ranks. One thread calls; all ranks call together."""

    def __init__(self, model: nn.Module) -> None:
        self.tables = sharded_weights(model)
        self.parameters = [p for p in model.parameters() if p not in self.tables]
        sizes = [p.numel() for p in self.parameters]
        self.buffer = torch.zeros(sum(sizes) + 3 * world())
        self.gradients = self.buffer[: sum(sizes)]
        views = torch.split(self.gradients, sizes)
        self.views = [view.view_as(p) for view, p in zip(views, self.parameters, strict=True)]
        self.losses, self.rows, self.seconds = self.buffer[sum(sizes) :].chunk(3)
        self.total_seconds = torch.zeros(world())
        self.steps = 0
        self.mark = self._now()

    def compute(self, loss_of: Callable[[], Tensor], n_rows: int) -> tuple[float, int]:
        """Sets the gradients of the mean loss over the rows of all ranks. Returns this loss and their number.

        ``loss_of()``: mean loss of the ``n_rows`` rows of this rank. The result is NaN if that of a rank is;
        the log names the rank.
        """
        self.buffer.zero_()
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = view
        for table in self.tables:
            table.grad = None
        loss = loss_of() * n_rows
        loss.backward()  # type: ignore[no-untyped-call]
        self.losses[rank()] = loss.detach()
        self.rows[rank()] = n_rows
        self.seconds[rank()] = self._now() - self.mark
        with exchange():
            dist.all_reduce(self.buffer)
        self.mark = self._now()
        n_all = int(self.rows.sum())
        self.gradients /= n_all
        for table in self.tables:
            table.grad = None if table.grad is None else table.grad / n_all
        self._report_slow_rank()
        wrong = [i for i, value in enumerate(self.losses.tolist()) if not math.isfinite(value)]
        if wrong:
            _log.error("the loss of rank %s is not finite", ", ".join(map(str, wrong)))
        return float(self.losses.sum()) / n_all, n_all

    def synchronize(self) -> None:
        """Gives all ranks the replicated parameters of rank 0. Rounding differs between processors."""
        for parameter in self.parameters:
            with exchange():
                dist.broadcast(parameter.detach(), 0)

    def _now(self) -> float:
        """Returns seconds without those in which this rank waited for others."""
        return time.perf_counter() - Communication.seconds

    def _report_slow_rank(self) -> None:
        """Every REPORT_STEPS steps, rank 0 logs a rank that needed more than SLOW times the median."""
        self.total_seconds += self.seconds
        self.steps += 1
        if self.steps % REPORT_STEPS:
            return
        median, (slowest, index) = self.total_seconds.median(), self.total_seconds.max(0)
        if rank() == 0 and slowest > SLOW * median:
            _log.warning(
                "rank %d is slow: %.2f s of its own work in the last %d steps, the median rank %.2f s. All "
                "ranks wait for it",
                index,
                slowest,
                REPORT_STEPS,
                median,
            )
        self.total_seconds.zero_()
