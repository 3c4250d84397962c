"""The user vector as steps read it: one for each model version that rows of the item index are of.

A request has the features ``user_vector (V, D) float32``, one row a model version, and ``user_vector_versions
(V,) int64``, which versions they are; without the latter, ``user_vector (1, D)`` fits every row of an index
of one version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from karec.errors import ContractError, Unavailable
from karec.index import IndexView
from karec.pipeline.types import Request

if TYPE_CHECKING:  # a host of an index alone needs no ONNX Runtime
    from karec.models.onnx_model import OnnxModel

VECTOR, VERSIONS = "user_vector", "user_vector_versions"


def vectors_by_version(
    user_towers: Mapping[int, OnnxModel], view: IndexView, features: Mapping[str, NDArray[Any]]
) -> dict[int, NDArray[Any]]:
    """{model version: user vector (D,) float32} of each version that rows of ``view`` are of and that has a
    tower, ascending: one pass each in ONNX Runtime, over the user's ``features``. Of an empty index: of every
    tower.

    ContractError: an input of a tower is not there. Unavailable: none of the versions has a tower.
    """
    standing = view.model_versions or tuple(user_towers)
    vectors = {v: user_towers[v].run(features, VECTOR)[0][0] for v in standing if v in user_towers}
    if not vectors:
        raise Unavailable(
            f"the index holds vectors of model versions {list(standing)}, there are user towers of "
            f"{sorted(user_towers)}"
        )
    return vectors


def user_queries(request: Request) -> tuple[NDArray[Any] | None, dict[int, NDArray[Any]] | None]:
    """(query, query_by_version) for a search in ``request.index``; one of the two is None.

    One query where the index holds vectors of one version, which is quicker and gives the same bits.

    Unavailable: the request has no user vector. ContractError: the index holds vectors of several versions,
    and nothing says which the user vector is of.
    """
    if VECTOR not in request.features:
        raise Unavailable(
            f"the request has no {VECTOR}: the step that gives it failed, or the scene has none (user_tower)"
        )
    vectors = request.features[VECTOR]
    standing = request.index.model_versions
    if VERSIONS not in request.features:
        if len(vectors) != 1 or len(standing) > 1:
            raise ContractError(
                f"the index holds vectors of model versions {list(standing)}, and the request has "
                f"{len(vectors)} user "
                f"vectors without {VERSIONS}: whoever gives {VECTOR} must say which versions they are of"
            )
        return vectors[0], None
    return queries_of(dict(zip(request.features[VERSIONS].tolist(), vectors, strict=True)), standing)


def queries_of(
    by_version: dict[int, NDArray[Any]], standing: tuple[int, ...]
) -> tuple[NDArray[Any] | None, dict[int, NDArray[Any]] | None]:
    """As ``user_queries``, for vectors by model version and an index whose rows are of the versions
    ``standing``."""
    if len(standing) == 1 and standing[0] in by_version:
        return by_version[standing[0]], None
    return None, by_version
