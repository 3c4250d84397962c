"""What of a day's uploads has passed rules and quality, gathered batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# of a batch
ID, CELL, SONG, VECTOR, LISTED = "karec.id", "karec.cell", "karec.song", "karec.vector", "karec.listed"


class VectorLength(ValueError):
    """Vectors of a day have several lengths."""


class Gathered:
    """Rows in the order in which they were read. ``twice``: ids that stand in several rows, of which the
    first counts; ``seen``: those of them that were read. Counts: ``no_quality``, ``same_id``,
    ``not_compared``.
    """

    def __init__(self, twice: list[Any], seen: set[Any], dim: int) -> None:
        import pyarrow as pa

        self._twice, self._seen, self._dim = pa.array(twice) if twice else None, seen, dim
        self._ids: list[Any] = []
        self._columns: dict[str, list[NDArray[Any]]] = {"cell": [], "quality": [], "songs": [], "vectors": []}
        self.no_quality = self.same_id = self.not_compared = 0

    def add(self, batch: Any, quality: NDArray[Any]) -> None:
        """``batch`` has the columns ID and CELL, and where works are compared SONG and VECTOR. VectorLength:
        there are vectors of several lengths.
        """
        import pyarrow as pa

        stays = np.isfinite(quality)
        self.no_quality += int((~stays).sum())
        self._leave_repeats(batch.column(ID), stays)
        if not stays.all():
            batch, quality = batch.filter(pa.array(stays)), quality[stays]
        self._ids.append(batch.column(ID))
        self._columns["cell"].append(batch.column(CELL).to_numpy(zero_copy_only=False))
        self._columns["quality"].append(quality)
        if self._dim:
            songs = batch.column(SONG).to_numpy(zero_copy_only=False)
            self._columns["songs"].append(songs)
            vectors, there = vectors_of(batch.column(VECTOR), self._dim)
            self.not_compared += int((~there | (songs < 0)).sum())
            self._columns["vectors"].append(vectors)

    def column(self, what: str, empty: Any) -> NDArray[Any]:
        """All rows' ``cell``, ``quality``, ``songs`` or ``vectors``; what was gathered of it is let go."""
        parts, self._columns[what] = self._columns[what], []
        return np.concatenate(parts) if parts else np.empty(0, empty)

    def ids(self, kind: Any) -> Any:
        """All rows' ids, a pyarrow.ChunkedArray of the type ``kind``."""
        import pyarrow as pa

        return pa.chunked_array(self._ids, kind)

    def _leave_repeats(self, ids: Any, stays: NDArray[Any]) -> None:
        import pyarrow.compute as pc

        if self._twice is None:
            return
        repeated = pc.is_in(ids, value_set=self._twice).to_numpy(zero_copy_only=False) & stays
        for at in np.flatnonzero(repeated):
            value = ids[int(at)].as_py()
            if value in self._seen:
                stays[at] = False
                self.same_id += 1
            self._seen.add(value)


def vectors_of(cells: Any, dim: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(vectors (N, dim), int8 as they are, others as unit vectors in float16; (N,) bool: it is a vector). One
    that is missing, empty, all zeros or not finite is a row of zeros.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = np.asarray(pc.fill_null(cells.value_lengths(), 0).to_numpy(zero_copy_only=False))
    there = lengths > 0
    odd = lengths[there] != dim
    if odd.any():
        other = int(lengths[there][odd][0])
        raise VectorLength(f"content vectors of {dim} and of {other} numbers: one length is wanted")
    values = cells.flatten()
    if values.null_count:
        values = values.cast(pa.float32()).fill_null(float("nan"))
    given = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    if given.dtype != np.int8:
        unit = given.astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            unit /= np.sqrt(np.einsum("nd,nd->n", unit, unit))[:, None]
        given = np.where(np.isfinite(unit).all(axis=1)[:, None], unit, 0).astype(np.float16)
    vectors = np.zeros((len(there), dim), given.dtype)
    vectors[there] = given
    return vectors, np.asarray(vectors.any(axis=1))
