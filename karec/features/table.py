"""Encodes a table of a snapshot: codes of categories, scaled numbers, ages, log counts and smoothed rates.

A rate of c positives in n impressions is smoothed towards the overall rate p by m = PRIOR_WEIGHT impressions.
The input is its log odds relative to p:
    log((c + m·p) / (n − c + m·(1 − p))) − log(p / (1 − p)) = log((c/p + m) / ((n − c)/(1 − p) + m))
It is 0 without impressions, and rare labels have the same scale as frequent ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, structs
from numpy.typing import NDArray

from karec import _native
from karec.catalog import schema
from karec.catalog.table import Table
from karec.features.vocabulary import Vocabulary, build_vocabulary, read_vocabulary

PRIOR_WEIGHT = 10.0
Rate = Annotated[float, Meta(gt=0, lt=1)]


@dataclass(frozen=True, eq=False)
class EncodedTable:
    """R rows, and a last row of zeros (row −1) for unknown ids.

    ids      (R + 1, ·) int64 codes
    numbers  (R + 1, J) float32: scaled numbers, zeros for ages, which depend on the time of a request, log
             count and rates of the snapshot. Rows have the layout of ``TableCoder.compute_numbers``: a
             request reads the row of each item once, mostly from memory
    moments  (R + 1, ·) int64 Unix ms
    vectors  each (R, D) float32, columns of the table, not copies: they are large, and processes share them
    """

    ids: NDArray[Any]
    numbers: NDArray[Any]
    moments: NDArray[Any]
    vectors: tuple[NDArray[Any], ...] = ()


class NumberScale(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Maps x to (x − mean) / scale, or log1p(x) if ``log``."""

    name: str
    log: bool
    mean: Annotated[float, Meta(ge=-1e300, le=1e300)]
    scale: Annotated[float, Meta(gt=0, le=1e300)]

    @classmethod
    def fit(cls, name: str, values: NDArray[Any]) -> NumberScale:
        """Returns the scale of the finite values: log if they are ≥ 0 and the largest exceeds 20 means."""
        finite = np.asarray(values, np.float64)[np.isfinite(values)]
        if not len(finite):
            return cls(name, False, 0.0, 1.0)
        log = bool(finite.min() >= 0 and finite.max() > 20 * finite.mean())
        if log:
            finite = np.log1p(finite)
        return cls(name, log, float(finite.mean()), float(finite.std()) or 1.0)

    def __call__(self, values: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) float32, 0 for NaN, clipped at ±8."""
        return _native.scaled(values, self.log, self.mean, self.scale)


class VectorColumn(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A column of vectors and their width."""

    name: str
    width: Annotated[int, Meta(ge=1, le=schema.MAX_VECTOR)]


class TableHead(Struct, frozen=True):
    """All of a ``TableCoder`` but the vocabularies, as an encoder's head stores it.

    Raises ValueError if two categories or two labels have one name, or a label has no rate.
    """

    own_id: bool
    categories: tuple[str, ...]
    counted: tuple[str, ...]
    priors: tuple[Rate, ...]
    numbers: tuple[NumberScale, ...]
    moments: tuple[NumberScale, ...]
    vectors: tuple[VectorColumn, ...] = ()

    def __post_init__(self) -> None:
        check_names("categories", self.categories)
        check_names("vectors", tuple(column.name for column in self.vectors))
        check_names("counted", self.counted)
        if len(self.priors) != len(self.counted):
            raise ValueError(f"priors has {len(self.priors)} rates, expected {len(self.counted)}")


