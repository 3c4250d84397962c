"""One table of a snapshot as model inputs: codes of its categories, scaled numbers, ages, log counts,
smoothed rates.

A rate of c positives in n exposures is smoothed towards the overall rate p by m = PRIOR_WEIGHT exposures, and
given as the log odds against p:
    log((c + m·p) / (n − c + m·(1 − p))) − log(p / (1 − p)) = log((c/p + m) / ((n − c)/(1 − p) + m))
It is 0 without exposures, and rare labels have the same scale as common ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karec import _native
from karec.catalog import schema
from karec.catalog.table import Table
from karec.features.stored_head import entry, flag, rates, scales, texts
from karec.features.vocabulary import Vocabulary, stored_vocabulary, vocabulary

PRIOR_WEIGHT = 10.0


@dataclass(frozen=True, eq=False)
class EncodedTable:
    """R rows, and a last one of zeros (row −1) for unknown ids.

    ids (R+1, ·) int64 codes; moments (R+1, ·) int64 Unix ms; numbers (R+1, J) float32: scaled numbers, a
    place for each age, which depends on the moment of a request, and log count and rates as of the snapshot.
    A row's numbers lie together, as ``TableCoder.numbers_at`` gives them: a request reads each work's once,
    mostly from memory.
    """

    ids: NDArray[Any]
    numbers: NDArray[Any]
    moments: NDArray[Any]


@dataclass(frozen=True)
class NumberScale:
    """x → (x − mean) / scale, of log1p(x) where ``log``."""

    name: str
    log: bool
    mean: float
    scale: float

    @classmethod
    def fit(cls, name: str, values: NDArray[Any]) -> NumberScale:
        """Scale of the finite ``values``; log where they are ≥ 0 and the largest is more than 20 times their
        mean."""
        finite = np.asarray(values, np.float64)[np.isfinite(values)]
        if not len(finite):
            return cls(name, False, 0.0, 1.0)
        log = bool(finite.min() >= 0 and finite.max() > 20 * finite.mean())
        if log:
            finite = np.log1p(finite)
        return cls(name, log, float(finite.mean()), float(finite.std()) or 1.0)

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """(N,) float32 of ``values (N,)``; NaN gives the mean, 0, and results are cut at ±8."""
        return _native.scaled(values, self.log, self.mean, self.scale)


@dataclass(frozen=True, eq=False)
class TableCoder:
    """How a table's columns become inputs, each kind in order of its fields.

    own_id       the row's own id is the first category
    categories   their names; ``vocabularies`` has one for each, the own id's first
    numbers      floating columns
    moments      moments, whose ages are inputs
    counted      labels with a counter; ``priors`` are their overall rates
    """

    own_id: bool
    categories: tuple[str, ...]
    vocabularies: tuple[Vocabulary, ...]
    numbers: tuple[NumberScale, ...]
    moments: tuple[NumberScale, ...]
    counted: tuple[str, ...]
    priors: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        table: Table,
        rows: NDArray[Any],
        time_ms: NDArray[Any],
        rates: Mapping[str, float],
        min_count: int,
        *,
        own_id: bool,
    ) -> TableCoder:
        """From the rows that training exposures name: ``rows (M,)`` at ``time_ms (M,)``; overall ``rates`` by
        label."""
        counters = {name for name in table.columns if schema.is_counter(name)}
        plain = [name for name in sorted(table.columns) if name not in counters]
        integers = [name for name in plain if table[name].dtype.kind in "iub"]
        moments = [name for name in integers if name.endswith("_ms")]
        # ids (creator, song) first
        ranked = sorted(
            (name for name in integers if name not in moments),
            key=lambda name: (not name.endswith("_id"), name),
        )
        counted = tuple(
            label
            for label in sorted(rates)
            if schema.counter(label) in counters and schema.EXPOSED in counters
        )
        ids = ([table.ids] if own_id else []) + [table[name] for name in ranked]
        return cls(
            own_id=own_id,
            categories=tuple(ranked),
            vocabularies=tuple(vocabulary(np.asarray(column)[rows], min_count) for column in ids),
            numbers=tuple(
                NumberScale.fit(name, table[name][rows]) for name in plain if table[name].dtype.kind == "f"
            ),
            moments=tuple(NumberScale.fit(name, log_hours(table[name][rows], time_ms)) for name in moments),
            counted=counted,
            priors=tuple(float(np.clip(rates[label], 1e-6, 1 - 1e-6)) for label in counted),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(vocabulary) + 1 for vocabulary in self.vocabularies)

    @property
    def category_names(self) -> tuple[str, ...]:
        return ("id", *self.categories) if self.own_id else self.categories

    @property
    def number_names(self) -> tuple[str, ...]:
        counters = ("log_exposed", *(f"rate_{label}" for label in self.counted)) if self.counted else ()
        return (
            *(number.name for number in self.numbers),
            *(f"age_{number.name.removesuffix('_ms')}" for number in self.moments),
            *counters,
        )

    @property
    def described(self) -> dict[str, str]:
        """What the models read of each column, in words."""
        categories = zip(self.category_names, self.vocabularies, strict=True)
        found = {
            name: f"category, {len(known):,} values and one for all others" for name, known in categories
        }
        found |= {each.name: "logarithm of a number" if each.log else "number" for each in self.numbers}
        found |= {each.name: "logarithm of the age in hours" for each in self.moments}
        found |= dict.fromkeys(self.counters[1:], "smoothed rate")
        return found | dict.fromkeys(self.counters[:1], "logarithm of a count")

    @property
    def counters(self) -> tuple[str, ...]:
        """The counter columns in the order of ``counts``; none when the table had no counters."""
        return (schema.EXPOSED, *map(schema.counter, self.counted)) if self.counted else ()

    def encode(self, table: Table) -> EncodedTable:
        """The whole table. O(R · columns). Raises ValueError naming a column that the table lacks."""
        wanted = [
            *self.categories,
            *(number.name for number in (*self.numbers, *self.moments)),
            *self.counters,
        ]
        missing = [name for name in wanted if name not in table.columns]
        if missing:
            raise ValueError(f"the table lacks the columns {missing} that the encoder was fitted on")
        n = len(table)
        ids = np.zeros((n + 1, len(self.vocabularies)), np.int64)
        columns = ([table.ids] if self.own_id else []) + [table[name] for name in self.categories]
        for at, (known, column) in enumerate(zip(self.vocabularies, columns, strict=True)):
            ids[:n, at] = known.encode(column)
        numbers = np.zeros((n + 1, len(self.number_names)), np.float32)
        for at, number in enumerate(self.numbers):
            numbers[:n, at] = number(table[number.name])
        moments = np.zeros((n + 1, len(self.moments)), np.int64)
        for at, moment in enumerate(self.moments):
            moments[:n, at] = table[moment.name]
        counts = np.zeros((n + 1, len(self.counters)), np.float32)
        for at, name in enumerate(self.counters):
            counts[:n, at] = table[name]
        numbers[:, len(self.numbers) + len(self.moments) :] = self.counter_numbers(counts)
        return EncodedTable(ids, numbers, moments)

    def code(self, category: str, values: NDArray[Any]) -> NDArray[Any]:
        """(N,) int64 codes of ``values`` in the column ``category``."""
        return self.vocabularies[self.category_names.index(category)].encode(values)

    def numbers_at(
        self,
        table: EncodedTable,
        rows: NDArray[Any],
        time_ms: int | NDArray[Any],
        counts: NDArray[Any] | None,
    ) -> NDArray[Any]:
        """(N, J) float32: numbers, ages at ``time_ms``, counters (as of the snapshot, or from ``counts`` (N,
        ·))."""
        numbers = table.numbers.take(rows, axis=0)
        for at, moment in enumerate(self.moments):
            numbers[:, len(self.numbers) + at] = moment(log_hours(table.moments[rows, at], time_ms))
        if counts is not None:
            numbers[:, len(self.numbers) + len(self.moments) :] = self.counter_numbers(counts)
        return numbers

    def counter_numbers(self, counts: NDArray[Any]) -> NDArray[Any]:
        """``counts (N, 1 + labels)``: exposures, then positives by label → (N, 1 + labels) float32."""
        if counts.shape[1] != len(self.counters):
            raise ValueError(f"counts has shape {counts.shape}, expected (N, {len(self.counters)})")
        return counter_numbers(counts, np.array(self.priors))

    def head(self) -> dict[str, Any]:
        """All but the vocabularies, as JSON."""
        scales = {
            kind: [[n.name, n.log, n.mean, n.scale] for n in numbers]
            for kind, numbers in (("numbers", self.numbers), ("moments", self.moments))
        }
        return {
            "own_id": self.own_id,
            "categories": self.categories,
            "counted": self.counted,
            "priors": self.priors,
            **scales,
        }

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The vocabularies' keys, named ``<prefix>.<number>``."""
        return {f"{prefix}.{at}": vocabulary.keys for at, vocabulary in enumerate(self.vocabularies)}

    @classmethod
    def restore(cls, head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], prefix: str) -> TableCoder:
        """The coder that gave ``head`` and ``arrays``; ValueError naming what of them is wrong."""
        own_id, categories, counted = flag(head, "own_id"), texts(head, "categories"), texts(head, "counted")
        tables = [f"{prefix}.{at}" for at in range(len(categories) + own_id)]
        return cls(
            own_id=own_id,
            categories=categories,
            vocabularies=tuple(stored_vocabulary(arrays, table) for table in tables),
            numbers=tuple(NumberScale(*row) for row in scales(head, "numbers")),
            moments=tuple(NumberScale(*row) for row in scales(head, "moments")),
            counted=counted,
            priors=rates(entry(head, "priors"), "priors", len(counted)),
        )


def counter_numbers(counts: NDArray[Any], priors: NDArray[Any]) -> NDArray[Any]:
    """(N, 1 + labels) float32: log count and rates of ``counts (N, 1 + labels)``, exposures then positives by
    label.

    ``priors`` (labels,) or (N, labels) lie between 0 and 1. Counts without columns give none.
    """
    return _native.counter_numbers(counts, priors)


def log_hours(moments: NDArray[Any], time_ms: int | NDArray[Any]) -> NDArray[Any]:
    """(N,) log1p of the hours from ``moments (N,)`` to ``time_ms``, not below 0; NaN where the moment is not
    known."""
    return _native.log_hours(moments, np.broadcast_to(time_ms, len(moments)))
