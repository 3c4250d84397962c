"""The loss of one step of the towers' training: the sum of the losses that the settings switch on.

exposed rows      hard and soft labels, a head for each task and the fused one
logged lists      soft labels of their works, a head for each task and the fused one, and their order by the
fused one
                  and their works' vectors, whose mean is to be short (CENTRED)
retrieval         what a user took against works of the whole library
"""

from __future__ import annotations

from karec.learn._torch import Tensor, torch
from karec.learn.distil.losses import distillation_loss, list_loss, soft_label_loss
from karec.learn.distil.retrieval import Retrieval
from karec.learn.distil.targets import Targets, fused_labels
from karec.learn.distil.tower_logits import item_vectors
from karec.learn.fit.predictions import task_weights
from karec.learn.fit.prepare import TrainingData
from karec.learn.fit.sampled_negatives import sampling_log_probabilities
from karec.learn.nets.towers import Towers
from karec.learn.settings.settings import TrainSettings
from karec.samples.auxiliary_tasks import auxiliary_chances
from karec.samples.lists import LoggedLists

CENTRED = 0.5
"""Weight of the squared length of the mean item vector of the step's lists. A part that all item vectors
share says nothing of one user's works, and levels say what it could of users: without it works lie apart, as
DPP needs them."""


class StepLoss:
    """``step_loss(rows, step)``: the loss of a batch of training rows, and of the lists of that step.

    LoggedLists are taken in turn, ``lists_per_step`` a step, in an order drawn from the settings' seed.
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
        train = self.batches
        tasks = prepared.encoder.tasks
        beside = [name for name in settings.fusion if name not in tasks]
        chances = torch.from_numpy(auxiliary_chances(prepared.train.exposures, beside)).to(train.device)
        fused = fused_labels(torch.cat([train.labels, chances], dim=1), (*tasks, *beside), settings.fusion)
        self.labels = torch.cat([fused.unsqueeze(1), train.labels], dim=1)
        self.weights = task_weights(("fused", *tasks), settings.task_weights, train.device)
        self.rows = torch.from_numpy(targets.rows).to(train.device)
        self.known = torch.from_numpy(targets.known).to(train.device)
        n_steps = settings.towers.epochs * -(-prepared.n_shown // settings.optimizer.batch_size)
        self.hard_until = settings.distil.warm_up * n_steps
        self.log_chance = sampling_log_probabilities(prepared)
        self.retrieval = Retrieval(model, prepared, settings) if settings.distil.retrieval_weight else None
        if lists is not None and settings.distil.needs_lists:
            self._take_lists(lists, targets, settings.seed)

    def _take_lists(self, lists: LoggedLists, targets: Targets, seed: int) -> None:
        self.list_rows = torch.from_numpy(lists.rows)
        self.list_works, self.list_numbers = torch.from_numpy(lists.works), torch.from_numpy(lists.numbers)
        self.list_targets = torch.from_numpy(targets.lists).to(self.batches.device)
        self.list_order = torch.randperm(len(lists), generator=torch.Generator().manual_seed(seed))

    def __call__(self, rows: Tensor, step: int) -> Tensor:
        distil, model = self.distil, self.model
        distils = step >= self.hard_until
        inputs = self.batches.inputs(rows, model.inputs, counted=True)
        users, works = model.user(inputs), model.item(inputs)
        logits = model.logits(users, works.unsqueeze(1)).squeeze(1)
        loss = self.distil.label_weight * distillation_loss(
            logits if self.log_chance is None else logits - self.log_chance[rows],
            self.labels[rows],
            self.rows[rows],
            self.known[rows],
            soft_weight=distil.soft_weight if distils else 0.0,
            temperature=distil.temperature,
            weights=self.weights,
        )
        if self.retrieval is not None:
            loss = loss + distil.retrieval_weight * self.retrieval.loss(step)
        if distils and distil.needs_lists:
            loss = loss + self._of_lists(step)
        return loss

    def _of_lists(self, step: int) -> Tensor:
        """The list and pool losses of the step's lists."""
        distil, model, n = self.distil, self.model, self.distil.lists_per_step
        at = self.list_order[(step * n + torch.arange(n)) % len(self.list_order)]
        works = item_vectors(model, self.batches, self.list_works[at], self.list_numbers[at])
        users = model.user(self.batches.inputs(self.list_rows[at], model.user.inputs, counted=True))
        by_head, wanted = model.logits(users, works), self.list_targets[at]
        s, t = by_head[..., 0], wanted[..., 0]
        loss = CENTRED * works.flatten(0, 1).mean(dim=0).square().sum()
        if distil.list_weight:
            loss = loss + distil.list_weight * list_loss(s, t, distil.list_temperature)
        if distil.pool_weight:
            soft = (soft_label_loss(by_head, wanted, distil.temperature) * self.weights).sum(dim=2)
            loss = loss + distil.pool_weight * soft.mean()
        return loss
