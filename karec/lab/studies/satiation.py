"""Satiation study: how a recent impression of the same tag or creator changes what a user does.

An effect is the change of an outcome's logit for each such impression among the user's last WINDOW ones.
Users are shown more of the tags that they like, so a plain comparison says that repeats help. Here a positive
and a negative impression of the same user, scene and tag (or creator) form a pair, and a conditional logit of
all pairs gives the effect: how much the user likes the tag is equal in both. The columns of ``_place`` and
the item's rate among other users are held equal.

A platform that repeats a tag because it was just liked makes effects look more negative: an impression before
a repeat is positive more often. The same study of a world with known effects shows the other errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec.catalog.dataset import Dataset
from karec.evaluate.metrics.accuracy import bootstrap_interval, resampling_weights
from karec.evaluate.tables import format_measure
from karec.lab.report import Table
from karec.lab.simulate.world import make_world
from karec.lab.simulate.world.satiation import CAUSES, Repeat, Satiation
from karec.lab.simulate.world.tastes import PARENT_TASKS

WINDOW = 4  # impressions
RECENT_MS, SESSION_MS = 600_000, 1_800_000  # a longer pause begins a session
SPANS = {"last 4": np.iinfo(np.int64).max, "last 4, ten minutes": RECENT_MS}
OUTCOMES = {"click": "impressions", "long_view": "clicks", "like": "long views", "follow": "long views"}
FOLDS = 5  # of users; an item's rate for a row is that of the other folds
PRIOR = 2.0  # impressions at the mean rate, added to an item's rate
MIN_ROWS = 20  # positive and negative rows with a repeat; fewer give no effect
STEPS, RIDGE = 8, 1e-6  # of Newton's method, which doubles the digits in each step
RESAMPLES = 400
PLANTED = Satiation(
    creator=Repeat(WINDOW, click=0.3, long_view=0.3, like=0.3),
    tag=Repeat(WINDOW, click=0.15, long_view=0.15, like=0.15),
)
WORLD_SIZES = (7_500, 6_000, 220_000)  # works, users, impressions


def measure_satiation(dataset: Dataset, seed: int = 0) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Returns {(cause, outcome, span): {repeats, positives, effect, effect_ci}}.

    ``repeats``: rows of pairs with a repeat; ``positives``: those with the outcome. An effect is None if
    there are fewer than MIN_ROWS with or without the outcome. Its interval resamples users: one Newton step
    from the fit for each resample. Cost: O(P) for P pairs.
    """
    log = _Log.from_dataset(dataset)
    weights = resampling_weights(int(log.user[-1]) + 1, RESAMPLES, seed)
    counts = {
        (cause, span): log.count_repeats(log.values[cause], within_ms)
        for cause in CAUSES
        for span, within_ms in SPANS.items()
    }
    effects = {}
    for outcome in OUTCOMES:
        parent, label = PARENT_TASKS[outcome], log.labels[outcome]
        is_row = log.is_first & (parent is None or log.labels[str(parent)] > 0)
        held = [_item_logit(log, label, is_row), *_place(log)]
        for cause, other in (CAUSES, CAUSES[::-1]):
            pairs = _Pairs.from_rows(log, log.values[cause], label, is_row)
            for span in SPANS:
                columns = np.stack([counts[cause, span], counts[other, span], *held], axis=1)
                effects[cause, outcome, span] = pairs.effect(columns, label, weights)
    return effects


