"""How good a work is, from what is known when it is uploaded: a model's score, or a column."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from karec.errors import DataError
from karec.models.onnx_model import OnnxModel
from karec.screening.library import Kind
from karec.screening.settings import Settings

KIND, OUTPUT = "screening", "quality"
NUMBERS: tuple[Kind, ...] = ("integer", "number", "boolean")


class Judge(Protocol):
    """Any number of threads may call it. ``columns``: what it reads; ``digest``: equal digests judge alike;
    ``trained_until``: the last day it learned from, None where it did not learn.
    """

    columns: tuple[str, ...]
    digest: str
    trained_until: date | None

    def score(self, batch: Any) -> NDArray[Any]:
        """(N,) float32 of a pyarrow.RecordBatch; NaN: none."""


class Column:
    """A column of the uploads as it is."""

    def __init__(self, column: str) -> None:
        self.columns: tuple[str, ...] = (column,)
        self.digest = ""
        self.trained_until: date | None = None

    def score(self, batch: Any) -> NDArray[Any]:
        return numbers(batch.column(self.columns[0]))


class Model:
    """An ONNX model whose inputs are columns, each ``(N, 1) float32``, a missing cell NaN; its output is
    ``quality (N, 1)``. DataError: the file is no such model.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"{path} is missing: karec screen --train writes it")
        self._model = OnnxModel(path)
        if self._model.kind != KIND or OUTPUT not in self._model.outputs:
            raise DataError(f"{path} is a model of kind {self._model.kind!r}: one of kind {KIND!r} is wanted")
        self.columns = self._model.inputs
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        until = self._model.metadata.get("trained_until")
        self.trained_until = None if until is None else date.fromisoformat(until)

    def score(self, batch: Any) -> NDArray[Any]:
        inputs = {column: numbers(batch.column(column))[:, None] for column in self.columns}
        (found,) = self._model.run(inputs, OUTPUT)
        return np.asarray(found[:, 0])


def judge(settings: Settings) -> Judge:
    """What ``[quality]`` says."""
    if settings.quality.column is not None:
        return Column(settings.quality.column)
    assert settings.quality.model is not None
    return Model(settings.folder / settings.quality.model)


def scored(judge: Judge, batches: Iterable[Any], threads: int) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Each of ``batches`` and its scores, in order; ``threads`` batches are scored at once.

    One thread a batch: threads of ONNX Runtime's own within a batch wait for each other by spinning.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Any, Future[NDArray[Any]]]] = deque()
        for batch in batches:
            waiting.append((batch, pool.submit(judge.score, batch)))
            if len(waiting) > threads:
                first, scores = waiting.popleft()
                yield first, scores.result()
        for first, scores in waiting:
            yield first, scores.result()


def needed(columns: Sequence[str]) -> Iterator[tuple[str, Collection[Kind]]]:
    return ((column, NUMBERS) for column in columns)


def numbers(cells: Any) -> NDArray[Any]:
    """(N,) float32 of an Arrow array; a missing cell is NaN."""
    import pyarrow as pa

    return np.asarray(cells.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False), np.float32)
