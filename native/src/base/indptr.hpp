// CSR offsets: of lists stored one after the other, list u is entries indptr[u] … indptr[u + 1] − 1.
#pragma once

#include <cstdint>
#include <span>

#include "karec/status.hpp"

namespace karec {

// Refuses an indptr that does not run from 0 to n, never falling, with n_lists + 1 entries.
Status check_indptr(const char* name, std::span<const std::int64_t> indptr, std::size_t n_lists, std::size_t n);

}  // namespace karec
