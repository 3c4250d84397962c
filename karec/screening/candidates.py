"""Collects the rows of a day that passed the rules and have a quality, batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# columns of a batch
ID, CELL, SONG, VECTOR, LISTED = "karec.id", "karec.cell", "karec.song", "karec.vector", "karec.listed"


class VectorLength(ValueError):
    """Vectors of a day have different lengths."""


class CandidateRows:
    """Rows in reading order.

    ``repeated_ids``: ids in several rows, of which the first counts. ``seen``: those that were read. Counts
    of rejected rows: ``no_quality``, ``same_id``, ``not_compared``.
    """

    def __init__(self, repeated_ids: list[Any], seen: set[Any], dim: int) -> None:
        import pyarrow as pa

        self._repeated_ids = pa.array(repeated_ids) if repeated_ids else None
        self._seen, self._dim = seen, dim
        self._ids: list[Any] = []
        self._columns: dict[str, list[NDArray[Any]]] = {"cell": [], "quality": [], "songs": [], "vectors": []}
        self.no_quality = self.same_id = self.not_compared = 0

    def add(self, batch: Any, quality: NDArray[Any]) -> None:
        """Adds rows of ``batch`` with the columns ID and CELL, and SONG and VECTOR if works are compared.

        Raises VectorLength if vectors have different lengths.
        """
        import pyarrow as pa

        is_kept = np.isfinite(quality)
        self.no_quality += int((~is_kept).sum())
        self._drop_repeats(batch.column(ID), is_kept)
        if not is_kept.all():
            batch, quality = batch.filter(pa.array(is_kept)), quality[is_kept]
        self._ids.append(batch.column(ID))
        self._columns["cell"].append(batch.column(CELL).to_numpy(zero_copy_only=False))
        self._columns["quality"].append(quality)
        if self._dim:
            songs = batch.column(SONG).to_numpy(zero_copy_only=False)
            self._columns["songs"].append(songs)
            vectors, has_vector = read_vectors(batch.column(VECTOR), self._dim)
            self.not_compared += int((~has_vector | (songs < 0)).sum())
            self._columns["vectors"].append(vectors)

    def take_column(self, column: str, dtype: Any) -> NDArray[Any]:
        """Returns ``cell``, ``quality``, ``songs`` or ``vectors`` and frees the parts."""
        parts, self._columns[column] = self._columns[column], []
        return np.concatenate(parts) if parts else np.empty(0, dtype)

    def ids(self, dtype: Any) -> Any:
        import pyarrow as pa

        return pa.chunked_array(self._ids, dtype)

    def _drop_repeats(self, ids: Any, is_kept: NDArray[Any]) -> None:
        import pyarrow.compute as pc

        if self._repeated_ids is None:
            return
        repeated = pc.is_in(ids, value_set=self._repeated_ids).to_numpy(zero_copy_only=False) & is_kept
        for row in np.flatnonzero(repeated):
            value = ids[int(row)].as_py()
            if value in self._seen:
                is_kept[row] = False
                self.same_id += 1
            self._seen.add(value)


def read_vectors(cells: Any, dim: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns vectors (N, dim), int8 or float16 of length 1, and (N,) bool: it has a vector.

    A vector that is missing, empty, all zeros or not finite becomes zeros.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = np.asarray(pc.fill_null(cells.value_lengths(), 0).to_numpy(zero_copy_only=False))
    has_vector = lengths > 0
    is_other = lengths[has_vector] != dim
    if is_other.any():
        other_length = int(lengths[has_vector][is_other][0])
        raise VectorLength(f"content vectors have {dim} and {other_length} numbers, expected one length")
    values = cells.flatten()
    if values.null_count:
        values = values.cast(pa.float32()).fill_null(float("nan"))
    rows = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    if rows.dtype != np.int8:
        unit = rows.astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            unit /= np.sqrt(np.einsum("nd,nd->n", unit, unit))[:, None]
        rows = np.where(np.isfinite(unit).all(axis=1)[:, None], unit, 0).astype(np.float16)
    vectors = np.zeros((len(has_vector), dim), rows.dtype)
    vectors[has_vector] = rows
    return vectors, np.asarray(vectors.any(axis=1))
