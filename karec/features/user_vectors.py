"""User vectors of a request, one for each model version in the item index.

A request has the features ``user_vector`` (V, D) float32, one row for each model version, and
``user_vector_versions`` (V,) int64. Without the latter, ``user_vector`` (1, D) is the query for an index with
one version. With wide towers it also has ``user_tables`` (V,), an object {code column: CodeTable} for each
version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from karec.errors import ContractError, Unavailable
from karec.index import IndexView
from karec.index.code_tables import QueryTables
from karec.pipeline.types import Request

if TYPE_CHECKING:  # a process with only an index needs no ONNX Runtime
    from karec.features.cross_tables import CrossTables
    from karec.models.onnx_model import OnnxModel

VECTOR, VERSIONS, TABLES = "user_vector", "user_vector_versions", "user_tables"

T = TypeVar("T")

Query = NDArray[Any] | dict[int, NDArray[Any]]  # (D,), or (D,) by model version


def run_user_towers(
    user_towers: Mapping[int, OnnxModel], view: IndexView, features: Mapping[str, NDArray[Any]]
) -> dict[int, NDArray[Any]]:
    """Returns {model version: user vector (D,) float32} for the versions of ``view`` with a tower, ascending.

    Each tower runs once, on ``features``. An empty index has the vectors of all towers.

    Raises:
        ContractError: an input of a tower is missing.
        Unavailable: none of the versions has a tower.
    """
    versions = view.model_versions or tuple(user_towers)
    vectors = {v: user_towers[v].run(features, VECTOR)[0][0] for v in versions if v in user_towers}
    if not vectors:
        raise Unavailable(
            f"the index holds vectors of model versions {list(versions)}, there are user towers of "
            f"{sorted(user_towers)}"
        )
    return vectors


def make_tables(
    cross_tables: Mapping[int, CrossTables], versions: Iterable[int], features: Mapping[str, NDArray[Any]]
) -> dict[int, QueryTables | None]:
    """Returns {model version: tables of the user}; None for a version that is not in ``cross_tables``."""
    return {
        version: cross_tables[version].make(features) if version in cross_tables else None
        for version in versions
    }


def user_query(request: Request) -> Query:
    """Returns the user vector (D,) for a search in ``request.index``, or {model version: user vector}.

    Raises:
        Unavailable: the request has no user vector.
        ContractError: the index has several model versions, and the user vector has none.
    """
    if VECTOR not in request.features:
        raise Unavailable(
            f"the request has no {VECTOR}: the step that gives it failed, or the scene has none (user_tower)"
        )
    vectors = request.features[VECTOR]
    versions = request.index.model_versions
    if VERSIONS not in request.features:
        if len(vectors) != 1 or len(versions) > 1:
            raise ContractError(
                f"the index holds vectors of model versions {list(versions)}, and the request has "
                f"{len(vectors)} user vectors without {VERSIONS}: the step that gives {VECTOR} must give both"
            )
        return np.asarray(vectors[0])
    return _select_version(request, vectors)


def user_tables(request: Request) -> QueryTables | dict[int, QueryTables] | None:
    """Returns the tables that a search with ``user_query`` needs.

    None if the towers are not wide, or if the index has no code columns: that of another item type, whose
    vectors are means of works' vectors.
    """
    if TABLES not in request.features or not request.index.code_columns:
        return None
    return _select_version(request, request.features[TABLES])


def _select_version(request: Request, values: Iterable[T]) -> T | dict[int, T]:
    """Returns {model version: value}, or the value of the index's only version."""
    numbers: list[int] = request.features[VERSIONS].tolist()
    by_version = dict(zip(numbers, values, strict=True))
    versions = request.index.model_versions
    if len(versions) == 1 and versions[0] in by_version:
        return by_version[versions[0]]  # faster than a mapping, with the same bits
    return by_version
