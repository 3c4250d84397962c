"""DPP problems, the backends that solve them, and the judge: a selection is checked step by step.

Two sequences may differ where float32 cannot tell two gains apart, so that what a selection takes must have a true gain
(float64, by determinants) within ``tolerance``·q² of the best one at that step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from karec import diversity
from karec.diversity import DppResult
from karec.kernels import reference

TOLERANCE = 1e-5
Select = Callable[..., DppResult]


def _as_result(function: Callable[..., Any]) -> Select:
    return lambda *args, **options: DppResult(*function(*args, **options))


def _on(backend: str, function: Select) -> Select:
    def select(*args: Any, **options: Any) -> DppResult:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KAREC_BACKEND", backend)
            return function(*args, **options)

    return select


SELECT: dict[str, Select] = {
    "native": _on("native", diversity.dpp_select),
    "portable": _on("portable", diversity.dpp_select),
    "reference": _as_result(reference.dpp_select),
}
SELECT_KERNEL: dict[str, Select] = {
    "native": _on("native", diversity.dpp_select_kernel),
    "portable": _on("portable", diversity.dpp_select_kernel),
    "reference": _as_result(reference.dpp_select_kernel),
}
every_backend = pytest.mark.parametrize("backend", sorted(SELECT))


@dataclass
class Problem:
    embeddings: NDArray[Any]
    relevance: NDArray[np.float32]
    k: int
    options: dict[str, Any] = field(default_factory=dict)

    def solve(self, backend: str, **changes: Any) -> DppResult:
        return SELECT[backend](self.embeddings, self.relevance, self.k, **{**self.options, **changes})

    @property
    def n(self) -> int:
        return len(self.relevance)

    @property
    def log_q(self) -> NDArray[np.float64]:
        alpha = self.options.get("alpha", reference.alpha_of(self.options.get("diversity", 0.5)))
        return reference.log_qualities(self.relevance, alpha, self.options.get("weights"))

    def unit_kernel(self) -> NDArray[np.float64]:
        """S + ridge·I: the kernel at q = 1."""
        s = reference.similarity(self.embeddings, self.options.get("types"), self.options.get("type_weight", 0.0))
        return s + self.options.get("ridge", 1e-2) * np.eye(self.n)

    def kernel(self) -> NDArray[np.float64]:
        q = np.exp(self.log_q)
        return q[:, None] * self.unit_kernel() * q[None, :]


def log_det(kernel: NDArray[np.float64], chosen: Sequence[int]) -> float:
    return float(np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])[1]) if len(chosen) else 0.0


def conditional_by_determinants(kernel: NDArray[np.float64], given_items: Sequence[int]) -> NDArray[np.float64]:
    """det K_{Y∪i} / det K_Y for each i, one determinant at a time."""
    base = log_det(kernel, given_items)
    rest = [i for i in range(len(kernel)) if i not in set(given_items)]
    out = np.zeros(len(kernel))
    for i in rest:
        out[i] = np.exp(log_det(kernel, [*given_items, i]) - base)
    return out


def assert_greedy(
    result: DppResult,
    kernel: NDArray[np.float64],
    q2: NDArray[np.float64],
    window: int | None,
    tolerance: float = TOLERANCE,
) -> None:
    """Each of the first n_dpp picks is the best one at its step, its gain is true, and nothing was left at the end."""
    first = np.diag(kernel)
    picks = result.indices[: result.n_dpp].tolist()
    for t in range(result.n_dpp + 1):
        near = picks[:t] if window is None else picks[max(0, t - window + 1) : t]
        rho = conditional_by_determinants(kernel, near)
        rho[picks[:t]] = 0.0
        gains = q2 * np.where(rho > 1e-6 * first, rho, 0.0)
        if t < result.n_dpp:
            assert gains[picks[t]] >= gains.max() - tolerance * q2[picks[t]], f"step {t}"
            assert result.gains[t] == pytest.approx(q2[picks[t]] * rho[picks[t]], abs=tolerance * q2[picks[t]])
        elif t < min(len(kernel), len(result.indices)):
            assert np.all(rho[q2 > 0] <= (1e-6 + tolerance) * first[q2 > 0]), "stopped too early"


@st.composite
def problems(draw: st.DrawFn, *, plain: bool = False) -> Problem:
    """Random items, some of them alike, some zero; with every option on or off unless ``plain``."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, dim = draw(st.integers(1, 40)), draw(st.integers(1, 20))
    k = draw(st.integers(1, n + 2))
    embeddings = rng.standard_normal((n, dim)).astype(draw(st.sampled_from([np.float32, np.float16])))
    if draw(st.booleans()):
        embeddings = embeddings[rng.integers(0, max(1, n // 2), n)]
    if draw(st.booleans()):
        embeddings[rng.integers(0, n)] = 0
    relevance = draw(st.sampled_from([1.0, 0.0])) * rng.standard_normal(n).astype(np.float32)
    options: dict[str, Any] = {
        "ridge": draw(st.sampled_from([1e-2, 0.0, 1e-4, 1.0, 10.0])),
        "diversity": draw(st.sampled_from([0.5, 0.1, 0.9, 1.0])),
    }
    if not plain:
        if draw(st.booleans()):
            options["weights"] = rng.random(n).astype(np.float32)
        if draw(st.booleans()):
            options |= {"types": rng.integers(-2, 3, n), "type_weight": draw(st.sampled_from([0.2, 1.0]))}
        options["window"] = draw(st.sampled_from([None, 1, 2, 5, n + 5]))
    return Problem(embeddings, relevance.astype(np.float32), k, options)


def generic(seed: int, n: int = 60, dim: int = 8, k: int = 20, **options: Any) -> Problem:
    """Items without ties or near-ties, where every backend takes the very same sequence."""
    rng = np.random.default_rng(seed)
    relevance = rng.standard_normal(n).astype(np.float32)
    return Problem(rng.standard_normal((n, dim)).astype(np.float32), relevance, k, options)
