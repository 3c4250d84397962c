"""The study of satiation: how far does a work of the same creator or tag just before change what a user does?

An effect is a difference of a label's logit for each repeat among the last n exposures. Whoever likes a tag
is shown more of it, so a plain comparison says that repeats help. Three ways hold liking equal, and no way is
above the others:

past             logistic regression over all rows on what was known by then: the user's rate so far, what
came of the
                 user's earlier exposures of the value, works of it in the history. Liking that nothing has
                 shown yet stays, and makes repeats look better than they are
user             pairs of a positive and a negative row of one user in one scene (``measures/matched.py``),
the value's
                 record held equal as before: what is of the user alone is out
user and value   pairs of one user, scene and creator (tag, song): liking is out. Where the platform shows a
value again
                 because it was liked, the row before a repeat is a positive more often than other rows are;
                 within a set this makes repeats look worse than they are

All hold equal besides: the work's rate among users of other folds, the place in the session and in the user's
log, the time since the exposure before, and repeats of the other causes. ``after`` is the same regression on
repeats that come
*after* the row. These cannot tire: what they seem to do is liking, and the platform's answer to the row.

Exposures of works that the user had been shown before are left out as rows, and count as what was shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from karec._clock import Progress
from karec.evaluate.measures.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.measures.logistic import fit_logistic
from karec.evaluate.measures.matched import fit_matched, pairs_of
from karec.evaluate.repeats import AGO, Feeds
from karec.platform.dataset import Dataset
from karec.platform.rates import mean_rate, smoothed_rate
from karec.types import Array

WINDOWS = (1, 2, 4, 8, 16, 32)
WAYS = ("past", "user", "user and value")
LEVELS = ("1", "2", "3+")
FOLDS = 5  # of users: a work's rate for a row is that of the other folds
LEAST = 20  # positives, and negatives, with a repeat: fewer give no effect
PRIOR = 2.0  # imagined exposures at the mean rate, in a record of few

Fit = Callable[[Sequence[Array]], tuple[Array, Array]]


def satiation(
    dataset: Dataset,
    *,
    windows: Sequence[int] = WINDOWS,
    resamples: int = 300,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The report, as docs/formats.md has it. Each task is measured over all exposures, and those after the
    first also over the exposures where the first is positive. 95 % intervals resample users.

    DataError for data without times, without a creator, tag or song, of one user, or with a task of one
    class. Three fits for each label, way, cause and window; each as ``fit_logistic``, O(N) pairs or rows.
    """
    feeds = Feeds.of(dataset)
    near = {
        side: {cause: feeds.repeats(cause, windows, after=side == "after") for cause in feeds.values}
        for side in ("before", "after")
    }
    bootstrap = UserBootstrap(feeds.user, resamples, seed)
    within = [(task, given) for task in dataset.tasks for given in (None, dataset.tasks[0])]
    within = [(task, given) for task, given in within if task != given and _two_classes(feeds, task, given)]
    rows: list[dict[str, Any]] = []
    passed: list[dict[str, Any]] = []
    steps = len(within) * len(WAYS)
    for task, given in within:
        one = _Task(feeds, task, given, bootstrap)
        for way in WAYS:
            if progress is not None:
                progress(len(rows) // (len(feeds.values) * len(windows)), steps, f"repeats and {task}")
            rows += one.by_window(near, windows, way)
            passed += one.by_time(way)
    if progress is not None:
        progress(steps, steps, "done")
    gaps = np.diff(feeds.time_ms)[np.diff(feeds.user) == 0] / 1000
    return {
        "data": dataset.name,
        "notes": list(dataset.notes),
        "users": int(feeds.user[-1]) + 1,
        "exposures": len(feeds),
        "shown_again": int((~feeds.first).sum()),
        "seconds_apart": dict(
            zip(("10%", "50%", "90%"), np.quantile(gaps, (0.1, 0.5, 0.9)).tolist(), strict=True)
        ),
        "resamples": resamples,
        "repeats": rows,
        "ago": passed,
    }


class _Task:
    """One label, over all exposures or over those where ``given`` is positive."""

    def __init__(self, feeds: Feeds, task: str, given: str | None, bootstrap: UserBootstrap) -> None:
        self._feeds, self._bootstrap = feeds, bootstrap
        self._named = {"task": task, "given": given}
        self._y = feeds.labels[task]
        usable = feeds.first if given is None else feeds.first & (feeds.labels[given] > 0)
        self._rows = np.flatnonzero(usable)
        self._scene = feeds.user * (int(feeds.scene.max(initial=0)) + 1) + feeds.scene
        mean = mean_rate(self._y[usable], np.ones(len(self._rows)))
        every = [
            _work_logit(feeds, self._y, usable),
            np.log2(1.0 + feeds.in_session),
            np.log2(1.0 + feeds.place),
        ]
        every += [np.log2(1.0 + feeds.pause_ms / 1000), *(feeds.ago() == at for at in range(1, len(AGO)))]
        self._every = every
        self._record = {cause: _record(feeds, cause, task, given, mean) for cause in feeds.values}
        shows, taken = feeds.earlier(None, task, given)
        own = _logit(smoothed_rate(taken, shows, mean, PRIOR))
        of_scene, in_scene = (np.bincount(feeds.scene, weights=part) for part in (usable * self._y, usable))
        scene = _logit(smoothed_rate(of_scene, in_scene, mean))[feeds.scene]
        self._user = [own, own * np.log2(1.0 + shows), scene]

    def by_window(
        self, near: Mapping[str, Mapping[str, Mapping[int, Array]]], windows: Sequence[int], way: str
    ) -> Iterator[dict[str, Any]]:
        """A row of the report for each cause and window."""
        for cause in near["before"]:
            rows, fit = self._compared(cause, way)
            for n in windows:
                before, after = ({name: counts[n] for name, counts in near[side].items()} for side in near)
                n_before = before[cause]
                levels = [n_before == 1, n_before == 2, n_before >= 3]
                (repeat,) = self._fitted(rows, fit, cause, [n_before], before)
                (later,) = self._fitted(rows, fit, cause, [after[cause]], after)
                yield {
                    **self._named,
                    "cause": cause,
                    "window": n,
                    "way": way,
                    **self._counted(rows, n_before > 0),
                    "plain": self._plain(n_before > 0),
                    "before": repeat,
                    "after": later,
                    "levels": dict(zip(LEVELS, self._fitted(rows, fit, cause, levels, before), strict=True)),
                }

    def by_time(self, way: str) -> Iterator[dict[str, Any]]:
        """A row for each cause and time since the value was last shown, against the longest."""
        for cause in self._feeds.values:
            rows, fit = self._compared(cause, way)
            code = self._feeds.ago(cause)
            columns = [code == at for at in range(1, len(AGO))]
            # the others' records have it
            held = {"shown before": code > 0} if way == "user and value" else {}
            effects = self._fitted(rows, fit, cause, columns, held)
            for name, column, effect in zip(AGO, columns, effects, strict=False):  # the longest has none
                counts = self._counted(rows, column)
                yield {**self._named, "cause": cause, "ago": name, "way": way, **counts, "effect": effect}

    def _compared(self, cause: str, way: str) -> tuple[Array, Fit]:
        """The rows that are compared, and what fits columns to them, those held equal included."""
        value = self._feeds.values[cause]
        if way == "past":
            held = [*self._every, *self._user, *self._record[cause]]
            return self._rows, self._holding(partial(fit_logistic, self._y, self._rows), held)
        of, rows, held = self._scene, self._rows, [*self._every, *self._record[cause]]
        if way == "user and value":
            code = np.unique(value, return_inverse=True)[1]
            of, rows, held = of * (int(code.max()) + 1) + code, rows[value[rows] >= 0], self._every
        pairs = pairs_of(self._y, of, rows)
        return pairs.rows, self._holding(partial(fit_matched, pairs), held)

    def _holding(self, fit: Callable[..., tuple[Array, Array]], held: Sequence[Array]) -> Fit:
        return lambda columns: fit(
            [np.asarray(each, np.float64) for each in (*columns, *held)], self._bootstrap
        )

    def _fitted(
        self, rows: Array, fit: Fit, cause: str, columns: Sequence[Array], near: Mapping[str, Array]
    ) -> list[dict[str, Any] | None]:
        """The effect of each of the ``columns``, beside those of ``near`` that are of other causes; None
        where one is too rare among the ``rows``.
        """
        counts = [self._counted(rows, column > 0) for column in columns]
        known = [LEAST <= each["positive"] <= each["repeated"] - LEAST for each in counts]
        if not any(known):
            return [None] * len(columns)
        beta, draws = fit([*columns, *(near[name] for name in near if name != cause)])
        return [_effect(float(beta[at]), draws[:, at]) if enough else None for at, enough in enumerate(known)]

    def _counted(self, rows: Array, repeated: Array) -> dict[str, int]:
        """The rows compared, those of them with a repeat, and of these the positives."""
        there = rows[repeated[rows]]
        return {"rows": len(rows), "repeated": len(there), "positive": int(self._y[there].sum())}

    def _plain(self, repeated: Array) -> dict[str, Any] | None:
        """log odds with a repeat less log odds without one, nothing held equal."""
        y, is_there = self._y[self._rows], repeated[self._rows]
        cells = [(y == a) & (is_there == b) for a in (1, 0) for b in (True, False)]
        if min(int(cell.sum()) for cell in cells) < LEAST:
            return None
        sums = np.maximum(self._bootstrap.sums((cell.astype(np.float64) for cell in cells), self._rows), 0.5)
        signs = np.array([1.0, -1.0, -1.0, 1.0])
        return _effect(float(np.log([cell.sum() for cell in cells]) @ signs), np.log(sums) @ signs)


def _two_classes(feeds: Feeds, task: str, given: str | None) -> bool:
    y = feeds.labels[task][feeds.first if given is None else feeds.first & (feeds.labels[given] > 0)]
    return bool(len(y)) and int(y.min()) != int(y.max())


def _record(feeds: Feeds, cause: str, task: str, given: str | None, mean: float) -> list[Array]:
    """What is known by then of the user's liking of the value: whether and how often it was shown, what came
    of it, what came of the rest, and how many works of it are in the history.
    """
    shows, taken = feeds.earlier(cause, task, given)
    all_shows, all_taken = feeds.earlier(None, task, given)
    others, others_taken = all_shows - shows, all_taken - taken
    return [
        np.log2(1.0 + shows),
        (taken - mean * shows) / (PRIOR + shows),
        (others_taken - mean * others) / (PRIOR + others),
        np.log2(1.0 + feeds.known[cause]),
        feeds.ago(cause) > 0,
    ]


def _work_logit(feeds: Feeds, y: Array, usable: Array) -> Array:
    """(N,) logit of the smoothed rate of each row's work among users of the other folds."""
    n = int(feeds.work.max()) + 1
    cell = feeds.user % FOLDS * n + feeds.work
    shows, positives = (
        np.bincount(cell, weights=part, minlength=FOLDS * n).reshape(FOLDS, n)
        for part in (usable, usable * y)
    )
    taken, others = ((part.sum(axis=0) - part).ravel()[cell] for part in (positives, shows))
    return _logit(smoothed_rate(taken, others, mean_rate(positives, shows)))


def _logit(rate: Array) -> Array:
    return np.asarray(np.log(rate / (1.0 - rate)))


def _effect(value: float, draws: Array) -> dict[str, Any]:
    return {"value": value, "ci": bootstrap_interval(draws)}
