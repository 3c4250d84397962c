"""The portable backend: everything that ``karec._native`` offers (``karec/_native.pyi``), in NumPy and Numba.

Results are those of the C++ library, scores to the bit; ``_backend`` says when it runs. Functions compile at
their first call (seconds) and are cached on disk.
"""

from karec.kernels.portable.arrange import arrange
from karec.kernels.portable.crosses import crosses
from karec.kernels.portable.dpp import dpp_select, dpp_select_batch
from karec.kernels.portable.dpp_problem import dpp_alpha
from karec.kernels.portable.ecosystem import freshness, quota, standardise, tone, xxh64, xxh64_of_file
from karec.kernels.portable.explicit import dpp_select_columns, dpp_select_kernel, dpp_select_similarity
from karec.kernels.portable.index import IndexView, ItemIndex
from karec.kernels.portable.marginal import mmr_select, ssd_select
from karec.kernels.portable.numbers import counter_numbers, log1p, log_hours, scaled
from karec.kernels.portable.scatter import scatter
from karec.kernels.portable.string_ids import StringIds
from karec.kernels.portable.trees import TreeEnsemble
from karec.kernels.portable.vector_map import VectorMap
from karec.kernels.portable.vocabulary import Vocabulary

__all__ = [
    "IndexView",
    "ItemIndex",
    "StringIds",
    "TreeEnsemble",
    "VectorMap",
    "Vocabulary",
    "arrange",
    "counter_numbers",
    "crosses",
    "dpp_alpha",
    "dpp_select",
    "dpp_select_batch",
    "dpp_select_columns",
    "dpp_select_kernel",
    "dpp_select_similarity",
    "freshness",
    "isa",
    "log1p",
    "log_hours",
    "mmr_select",
    "quota",
    "scaled",
    "scatter",
    "ssd_select",
    "standardise",
    "tone",
    "xxh64",
    "xxh64_of_file",
]


def isa() -> str:
    return "portable"
