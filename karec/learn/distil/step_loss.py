"""Loss of one training step of the towers: the sum of the losses that the settings switch on.

exposed rows   hard and soft labels of each task's head and of the fused head
logged lists   soft labels of their items for each head, their order by the fused head, and the squared length
               of the mean item vector (CENTERING_WEIGHT)
retrieval      items that a user chose against items of the whole library
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from karec.learn._torch import Tensor, torch
from karec.learn.distil.losses import distillation_loss, list_loss, soft_label_loss
from karec.learn.distil.retrieval import Retrieval
from karec.learn.distil.targets import Targets, fused_labels
from karec.learn.distil.tower_logits import item_vectors
from karec.learn.distributed.ranks import rank, world
from karec.learn.fit.batches import Batch, Batches
from karec.learn.fit.predictions import task_weights
from karec.learn.fit.prepare import TrainingData
from karec.learn.nets.towers import Towers
from karec.learn.settings.settings import TrainSettings
from karec.samples.auxiliary_tasks import auxiliary_probabilities
from karec.samples.examples import Examples
from karec.samples.lists import LoggedLists, item_crosses

# Weight of the squared length of the mean item vector of the step's lists. A component that all item vectors
# share does not order one user's items, and the levels already express it per user. Without it item vectors
# differ more, as DPP needs them.
CENTERING_WEIGHT = 0.5


class StepLoss:
    """Loss of a batch of training rows plus the lists of the step; called with (batch, step).

    Each step uses the next ``lists_per_step`` logged lists of all ranks, in an order that depends on the
    seed. An epoch has ``epoch_rows`` rows, those of the log.
    """

    def __init__(
        self,
        model: Towers,
        prepared: TrainingData,
        targets: Targets,
        lists: LoggedLists | None,
        settings: TrainSettings,
    ) -> None:
        self.model, self.batches, self.distil = model, prepared.train_batches, settings.distil
        self.optimizer = settings.optimizer
        train = self.batches
        tasks = prepared.encoder.tasks
        auxiliary = [name for name in settings.fusion if name not in tasks]
        auxiliary_labels = torch.from_numpy(auxiliary_probabilities(prepared.train.exposures, auxiliary)).to(
            train.device
        )
        labels = torch.from_numpy(prepared.train.labels).to(train.device)
        fused = fused_labels(
            torch.cat([labels, auxiliary_labels], dim=1), (*tasks, *auxiliary), settings.fusion
        )
        self.labels = torch.cat([fused.unsqueeze(1), labels], dim=1)
        self.weights = task_weights(("fused", *tasks), settings.task_weights, train.device)
        self.rows = torch.from_numpy(targets.rows).to(train.device)
        self.known = torch.from_numpy(targets.known).to(train.device)
        self.log_probability = prepared.sampling_log_probabilities()
        self.retrieval = Retrieval(model, prepared, settings) if settings.distil.retrieval_weight else None
        self.epoch_rows = min(prepared.n_shown, len(train))
        n_steps = settings.towers.epochs * -(-self.epoch_rows // settings.optimizer.batch_size)
        self.warm_up_steps = settings.distil.warm_up * n_steps
        if lists is not None and settings.distil.needs_lists:
            self._set_lists(prepared.train, lists, targets, settings.seed)

    def _set_lists(self, train: Examples, lists: LoggedLists, targets: Targets, seed: int) -> None:
        requests, user = np.unique(lists.rows, return_inverse=True)
        names, device = self.model.user.inputs, str(self.batches.device)
        self.requests = Batches.from_examples(train.take(requests), names, device=device)
        self.request_of_list = torch.from_numpy(user)
        self.list_items, self.list_numbers = torch.from_numpy(lists.items), torch.from_numpy(lists.numbers)
        self.list_targets = torch.from_numpy(targets.lists).to(self.batches.device)
        self.list_crosses = None
        if self.model.wide is not None:
            self.list_crosses = torch.from_numpy(item_crosses(train, lists.rows, lists.items))
        self.list_order = torch.randperm(len(lists), generator=torch.Generator().manual_seed(seed))

    def epoch(self, generator: torch.Generator) -> Iterator[Batch]:
        size = self.optimizer.batch_size
        return self.batches.epoch(generator, size, self.epoch_rows, by_user=True)

    def __call__(self, batch: Batch, step: int) -> Tensor:
        distil, model, rows = self.distil, self.model, batch.numbers
        is_distilling = step >= self.warm_up_steps
        logits = model(batch.inputs_by_user(model.inputs))
        loss = self.distil.label_weight * distillation_loss(
            logits if self.log_probability is None else logits - self.log_probability[rows],
            self.labels[rows],
            self.rows[rows],
            self.known[rows],
            soft_weight=distil.soft_weight if is_distilling else 0.0,
            temperature=distil.temperature,
            weights=self.weights,
        )
        if self.retrieval is not None:
            loss = loss + distil.retrieval_weight * self.retrieval.loss(step)
        if is_distilling and distil.needs_lists:
            loss = loss + self._list_losses(step)
        return loss

    def _list_losses(self, step: int) -> Tensor:
        distil, model, n = self.distil, self.model, max(self.distil.lists_per_step // world(), 1)
        first = (step * world() + rank()) * n
        lists = self.list_order[(first + torch.arange(n)) % len(self.list_order)]
        items = item_vectors(model, self.requests, self.list_items[lists], self.list_numbers[lists])
        users = model.user(self.requests.inputs(self.request_of_list[lists], model.user.inputs))
        crosses = None if self.list_crosses is None else self.list_crosses[lists].to(self.batches.device)
        logits, targets = model.logits(users, items, crosses), self.list_targets[lists]
        student, teacher = logits[..., 0], targets[..., 0]
        loss = CENTERING_WEIGHT * items.flatten(0, 1).mean(dim=0).square().sum()
        if distil.list_weight:
            loss = loss + distil.list_weight * list_loss(student, teacher, distil.list_temperature)
        if distil.pool_weight:
            soft = (soft_label_loss(logits, targets, distil.temperature) * self.weights).sum(dim=2)
            loss = loss + distil.pool_weight * soft.mean()
        return loss