@dataclass(frozen=True, eq=False)
class TableCoder:
    """Encodes the columns of a table. Any number of threads may call.

    own_id        True if the id of the row is the first category
    categories    names of category columns
    vocabularies  one for each category, that of the row's id first
    numbers       floating columns
    moments       columns of moments, whose ages are inputs
    counted       labels with a counter
    priors        overall rates of these labels
    type_code     0 for works and users. Else the code of all rows in place of that of their id; then columns
                  may be missing, which gives 0
    vectors       columns of vectors, which models read without a change
    """

    own_id: bool
    categories: tuple[str, ...]
    vocabularies: tuple[Vocabulary, ...]
    numbers: tuple[NumberScale, ...]
    moments: tuple[NumberScale, ...]
    counted: tuple[str, ...]
    priors: tuple[float, ...]
    type_code: int = 0
    vectors: tuple[VectorColumn, ...] = ()

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
        """Fits to the rows of training impressions.

        Args:
            rows: (M,) rows of the table.
            time_ms: (M,) times of the impressions.
            rates: overall rate by label.
        """
        counters = {name for name in table.columns if schema.is_counter(name)}
        vectors = [name for name in sorted(table.columns) if table[name].ndim == 2]
        plain = [name for name in sorted(table.columns) if name not in {*counters, *vectors}]
        integers = [name for name in plain if table[name].dtype.kind in "iub"]
        moments = [name for name in integers if name.endswith("_ms")]
        ranked = sorted(  # ids (creator, song) first
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
            vocabularies=tuple(build_vocabulary(np.asarray(column)[rows], min_count) for column in ids),
            numbers=tuple(
                NumberScale.fit(name, table[name][rows]) for name in plain if table[name].dtype.kind == "f"
            ),
            moments=tuple(NumberScale.fit(name, log_hours(table[name][rows], time_ms)) for name in moments),
            counted=counted,
            priors=tuple(float(np.clip(rates[label], 1e-6, 1 - 1e-6)) for label in counted),
            vectors=tuple(VectorColumn(name, table[name].shape[1]) for name in vectors),
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
    def vector_width(self) -> int:
        """Numbers of all vectors of a row."""
        return sum(column.width for column in self.vectors)

    @property
    def descriptions(self) -> dict[str, str]:
        """The inputs made from each column, in words."""
        categories = zip(self.category_names, self.vocabularies, strict=True)
        texts = {name: f"category, {len(keys):,} values and one for all others" for name, keys in categories}
        texts |= {number.name: "logarithm of a number" if number.log else "number" for number in self.numbers}
        texts |= {moment.name: "logarithm of the age in hours" for moment in self.moments}
        texts |= dict.fromkeys(self.counters[1:], "smoothed rate")
        texts |= {column.name: f"vector of {column.width} numbers" for column in self.vectors}
        return texts | dict.fromkeys(self.counters[:1], "logarithm of a count")

    @property
    def counters(self) -> tuple[str, ...]:
        """The counter columns in the order of ``counts``, empty if the table had no counters."""
        return (schema.EXPOSED, *map(schema.counter, self.counted)) if self.counted else ()

    def encode(self, table: Table) -> EncodedTable:
        """Encodes all rows. O(R · columns).

        Raises ValueError for a column that the table does not have, or vectors of another width.
        """
        wanted = [
            *self.categories,
            *(number.name for number in (*self.numbers, *self.moments)),
            *(column.name for column in self.vectors),
            *self.counters,
        ]
        missing = [name for name in wanted if name not in table.columns]
        if missing and not self.type_code:
            raise ValueError(f"the table lacks the columns {missing} that the encoder was fitted on")
        for column in (column for column in self.vectors if column.name not in missing):
            if table[column.name].shape[1:] != (column.width,):
                raise ValueError(
                    f"column {column.name!r} has shape {table[column.name].shape}, expected vectors of "
                    f"{column.width} numbers"
                )
        n = len(table)
        ids = np.zeros((n + 1, len(self.vocabularies)), np.int64)
        ids[:n] = self.encode_ids(table)
        numbers = np.zeros((n + 1, len(self.number_names)), np.float32)
        for at, number in enumerate(self.numbers):
            if number.name not in missing:
                numbers[:n, at] = number(table[number.name])
        moments = np.zeros((n + 1, len(self.moments)), np.int64)
        for at, moment in enumerate(self.moments):
            if moment.name not in missing:
                moments[:n, at] = table[moment.name]
        counts = np.zeros((n + 1, len(self.counters)), np.float32)
        for at, name in enumerate(self.counters):
            if name not in missing:
                counts[:n, at] = table[name]
        numbers[:, len(self.numbers) + len(self.moments) :] = self.scale_counters(counts)
        vectors = tuple(
            np.zeros((n, column.width), np.float32) if column.name in missing else table[column.name]
            for column in self.vectors
        )
        return EncodedTable(ids, numbers, moments, vectors)

    def encode_ids(self, table: Table) -> NDArray[Any]:
        """Returns (R, ·) int64 codes of the categories of all rows."""
        none = np.full(len(table), -1)
        columns = [table.ids] if self.own_id else []
        columns += [table.columns.get(name, none) for name in self.categories]
        codes = np.empty((len(table), len(columns)), np.int64)
        for at, (keys, column) in enumerate(zip(self.vocabularies, columns, strict=True)):
            codes[:, at] = keys.encode(column)
        if self.type_code:
            codes[:, 0] = self.type_code
        return codes

    def encode_category(self, category: str, values: NDArray[Any]) -> NDArray[Any]:
        """Returns (N,) int64 codes of ``values`` of the column ``category``."""
        return self.vocabularies[self.category_names.index(category)].encode(values)

    def compute_numbers(
        self,
        table: EncodedTable,
        rows: NDArray[Any],
        time_ms: int | NDArray[Any],
        counts: NDArray[Any] | None,
    ) -> NDArray[Any]:
        """Returns (N, J) float32: numbers, ages at ``time_ms``, and counters.

        The counters are those of ``counts`` (N, 1 + labels), or of the snapshot.
        """
        numbers = table.numbers.take(rows, axis=0)
        for at, moment in enumerate(self.moments):
            numbers[:, len(self.numbers) + at] = moment(log_hours(table.moments[rows, at], time_ms))
        if counts is not None:
            numbers[:, len(self.numbers) + len(self.moments) :] = self.scale_counters(counts)
        return numbers

    def scale_counters(self, counts: NDArray[Any]) -> NDArray[Any]:
        """Returns (N, 1 + labels) float32 inputs of ``counts``: impressions, then positives by label."""
        if counts.shape[1] != len(self.counters):
            raise ValueError(f"counts has shape {counts.shape}, expected (N, {len(self.counters)})")
        return scale_counters(counts, np.array(self.priors))

    def to_head(self) -> TableHead:
        names = (self.own_id, self.categories, self.counted, self.priors)
        return TableHead(*names, self.numbers, self.moments, self.vectors)

    def to_arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Returns the keys of the vocabularies by the name ``<prefix>.<number>``."""
        return {f"{prefix}.{at}": vocabulary.keys for at, vocabulary in enumerate(self.vocabularies)}

    @classmethod
    def from_head(cls, head: TableHead, arrays: Mapping[str, NDArray[Any]], prefix: str) -> TableCoder:
        """Returns the coder of ``to_head`` and ``to_arrays``. Raises ValueError that names a wrong array."""
        tables = [f"{prefix}.{at}" for at in range(len(head.categories) + head.own_id)]
        vocabularies = tuple(read_vocabulary(arrays, table) for table in tables)
        return cls(vocabularies=vocabularies, **structs.asdict(head))


def check_names(field: str, names: tuple[str, ...]) -> None:
    """Raises ValueError if a name appears twice."""
    if len(set(names)) < len(names):
        raise ValueError(f"{field} is {str(names)[:60]}, expected distinct names")


def scale_counters(counts: NDArray[Any], priors: NDArray[Any]) -> NDArray[Any]:
    """Returns (N, 1 + labels) float32, the log count and the smoothed rates of counters.

    Args:
        counts: (N, 1 + labels), impressions, then positives by label; without columns the result has none.
        priors: (labels,) or (N, labels) rates in (0, 1).
    """
    return _native.counter_numbers(counts, priors)


def log_hours(moments: NDArray[Any], time_ms: int | NDArray[Any]) -> NDArray[Any]:
    """Returns (N,) log1p of the hours from ``moments`` (N,) to ``time_ms``, ≥ 0, NaN if unknown."""
    return _native.log_hours(moments, np.broadcast_to(time_ms, len(moments)))
