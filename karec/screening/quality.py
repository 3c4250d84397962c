"""Quality of a work from what is known at its upload: the score of a model, or a column."""

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
from karec.screening.library import ColumnType
from karec.screening.settings import ScreeningSettings

KIND, OUTPUT = "screening", "quality"
NUMBERS: tuple[ColumnType, ...] = ("integer", "number", "boolean")


class QualityScorer(Protocol):
    """Scores works. Any number of threads may call it.

    columns         the columns that it reads
    digest          equal digests give equal scores
    trained_until   the last training day; None without training
    """

    columns: tuple[str, ...]
    digest: str
    trained_until: date | None

    def score(self, batch: Any) -> NDArray[Any]:
        """Returns (N,) float32 for a pyarrow.RecordBatch; NaN: no quality."""


class ColumnScorer:
    def __init__(self, column: str) -> None:
        self.columns: tuple[str, ...] = (column,)
        self.digest = ""
        self.trained_until: date | None = None

    def score(self, batch: Any) -> NDArray[Any]:
        return to_float32(batch.column(self.columns[0]))


class ModelScorer:
    """ONNX model with one input ``(N, 1) float32`` per column and the output ``quality (N, 1)``.

    Raises DataError if the file is not such a model.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"{path} is missing. Train it with karec screen --train.")
        self._model = OnnxModel(path)
        if self._model.kind != KIND or OUTPUT not in self._model.outputs:
            raise DataError(f"{path}: the model's kind is {self._model.kind!r}, expected {KIND!r}")
        self.columns = self._model.inputs
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        until = self._model.metadata.get("trained_until")
        self.trained_until = None if until is None else date.fromisoformat(until)

    def score(self, batch: Any) -> NDArray[Any]:
        inputs = {column: to_float32(batch.column(column))[:, None] for column in self.columns}
        (quality,) = self._model.run(inputs, OUTPUT)
        return np.asarray(quality[:, 0])


def make_scorer(settings: ScreeningSettings) -> QualityScorer:
    if settings.quality.column is not None:
        return ColumnScorer(settings.quality.column)
    assert settings.quality.model is not None
    return ModelScorer(settings.folder / settings.quality.model)


def score_batches(
    scorer: QualityScorer, batches: Iterable[Any], threads: int
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yields each batch with its scores, in order; ``threads`` batches are scored at once.

    Each batch uses one thread: ONNX Runtime's threads within a batch would wait for each other by spinning.
    """
    with ThreadPoolExecutor(threads) as pool:
        running: deque[tuple[Any, Future[NDArray[Any]]]] = deque()
        for batch in batches:
            running.append((batch, pool.submit(scorer.score, batch)))
            if len(running) > threads:
                first, scores = running.popleft()
                yield first, scores.result()
        for first, scores in running:
            yield first, scores.result()


def needed_columns(columns: Sequence[str]) -> Iterator[tuple[str, Collection[ColumnType]]]:
    return ((column, NUMBERS) for column in columns)


def to_float32(cells: Any) -> NDArray[Any]:
    """Returns (N,) float32 of an Arrow array; a missing cell is NaN."""
    import pyarrow as pa

    return np.asarray(cells.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False), np.float32)
