"""DPP, MMR and SSD through the C interface and through Python: the same picks, and the same bits of every
number."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from cpp_programs import run

from karec.diversity import dpp_select, mmr_select, ssd_select

F32, F64, I64 = (
    ctypes.POINTER(ctypes.c_float),
    ctypes.POINTER(ctypes.c_double),
    ctypes.POINTER(ctypes.c_int64),
)
KAREC_FLOAT = {np.dtype(np.float16): 9, np.dtype(np.float32): 10}
N, DIM, K, N_SHOWN = 700, 24, 90, 12


class Matrix(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("rows", ctypes.c_size_t),
        ("cols", ctypes.c_size_t),
        ("row_stride", ctypes.c_size_t),
        ("dtype", ctypes.c_int32),
    ]


class Facets(ctypes.Structure):
    _fields_ = [
        ("n_facets", ctypes.c_size_t),
        ("facets", I64),
        ("facet_weights", F64),
        ("shown_facets", I64),
    ]


class MmrSsdOptions(ctypes.Structure):
    _anonymous_ = ("alike",)
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("diversity", ctypes.c_double),
        ("shown", ctypes.POINTER(Matrix)),
        ("window", ctypes.c_size_t),
        ("alike", Facets),
    ]


class DppOptions(ctypes.Structure):
    _anonymous_ = ("alike",)
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("alpha", ctypes.c_double),
        ("ridge", ctypes.c_double),
        ("type_weight", ctypes.c_double),
        ("weights", F32),
        ("types", I64),
        ("shown", ctypes.POINTER(Matrix)),
        ("window", ctypes.c_size_t),
        ("max_per_type", ctypes.c_size_t),
        ("min_per_type", ctypes.c_size_t),
        ("fill", ctypes.c_int32),
        ("alike", Facets),
    ]


class DppCount(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("selected", ctypes.c_size_t),
        ("n_dpp", ctypes.c_size_t),
        ("log_det", ctypes.c_double),
    ]


@pytest.fixture(scope="module")
def c_library(cmake, native_programs) -> ctypes.CDLL:
    build = native_programs.parents[1]
    run(cmake, "--build", build, "--target", "karec_shared")
    library = ctypes.CDLL(str(build / "native" / "libkarec.so"))
    library.karec_last_error.restype = ctypes.c_char_p
    return library


def pointer(array: np.ndarray | None, to: Any) -> Any:
    return None if array is None else array.ctypes.data_as(to)


def matrix(array: np.ndarray) -> Matrix:
    dtype = KAREC_FLOAT[array.dtype]
    return Matrix(ctypes.sizeof(Matrix), array.ctypes.data, *array.shape, array.strides[0], dtype)


class Input:
    """Works of few creators and fewer songs, and what was shown of them."""

    def __init__(self, dtype: str, n_facets: int, n_shown: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.embeddings = rng.standard_normal((N, DIM)).astype(dtype)
        self.shown = rng.standard_normal((n_shown, DIM)).astype(dtype) if n_shown else None
        self.relevance = rng.standard_normal(N).astype(np.float32)
        self.facets = rng.integers(-3, 40, (n_facets, N)) if n_facets else None
        self.shown_facets = rng.integers(-3, 40, (n_facets, n_shown)) if n_facets and n_shown else None
        self.facet_weights = np.array([0.3, 0.2, 0.1][:n_facets])

    def told(self, **more: Any) -> dict[str, Any]:
        """As Python's functions take it."""
        alike = {
            "facets": self.facets,
            "facet_weights": tuple(self.facet_weights),
            "shown_facets": self.shown_facets,
        }
        return {"shown": self.shown, **alike, **more}

    def into(self, options: Any, window: int | None) -> None:
        """As the C functions take it."""
        self.shown_matrix = None if self.shown is None else matrix(self.shown)
        options.struct_size = ctypes.sizeof(options)
        options.shown = None if self.shown_matrix is None else ctypes.pointer(self.shown_matrix)
        options.window = window or 0
        options.n_facets = len(self.facet_weights)
        options.facets = pointer(self.facets, I64)
        options.facet_weights = pointer(self.facet_weights, F64)
        options.shown_facets = pointer(self.shown_facets, I64)


def call(function: Any, given: Input, options: Any, count: Any) -> tuple[np.ndarray, np.ndarray]:
    indices, numbers = np.empty(K, np.int64), np.empty(K)
    items = matrix(given.embeddings)
    head = ctypes.byref(items), pointer(given.relevance, F32), ctypes.c_size_t(N), ctypes.byref(options)
    status = function(
        *head, pointer(indices, I64), pointer(numbers, F64), ctypes.c_size_t(K), ctypes.byref(count)
    )
    assert status == 0
    return indices, numbers


given = pytest.mark.parametrize(
    ("dtype", "n_facets", "n_shown", "window"),
    [
        ("float32", 0, 0, None),
        ("float32", 3, 0, None),
        ("float16", 2, N_SHOWN, None),
        ("float32", 3, N_SHOWN, 6),
        ("float16", 1, 0, 6),
    ],
)


@given
@pytest.mark.parametrize("name", ["mmr", "ssd"])
def test_c_gives_the_picks_and_scores_of_python(c_library, name, dtype, n_facets, n_shown, window):
    told = Input(dtype, n_facets, n_shown, seed=4)
    options = MmrSsdOptions(diversity=0.7)
    told.into(options, window)
    selected = ctypes.c_size_t(0)
    indices, scores = call(getattr(c_library, f"karec_{name}_select_with"), told, options, selected)
    select = {"mmr": mmr_select, "ssd": ssd_select}[name]
    expected = select(told.embeddings, told.relevance, K, **told.told(diversity=0.7, window=window))
    assert selected.value == K
    np.testing.assert_array_equal(indices, expected.indices)
    assert scores.tobytes() == expected.gains.tobytes()


@given
def test_c_gives_the_picks_and_gains_of_pythons_dpp(c_library, dtype, n_facets, n_shown, window):
    told = Input(dtype, n_facets, n_shown, seed=5)
    options = DppOptions(alpha=0.5, ridge=0.01, fill=1)
    told.into(options, window)
    count = DppCount(struct_size=ctypes.sizeof(DppCount))
    indices, gains = call(c_library.karec_dpp_select, told, options, count)
    expected = dpp_select(
        told.embeddings, told.relevance, K, **told.told(alpha=0.5, ridge=0.01, window=window)
    )
    assert (count.selected, count.n_dpp, count.log_det) == (K, expected.n_dpp, expected.log_det)
    np.testing.assert_array_equal(indices, expected.indices)
    assert gains.tobytes() == expected.gains.tobytes()


@pytest.mark.parametrize("name", ["mmr", "ssd"])
def test_both_refuse_the_same_weights_with_the_same_words(c_library, name):
    select = {"mmr": mmr_select, "ssd": ssd_select}[name]
    for weights in ([0.7, 0.7], [0.5, -0.1], [np.nan, 0.1]):
        told = Input("float32", 2, 0, seed=6)
        told.facet_weights = np.array(weights)
        options = MmrSsdOptions(diversity=0.5)
        told.into(options, None)
        with pytest.raises(AssertionError):
            call(getattr(c_library, f"karec_{name}_select_with"), told, options, ctypes.c_size_t(0))
        with pytest.raises(ValueError, match="facet_weights"):
            select(told.embeddings, told.relevance, K, **told.told())
        assert b"facet_weights" in c_library.karec_last_error()