def measure_planted(seed: int = 0) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Returns ``measure_satiation`` of a world with the effects PLANTED."""
    return measure_satiation(make_world(*WORLD_SIZES, days=14, seed=seed, satiation=PLANTED).dataset, seed)


def satiation_table(
    log: Mapping[tuple[str, str, str], Mapping[str, Any]],
    world: Mapping[tuple[str, str, str], Mapping[str, Any]],
) -> Table:
    rows = [
        (
            f"{cause}, {span}: {outcome} of {OUTCOMES[outcome]}",
            f"{values['positives']:,} of {values['repeats']:,}",
            _format(values),
            f"{-getattr(PLANTED, cause).effect(outcome):+.2f}",
            _format(world[cause, outcome, span]),
        )
        for (cause, outcome, span), values in sorted(log.items(), key=lambda item: item[0][::2])
    ]
    head = ("repeat: outcome", "rows with a repeat", "log", "planted in the world", "read in the world")
    note = (
        "Change of the outcome's logit for each repeat, and its 95 % interval over users. A dash: fewer than "
        f"{MIN_ROWS} rows with or without the outcome."
    )
    return Table("Effect of an impression of the same tag or creator just before", head, rows, note)


def _format(values: Mapping[str, Any]) -> str:
    effect = values["effect"]
    return "–" if effect is None else format_measure(effect, values["effect_ci"], 3, signed=True)


@dataclass(frozen=True, eq=False)
class _Log:
    """N impressions by user and time. ``user``: from 0; ``is_first``: the item's first one to this user.

    ``position`` in the session, from 1; ``length`` of the session; ``values``: {cause: (N,)}, unknown if < 0.
    """

    user: NDArray[Any]
    scene: NDArray[Any]
    time_ms: NDArray[Any]
    item: NDArray[Any]
    position: NDArray[Any]
    length: NDArray[Any]
    is_first: NDArray[Any]
    values: Mapping[str, NDArray[Any]]
    labels: Mapping[str, NDArray[Any]]

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> _Log:
        shown, works = dataset.exposures, dataset.snapshot.works
        order = np.lexsort((shown.time_ms, shown.user_id))
        user = np.unique(shown.user_id[order], return_inverse=True)[1]
        time_ms, item = shown.time_ms[order], works.lookup(shown.work_id[order])
        is_start = np.ones(len(user), bool)
        is_start[1:] = (np.diff(user) > 0) | (np.diff(time_ms) > SESSION_MS)
        session = np.cumsum(is_start) - 1
        is_first = np.zeros(len(user), bool)
        is_first[np.unique(user * len(works) + item, return_index=True)[1]] = True
        return cls(
            user=user,
            scene=shown.scene[order],
            time_ms=time_ms,
            item=item,
            position=np.arange(len(user)) - np.flatnonzero(is_start)[session] + 1,
            length=np.bincount(session)[session],
            is_first=is_first,
            values={"creator": works["creator_id"][item], "tag": works["tag"][item]},
            labels={name: shown.labels[name][order] for name in OUTCOMES},
        )

    def count_repeats(self, value: NDArray[Any], within_ms: int) -> NDArray[Any]:
        """Returns (N,) how many of the user's last WINDOW impressions have the value and are as recent."""
        count = np.zeros(len(value))
        for distance in range(1, WINDOW + 1):
            is_user = self.user[distance:] == self.user[:-distance]
            is_same = (value[distance:] == value[:-distance]) & (value[distance:] >= 0)
            is_recent = self.time_ms[distance:] - self.time_ms[:-distance] <= within_ms
            count[distance:] += is_user & is_same & is_recent
        return count


def _place(log: _Log) -> list[NDArray[Any]]:
    """Returns (N,) log2 of position in the session, of its length and of the seconds since the impression
    before, and the number of the last WINDOW impressions within RECENT_MS.
    """
    pause_ms = np.diff(log.time_ms, prepend=0)
    pause_ms[np.diff(log.user, prepend=-1) > 0] = 0
    recent = log.count_repeats(np.zeros_like(log.user), RECENT_MS)
    return [np.log2(log.position), np.log2(log.length), np.log2(1.0 + pause_ms / 1000.0), recent]


