"""The study of satiation: how far does a work of the same creator or tag just before change what a user does?

Whoever likes a tag is shown more of it, so a plain comparison says that repeats help. Compared are therefore rows of
one *matched set* alone, a positive with a negative each (``measures/matched.py``), and what differs between them
besides is in the regression: the work's own rate among users of other folds, the place in the session, the place in the
user's log, and repeats of the other causes.

user             sets of one user in one scene: the user's own rate is out, his liking of the value is not
user and value   sets of one user, one scene and one creator (tag, song): his liking is out as well. Where the platform
                 shows a value again because it was liked, the row before a repeat is a positive more often than one
                 before none; within a set that makes repeats look worse than they are
after            the same regression on repeats that come *after* the row, which cannot tire: what they seem to do is
                 liking, and the platform's answer to it
less after       before − after, draws paired: liking that is the same before and after is out

An effect is a difference of the label's logit for each repeat among the last n exposures. Exposures of works that the
user had been shown before are left out as rows, and count as what was shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from karec._clock import Progress
from karec.evaluate.measures.accuracy import UserBootstrap, bootstrap_interval
from karec.evaluate.measures.matched import Pairs, fit_matched, pairs_of
from karec.evaluate.repeats import AGO, Feeds
from karec.platform.dataset import Dataset
from karec.platform.rates import mean_rate, smoothed_rate
from karec.types import Array

WINDOWS = (1, 2, 4, 8, 16, 32)
LEVELS = ("1", "2", "3+")
FOLDS = 5  # of users: a work's rate for a row is that of the other folds
LEAST = 20  # positives, and negatives, with a repeat: fewer give no effect


def satiation(
    dataset: Dataset,
    *,
    windows: Sequence[int] = WINDOWS,
    resamples: int = 300,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The report, as docs/formats.md has it. Each task is measured over all exposures, and those after the first also
    over the exposures where the first is positive. 95 % intervals resample users.

    DataError for data without times, without a creator, tag or song, of one user, or with a task of one class.
    O(causes · windows · resamples · users) and ``fit_matched`` for each.
    """
    feeds = Feeds.of(dataset)
    near = {
        side: {cause: feeds.repeats(cause, windows, after=side == "after") for cause in feeds.values}
        for side in ("before", "after")
    }
    bootstrap = UserBootstrap(feeds.user, resamples, seed)
    within = [(task, given) for task in dataset.tasks for given in (None, dataset.tasks[0])]
    within = [(task, given) for task, given in within if task != given]
    rows: list[dict[str, Any]] = []
    passed: list[dict[str, Any]] = []
    for done, (task, given) in enumerate(within):
        if progress is not None:
            progress(done, len(within), f"repeats and {task}")
        one = _Task(feeds, task, given, bootstrap)
        for matched in ("user", "user and value"):
            rows += one.by_window(near, windows, matched)
        passed += one.by_time()
    if progress is not None:
        progress(len(within), len(within), "done")
    gaps = np.diff(feeds.time_ms)[np.diff(feeds.user) == 0] / 1000
    return {
        "data": dataset.name,
        "notes": list(dataset.notes),
        "users": int(feeds.user[-1]) + 1,
        "exposures": len(feeds),
        "shown_again": int((~feeds.first).sum()),
        "seconds_apart": dict(zip(("10%", "50%", "90%"), np.quantile(gaps, (0.1, 0.5, 0.9)).tolist(), strict=True))
        if len(gaps)
        else None,
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
        self._controls = [
            _work_logit(feeds, self._y, usable),
            np.log2(1.0 + feeds.in_session),
            np.log2(1.0 + feeds.place),
            *(feeds.ago() == at for at in range(1, len(AGO))),
        ]
        self._liking = {cause: _liking(feeds, cause, task) for cause in feeds.values}

    def by_window(
        self, near: Mapping[str, Mapping[str, Mapping[int, Array]]], windows: Sequence[int], matched: str
    ) -> Iterator[dict[str, Any]]:
        """A row of the report for each cause and window."""
        for cause in near["before"]:
            pairs = self._pairs(cause, matched)
            for n in windows:
                before, after = ({name: counts[n] for name, counts in near[side].items()} for side in near)
                yield {
                    **self._named,
                    "cause": cause,
                    "window": n,
                    "matched": matched,
                    **self._counted(pairs, before[cause] > 0),
                    "plain": self._plain(before[cause] > 0),
                    **self._each(pairs, cause, matched, before, after),
                    "levels": self._levels(pairs, cause, matched, before),
                }

    def by_time(self) -> Iterator[dict[str, Any]]:
        """A row for each cause and time since the value was last shown, against the longest."""
        for cause in self._feeds.values:
            code = self._feeds.ago(cause)
            columns = [code == at for at in range(1, len(AGO))]
            for matched in ("user", "user and value"):
                pairs = self._pairs(cause, matched)
                held = [code > 0, *self._held(cause, matched)]
                found = self._fit(pairs, [*columns, *held], range(len(columns)), columns)
                for name, column, (value, draws) in zip(AGO, columns, found, strict=True):
                    yield {
                        **self._named,
                        "cause": cause,
                        "ago": name,
                        "matched": matched,
                        **self._counted(pairs, column),
                        "effect": _with_interval(value, draws),
                    }

    def _pairs(self, cause: str, matched: str) -> Pairs:
        if matched == "user":
            return pairs_of(self._y, self._scene, self._rows)
        value = self._feeds.values[cause]
        code = np.unique(value, return_inverse=True)[1]
        return pairs_of(self._y, self._scene * (int(code.max()) + 1) + code, self._rows[value[self._rows] >= 0])

    def _held(self, cause: str, matched: str) -> list[Array]:
        """The columns held equal; the user's liking of the value besides, where sets do not hold it."""
        return [*self._controls, *(self._liking[cause] if matched == "user" else [])]

    def _counted(self, pairs: Pairs, repeated: Array) -> dict[str, int]:
        """Rows in a pair, those of them with a repeat, and of these the positives."""
        rows = pairs.rows
        there = rows[repeated[rows]]
        return {"rows": len(rows), "repeated": len(there), "positive": int(self._y[there].sum())}

    def _each(
        self, pairs: Pairs, cause: str, matched: str, before: Mapping[str, Array], after: Mapping[str, Array]
    ) -> dict[str, dict[str, Any] | None]:
        """What a repeat before does, one after seems to do, and the first less the second."""
        found = []
        for side in (before, after):
            others = [side[name] for name in side if name != cause]
            found += self._fit(pairs, [side[cause], *others, *self._held(cause, matched)], [0], [side[cause] > 0])
        (value, draws), (later, later_draws) = found
        both = value is not None and later is not None
        less = _with_interval(value - later, draws - later_draws) if both else None
        return {"before": _with_interval(value, draws), "after": _with_interval(later, later_draws), "less_after": less}

    def _levels(
        self, pairs: Pairs, cause: str, matched: str, before: Mapping[str, Array]
    ) -> dict[str, dict[str, Any] | None]:
        """What 1, 2 and 3 or more repeats do, against none."""
        n = before[cause]
        columns = [n == 1, n == 2, n >= 3]
        others = [before[name] for name in before if name != cause]
        found = self._fit(pairs, [*columns, *others, *self._held(cause, matched)], range(3), columns)
        return {name: _with_interval(*each) for name, each in zip(LEVELS, found, strict=True)}

    def _fit(
        self, pairs: Pairs, columns: Sequence[Array], wanted: Sequence[int], there: Sequence[Array]
    ) -> list[tuple[float, Array] | tuple[None, None]]:
        """(coefficient, draws) of each of the ``wanted`` columns; (None, None) where ``there`` is too rare."""
        counts = [self._counted(pairs, column) for column in there]
        known = [LEAST <= each["positive"] <= each["repeated"] - LEAST for each in counts]
        if not any(known):
            return [(None, None)] * len(known)
        left_out = {at for at, enough in zip(wanted, known, strict=True) if not enough}
        beta, draws = fit_matched(pairs, [np.asarray(each, np.float64) for each in columns], self._bootstrap)
        return [(None, None) if at in left_out else (float(beta[at]), draws[:, at]) for at in wanted]

    def _plain(self, repeated: Array) -> dict[str, Any] | None:
        """log odds with a repeat less log odds without one, nothing held equal."""
        y, is_there = self._y[self._rows], repeated[self._rows]
        cells = [(y == a) & (is_there == b) for a in (1, 0) for b in (True, False)]
        if min(int(cell.sum()) for cell in cells) < LEAST:
            return None
        sums = np.maximum(self._bootstrap.sums((cell.astype(np.float64) for cell in cells), self._rows), 0.5)
        signs = np.array([1.0, -1.0, -1.0, 1.0])
        return _with_interval(float(np.log([cell.sum() for cell in cells]) @ signs), np.log(sums) @ signs)


def _work_logit(feeds: Feeds, y: Array, usable: Array) -> Array:
    """(N,) logit of the smoothed rate of each row's work among users of the other folds."""
    n = int(feeds.work.max()) + 1
    cell = feeds.user % FOLDS * n + feeds.work
    shows, positives = (
        np.bincount(cell, weights=part, minlength=FOLDS * n).reshape(FOLDS, n) for part in (usable, usable * y)
    )
    others = [(part.sum(axis=0) - part).ravel()[cell] for part in (positives, shows)]
    rate = smoothed_rate(*others, max(mean_rate(positives, shows), 1e-6))
    return np.asarray(np.log(rate / (1.0 - rate)))


def _liking(feeds: Feeds, cause: str, task: str) -> list[Array]:
    """What is known of the user's liking of the value before the row: how often it was shown, what came of it, and how
    many works of it are in the history.
    """
    shows, taken = feeds.earlier(cause, task)
    expected = mean_rate(feeds.labels[task], np.ones(len(feeds)))
    return [shows > 0, np.log2(1.0 + shows), (taken - expected * shows) / (2.0 + shows), np.log2(1.0 + feeds.known[cause])]


def _with_interval(value: float | None, draws: Array | None) -> dict[str, Any] | None:
    return None if value is None or draws is None else {"value": value, "ci": bootstrap_interval(draws)}
