"""Selector by a determinantal point process over scores and similarity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import numpy as np

from karec.diversity import DiversityResult, DppOptions, check_dpp_options, dpp_select
from karec.diversity.options import needs_types
from karec.index import IndexSchema
from karec.kernels.arguments import DIVERSITY, RIDGE, positive_or_none
from karec.pipeline.step import Selector
from karec.pipeline.types import Array, Candidates, Request, Selection
from karec.steps.shared.similarity import PLAIN, CandidateSimilarity, ComparedItems, Similarity
from karec.steps.shared.vectors import Parts

MAX_WEIGHT = 1e38  # of an item; products of factors up to it are finite in float32, however they are rounded


class Dpp(Selector):
    """Greedy MAP of a determinantal point process over the candidates, as defined at
    ``karec.diversity.dpp_select``.

    Scores are standardised first (mean 0, standard deviation 1), so that ``diversity`` has the same effect on
    inner products and probabilities. An item without a row has a zero vector: its gain is at most q²·(ridge +
    type_weight), so it is placed near the end. A request with ``explain`` finds ``explanation`` in the
    step's notes.

    Settings:
        k: maximum number of items. Absent: the request's k.
        diversity: in [0, 1]. 0 is plain top-k.
        ridge: in [0, 10], added to the diagonal of the similarity matrix.
        type_weight: in [0, 1]: similarity of two items of one type beyond their vectors.
        window: number of neighbouring positions that count as near. Absent: the whole list.
        weights: {column: {value: factor ≥ 0}} of relevance, for integer columns of the index. Factors of an
            item are multiplied, at most to 1e38. A value that is not named has 1.
        types: integer column of the item's type. Items without a row have a type of their own.
        max_per_type: maximum number of items of one type; the list may then be shorter than k.
        min_per_type: minimum number of items of each type, less if candidates or positions do not suffice.
        similarity: the vectors and columns that are compared.
    """

    needs = ("rows", "scores")

    def __init__(
        self,
        schema: IndexSchema,
        k: int | None = None,
        diversity: float = DIVERSITY,
        ridge: float = RIDGE,
        type_weight: float = 0.0,
        window: int | None = None,
        weights: Mapping[str, Mapping[str, float]] | None = None,
        types: str = "type",
        max_per_type: int | None = None,
        min_per_type: int = 0,
        similarity: Similarity | None = None,
        bundle: Parts | None = None,
    ) -> None:
        self.k = positive_or_none("k", k)
        self.options = DppOptions(
            diversity=diversity,
            ridge=ridge,
            type_weight=type_weight,
            window=window,
            max_per_type=max_per_type,
            min_per_type=min_per_type,
            standardise=True,
        )
        check_dpp_options(**self.options)  # refuses a value out of range now, not in a request
        self.diversity = diversity
        self.typed = needs_types(type_weight, max_per_type, min_per_type)
        if self.typed:
            schema.check_column(types, "types", is_integer=True)
        elif types != "type":
            raise ValueError(
                f"types names {types!r}, but type_weight, max_per_type and min_per_type ask for no types"
            )
        self.schema = schema
        self.similarity = CandidateSimilarity(
            schema, bundle, similarity or PLAIN, float(self.options["type_weight"])
        )
        self.types = types
        self.weights = {column: _factors(schema, column, table) for column, table in (weights or {}).items()}
        max_weight = math.prod(max([1.0, *factors.values()]) for factors in self.weights.values())
        if max_weight > MAX_WEIGHT:
            raise ValueError(
                f"weights: the factors of an item can multiply to {max_weight:g}, expected at most 1e38"
            )

    def with_diversity(self, diversity: float) -> Self:
        """Returns a step with another ``diversity`` that shares all else."""
        copied = copy(self)
        copied.options = {**self.options, "diversity": diversity}
        check_dpp_options(**copied.options)
        copied.diversity = diversity
        return copied

    def select(self, request: Request, candidates: Candidates) -> Selection:
        if not len(candidates):
            return Selection(np.empty(0, np.int64))
        compared_items = self.similarity.compare(request, candidates, is_in_place=not request.explain)
        options: DppOptions = {
            **self.options,
            "types": self._types(request, candidates) if self.typed else None,
            "weights": self._traffic(request, candidates),
            "facets": compared_items.facets,
            "facet_weights": self.similarity.weights,
        }
        if len(compared_items.shown):
            options |= {"shown": compared_items.shown, "shown_facets": compared_items.shown_facets}
        k = request.k if self.k is None else self.k
        if compared_items.vectors is None:
            result = request.index.dpp_select(candidates.rows, candidates.scores, k, **options)
        else:
            result = dpp_select(compared_items.vectors, candidates.scores, k, **options)
        notes: dict[str, Any] = {"n_dpp": result.n_dpp, "log_det": result.log_det}
        if request.explain:
            notes["explanation"] = explanation(
                candidates, result, compared_items, self.similarity.settings.facets
            )
        return Selection(result.indices, None, notes)

    def _types(self, request: Request, candidates: Candidates) -> Array:
        types = request.index.gather(self.types, candidates.rows).astype(np.int64)
        is_unknown = candidates.rows < 0
        if is_unknown.any():
            types[is_unknown] = _unused_code(types)
        return types

    def _traffic(self, request: Request, candidates: Candidates) -> Array | None:
        if not self.weights:
            return None
        weights = np.ones(len(candidates), np.float32)
        for column, factors in self.weights.items():
            values = request.index.gather(column, candidates.rows)
            for value, factor in factors.items():
                weights[(candidates.rows >= 0) & (values == value)] *= factor
        return weights


def _unused_code(codes: Array) -> int:
    """Returns the largest negative code that is not in ``codes`` (n,): one of −1, …, −(n + 1). O(n)."""
    is_used = np.zeros(len(codes) + 1, np.bool_)
    is_used[-1 - codes[(codes < 0) & (codes >= -len(is_used))]] = True
    return -1 - int(np.argmin(is_used))


def _factors(schema: IndexSchema, column: str, table: Mapping[str, float]) -> dict[int, float]:
    schema.check_column(column, "weights", is_integer=True)
    for value, factor in table.items():
        if not value.removeprefix("-").isdecimal():
            raise ValueError(
                f"weights.{column}: {value!r} is not an integer; the keys are values of the column"
            )
        if not -(2**63) <= int(value) < 2**63:
            raise ValueError(f"weights.{column}: {value} is out of the range of int64")
        if not (factor >= 0 and np.isfinite(factor)):
            raise ValueError(f"weights.{column}: the factor of {value} must be finite and ≥ 0, got {factor}")
    return {int(value): float(factor) for value, factor in table.items()}


def explanation(
    candidates: Candidates, result: DiversityResult, compared: ComparedItems, facets: Mapping[str, float]
) -> dict[str, Any]:
    """Returns values for a trace: ``works`` in the order of selection, and ``top_k``, the best ids by
    relevance only.

    Each item has:

    id          the item
    relevance   its score before the step
    gain        d² when it was selected; 0 if it was filled in
    closest     id of the most similar item before it, selected or shown in the session; None if there is none
    similarity  with ``closest``: of the vectors and of ``facets`` {column: weight}, without types
    cosine      of the vectors with ``closest``
    same        columns of ``facets`` in which both have the same value
    """
    assert compared.vectors is not None  # a request with explain has copies
    order = result.indices
    shown_ids, weights = compared.shown_ids, np.array(list(facets.values()))
    ids = np.concatenate([shown_ids, candidates.ids[order]])
    f = np.concatenate([compared.shown, compared.vectors[order]]).astype(np.float64)
    codes = np.concatenate([compared.shown_facets, compared.facets[:, order]], axis=1)
    lengths = np.linalg.norm(f, axis=1, keepdims=True)
    f = np.divide(f, lengths, out=np.zeros_like(f), where=lengths > 0)
    works = []
    for place, (index, gain) in enumerate(zip(order, result.gains, strict=True)):
        n_before = len(shown_ids) + place
        work = {
            "id": int(candidates.ids[index]),
            "relevance": float(candidates.scores[index]),
            "gain": float(gain),
        }
        near: dict[str, Any] = {"closest": None, "similarity": None, "cosine": None, "same": []}
        if n_before:
            cosines, is_same = f[:n_before] @ f[n_before], codes[:, :n_before] == codes[:, n_before, None]
            alike = (1 - weights.sum()) * cosines + weights @ is_same
            closest = int(np.argmax(alike))
            near = {"closest": int(ids[closest]), "similarity": float(alike[closest])}
            near["cosine"] = float(cosines[closest])
            near["same"] = [
                column for column, equal in zip(facets, is_same[:, closest], strict=True) if equal
            ]
        works.append(work | near)
    plain = np.argsort(-candidates.scores, kind="stable")[: len(order)]
    return {"works": works, "top_k": candidates.ids[plain].tolist()}