def _item_logit(log: _Log, label: NDArray[Any], is_row: NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) the logit of the smoothed rate of each row's item among users of the other folds."""
    n_items, mean = int(log.item.max()) + 1, float(label[is_row].mean())
    cell = log.user % FOLDS * n_items + log.item
    shown, positives = (
        np.bincount(cell, weights=part, minlength=FOLDS * n_items).reshape(FOLDS, n_items)
        for part in (is_row, is_row * label)
    )
    shown, positives = ((part.sum(axis=0) - part).ravel()[cell] for part in (shown, positives))
    rate = (positives + PRIOR * mean) / (shown + PRIOR)
    return np.asarray(np.log(rate / (1.0 - rate)))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """P pairs of a positive and a negative row of one user, scene and value, in the order of users.

    ``weight``: 1 / rows of the group, so that a group counts by its rows.
    """

    positive: NDArray[Any]
    negative: NDArray[Any]
    user: NDArray[Any]
    weight: NDArray[Any]

    @classmethod
    def from_rows(cls, log: _Log, value: NDArray[Any], label: NDArray[Any], is_row: NDArray[Any]) -> _Pairs:
        rows = np.flatnonzero(is_row & (value >= 0))
        rows = rows[np.lexsort((value[rows], log.scene[rows], log.user[rows]))]
        keys = np.stack([log.user[rows], log.scene[rows], value[rows]])
        pairs = [np.empty((3, 0))]
        for group in np.split(rows, np.flatnonzero((np.diff(keys) != 0).any(axis=0)) + 1):
            positive, negative = group[label[group] > 0], group[label[group] == 0]
            if len(positive) and len(negative):
                grid = np.meshgrid(positive, negative, 1.0 / len(group), indexing="ij")
                pairs.append(np.stack([part.ravel() for part in grid]))
        positive, negative, weight = np.concatenate(pairs, axis=1)
        positive = positive.astype(np.int64)
        return cls(positive, negative.astype(np.int64), log.user[positive], weight)

    def effect(self, columns: NDArray[Any], label: NDArray[Any], weights: NDArray[Any]) -> dict[str, Any]:
        """Returns the effect of the first of ``columns`` (N, D); ``weights`` (R, U): resamples of users."""
        rows = np.unique(np.concatenate([self.positive, self.negative]))
        rows = rows[columns[rows, 0] > 0]
        positives = int(label[rows].sum())
        effect, interval = None, None
        if MIN_ROWS <= positives <= len(rows) - MIN_ROWS:
            fitted, resampled = self._fit(columns, weights)
            effect, interval = float(fitted[0]), bootstrap_interval(resampled[:, 0])
        return {"repeats": len(rows), "positives": positives, "effect": effect, "effect_ci": interval}

    def _fit(self, columns: NDArray[Any], weights: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (D,) coefficients, and (R, D) those of resampled users."""
        x = columns[self.positive] - columns[self.negative]
        scale = np.maximum(x.std(axis=0), RIDGE)
        x /= scale
        beta = np.zeros(x.shape[1])
        gradient, curvature = self._by_user(x, beta)
        for _ in range(STEPS):
            beta += _newton_step(gradient.sum(axis=0), curvature.sum(axis=0))
            gradient, curvature = self._by_user(x, beta)
        weights = weights[:, np.unique(self.user)]
        curvatures = (weights @ curvature.reshape(len(curvature), -1)).reshape(-1, *curvature.shape[1:])
        steps = [_newton_step(*sums) for sums in zip(weights @ gradient, curvatures, strict=True)]
        return beta / scale, (beta + np.array(steps)) / scale

    def _by_user(self, x: NDArray[Any], beta: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Returns (U, D) gradients and (U, D, D) curvatures of the log likelihood."""
        starts = np.flatnonzero(np.diff(self.user, prepend=-1))
        miss = 1.0 / (1.0 + np.exp(np.clip(x @ beta, -60.0, 60.0)))
        gradient = np.add.reduceat(x * (self.weight * miss)[:, None], starts)
        weight = self.weight * miss * (1.0 - miss)
        curvature = [np.add.reduceat(x * (weight * column)[:, None], starts) for column in x.T]
        return gradient, np.stack(curvature, axis=1)


def _newton_step(gradient: NDArray[Any], curvature: NDArray[Any]) -> NDArray[Any]:
    ridge = RIDGE * np.trace(curvature) * np.eye(len(gradient))  # a column may be constant
    return np.asarray(np.linalg.solve(curvature + ridge, gradient))
