"""DPP, MMR and SSD select the same items with the same bits through C and through Python."""

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
        ("dtype", ctypes.c_int32),
    ]


class Facets(ctypes.Structure):
    _fields_ = [
        ("n_facets", ctypes.c_size_t),
        ("facets", I64),
        ("facet_weights", F64),
        ("shown", ctypes.POINTER(Matrix)),
        ("shown_facets", I64),
    ]


class MmrSsdOptions(ctypes.Structure):
    _anonymous_ = ("facets_and_shown",)
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("diversity", ctypes.c_double),
        ("facets_and_shown", Facets),
        ("window", ctypes.c_size_t),
    ]


class DppOptions(ctypes.Structure):
    _anonymous_ = ("facets_and_shown",)
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("alpha", ctypes.c_double),
        ("ridge", ctypes.c_double),
        ("weights", F32),
        ("types", I64),
        ("type_weight", ctypes.c_double),
        ("max_per_type", ctypes.c_size_t),
        ("min_per_type", ctypes.c_size_t),
        ("facets_and_shown", Facets),
        ("window", ctypes.c_size_t),
        ("fill", ctypes.c_int32),
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


def pointer(array: np.ndarray | None, pointer_type: Any) -> Any:
    return None if array is None else array.ctypes.data_as(pointer_type)


def matrix(array: np.ndarray) -> Matrix:
    dtype = KAREC_FLOAT[array.dtype]
    return Matrix(ctypes.sizeof(Matrix), array.ctypes.data, *array.shape, dtype)


class Input:
    """Items with facets of many equal values, and shown items."""

    def __init__(self, dtype: str, n_facets: int, n_shown: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.embeddings = rng.standard_normal((N, DIM)).astype(dtype)
        self.shown = rng.standard_normal((n_shown, DIM)).astype(dtype) if n_shown else None
        self.relevance = rng.standard_normal(N).astype(np.float32)
        self.facets = rng.integers(-3, 40, (n_facets, N)) if n_facets else None
        self.shown_facets = rng.integers(-3, 40, (n_facets, n_shown)) if n_facets and n_shown else None
        self.facet_weights = np.array([0.3, 0.2, 0.1][:n_facets])

    def to_arguments(self, **options: Any) -> dict[str, Any]:
        """Returns the arguments of Python's functions."""
        facets = {
            "facets": self.facets,
            "facet_weights": tuple(self.facet_weights),
            "shown_facets": self.shown_facets,
        }
        return {"shown": self.shown, **facets, **options}

    def fill_options(self, options: Any, window: int | None) -> None:
        """Sets the options of the C functions."""
        self.shown_matrix = None if self.shown is None else matrix(self.shown)
        options.struct_size = ctypes.sizeof(options)
        options.shown = None if self.shown_matrix is None else ctypes.pointer(self.shown_matrix)
        options.window = window or 0
        options.n_facets = len(self.facet_weights)
        options.facets = pointer(self.facets, I64)
        options.facet_weights = pointer(self.facet_weights, F64)
        options.shown_facets = pointer(self.shown_facets, I64)


def call(function: Any, problem: Input, options: Any, count: Any) -> tuple[np.ndarray, np.ndarray]:
    indices, numbers = np.empty(K, np.int64), np.empty(K)
    items = matrix(problem.embeddings)
    head = ctypes.byref(items), pointer(problem.relevance, F32), ctypes.c_size_t(N), ctypes.byref(options)
    status = function(
        *head, pointer(indices, I64), pointer(numbers, F64), ctypes.c_size_t(K), ctypes.byref(count)
    )
    assert status == 0
    return indices, numbers


with_inputs = pytest.mark.parametrize(
    ("dtype", "n_facets", "n_shown", "window"),
    [
        ("float32", 0, 0, None),
        ("float32", 3, 0, None),
        ("float16", 2, N_SHOWN, None),
        ("float32", 3, N_SHOWN, 6),
        ("float16", 1, 0, 6),
    ],
)


@with_inputs
@pytest.mark.parametrize("name", ["mmr", "ssd"])
def test_c_selects_as_python_by_mmr_and_ssd(c_library, name, dtype, n_facets, n_shown, window):
    problem = Input(dtype, n_facets, n_shown, seed=4)
    options = MmrSsdOptions(diversity=0.7)
    problem.fill_options(options, window)
    selected = ctypes.c_size_t(0)
    indices, scores = call(getattr(c_library, f"karec_{name}_select"), problem, options, selected)
    select = {"mmr": mmr_select, "ssd": ssd_select}[name]
    expected = select(
        problem.embeddings, problem.relevance, K, **problem.to_arguments(diversity=0.7, window=window)
    )
    assert selected.value == K
    np.testing.assert_array_equal(indices, expected.indices)
    assert scores.tobytes() == expected.gains.tobytes()


@with_inputs
def test_c_selects_as_python_by_dpp(c_library, dtype, n_facets, n_shown, window):
    problem = Input(dtype, n_facets, n_shown, seed=5)
    options = DppOptions(alpha=0.5, ridge=0.01, fill=1)
    problem.fill_options(options, window)
    count = DppCount(struct_size=ctypes.sizeof(DppCount))
    indices, gains = call(c_library.karec_dpp_select, problem, options, count)
    expected = dpp_select(
        problem.embeddings, problem.relevance, K, **problem.to_arguments(alpha=0.5, ridge=0.01, window=window)
    )
    assert (count.selected, count.n_dpp, count.log_det) == (K, expected.n_dpp, expected.log_det)
    np.testing.assert_array_equal(indices, expected.indices)
    assert gains.tobytes() == expected.gains.tobytes()


@pytest.mark.parametrize("name", ["mmr", "ssd"])
def test_c_rejects_facet_weights_that_python_rejects(c_library, name):
    select = {"mmr": mmr_select, "ssd": ssd_select}[name]
    for weights in ([0.7, 0.7], [0.5, -0.1], [np.nan, 0.1]):
        problem = Input("float32", 2, 0, seed=6)
        problem.facet_weights = np.array(weights)
        options = MmrSsdOptions(diversity=0.5)
        problem.fill_options(options, None)
        with pytest.raises(AssertionError):
            call(getattr(c_library, f"karec_{name}_select"), problem, options, ctypes.c_size_t(0))
        with pytest.raises(ValueError, match="facet_weights"):
            select(problem.embeddings, problem.relevance, K, **problem.to_arguments())
        assert b"facet_weights" in c_library.karec_last_error()
