"""A condition has the same mask in C and in Python. ``test_where.py`` compares Python with SQL."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from conditions import CODES, COLUMNS, CONDITIONS, INDEX, N
from cpp_programs import run
from hypothesis import given, settings

from karec.where import Where, to_filter_terms

I64, F64 = ctypes.POINTER(ctypes.c_int64), ctypes.POINTER(ctypes.c_double)


class Term(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("op", ctypes.c_int32),
        ("is_category", ctypes.c_int32),
        ("n_parts", ctypes.c_size_t),
        ("column", ctypes.c_char_p),
        ("integers", I64),
        ("numbers", F64),
        ("n_values", ctypes.c_size_t),
    ]


@pytest.fixture(scope="module")
def c_library(cmake, native_programs) -> ctypes.CDLL:
    build = native_programs.parents[1]
    run(cmake, "--build", build, "--target", "karec_shared")
    return ctypes.CDLL(str(build / "native" / "libkarec.so"))


@pytest.fixture(scope="module")
def c_index(c_library, tmp_path_factory) -> ctypes.c_void_p:
    path = tmp_path_factory.mktemp("parity") / "index.karec"
    INDEX.save(path)
    index = ctypes.c_void_p()
    assert c_library.karec_index_open(str(path).encode(), None, ctypes.byref(index)) == 0
    yield index
    c_library.karec_index_close(index)


def mask_in_c(library: ctypes.CDLL, index: ctypes.c_void_p, where: Where) -> np.ndarray:
    dtypes = {name: column.dtype for name, column in COLUMNS.items()}
    terms = to_filter_terms(where, dtypes, CODES)
    array = (Term * len(terms))()
    for term, (op, n_parts, column, integers, numbers, is_category) in zip(array, terms, strict=True):
        term.struct_size, term.op, term.is_category = ctypes.sizeof(Term), op, is_category
        term.n_parts, term.column = n_parts, column.encode() or None
        term.integers = (ctypes.c_int64 * len(integers))(*integers) if integers else None
        term.numbers = (ctypes.c_double * len(numbers))(*numbers) if numbers else None
        term.n_values = len(integers) + len(numbers)
    row_filter, mask = ctypes.c_void_p(), np.full(N, 7, np.uint8)
    size = ctypes.c_size_t(len(terms))
    assert library.karec_filter_create(array, size, ctypes.byref(row_filter)) == 0
    to = mask.ctypes.data_as(ctypes.c_void_p)
    assert library.karec_filter_mask(row_filter, index, to, ctypes.c_size_t(N)) == 0
    library.karec_filter_close(row_filter)
    return mask


@settings(max_examples=200, deadline=None)
@given(table=CONDITIONS)
def test_mask_in_c_is_that_of_python(c_library, c_index, table):
    where = Where.from_dict(table)
    with INDEX.pinned() as view:
        expected = view.mask(view.compile_filter(where, CODES))
    assert np.array_equal(mask_in_c(c_library, c_index, where), expected.view(np.uint8))
